/**
 * Has the FUSE file of a volume open, as the node role has for a moment. Arguments: the keeper's socket, the pool's id, the
 * keeper's key. Prints "open"; at each line of its input it starts another program and prints "started".
 */
import { spawn } from 'node:child_process';
import { DevicePlace } from '../../src/block/kept-device.ts';
import { openDevice } from '../../src/linux/files.ts';
import { KeeperClients } from '../../src/roles/node.ts';

const [socketPath = '', poolId = '', key = ''] = process.argv.slice(2);
const keeper = await new KeeperClients(socketPath).of(poolId);
const held = await keeper.get(key, { places: [DevicePlace.mount] });
await openDevice(`/proc/self/fd/${held!.descriptors[0]!}`, { readOnly: false, timeoutMs: 5_000 });
process.stdin.on('data', () => {
  spawn('true', { stdio: 'ignore' });
  console.log('started');
});
process.stdin.on('end', () => process.exit());
console.log('open');
