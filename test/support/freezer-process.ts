/** Stands in for `chunkstore freezer`: argument 1 is how long the file system may stay frozen, in milliseconds. */
import { runFreezer } from '../../src/mount/freezer.ts';

await runFreezer({ timeLimitMs: Number(process.argv[2] ?? 5000) });
