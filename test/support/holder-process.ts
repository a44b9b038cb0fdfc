/**
 * Stands for a store: puts the write end of a pipe and a temporary file, whose name is deleted, into the keeper.
 * Arguments: the socket's path, the folder for the file. Prints "put"; ends with its input, if nobody kills it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { KeeperClient } from '../../src/block/keeper-client.ts';

const [socketPath = '', folder = ''] = process.argv.slice(2);
const name = path.join(folder, 'unlinked');
const file = fs.openSync(name, 'w+');
fs.writeSync(file, 'written by the one that died');
fs.rmSync(name);

const client = await KeeperClient.connect({ socketPath, role: 'store', pool: 'pool' });
await client.put('device/one', { sizeBytes: 4096, readOnly: false }, [file, 1]);
process.stdin.on('data', () => {});
process.stdin.on('end', () => void client.close());
process.stderr.write('put\n');
