/** A keeper as a process of its own. Argument: the socket's path. Prints "ready", then its log; ends with its input. */
import { Keeper } from '../../src/block/keeper.ts';
import { Poller } from '../../src/linux/poller.ts';

const poller = new Poller();
const keeper = new Keeper({ socketPath: process.argv[2] ?? '', poller, log: (message) => console.log(message) });
process.stdin.on('data', () => {});
process.stdin.on('end', () => {
  keeper.close();
  void poller.close();
});
console.log('ready');
