/** A pool that claims more room than its disk has, for measurements that write little into a large map. */
import fs from 'node:fs';
import path from 'node:path';
import { encodePoolIdentity, readPoolIdentity } from '../../src/store/pool/pool.ts';

/** Gives the pool of a store that has ended this much room for data, all of what is new a hole. */
export function makeSparse(folder: string, dataBytes: number): void {
  const identity = readPoolIdentity(folder)!;
  fs.truncateSync(path.join(folder, 'data'), dataBytes);
  fs.writeFileSync(path.join(folder, 'pool.json'), encodePoolIdentity({ ...identity, dataBytes }));
}
