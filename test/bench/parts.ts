/** All parts of the benchmark, in the order in which they are run. */
import { canMount, canUseFuse, canUseLoop, hasCommand, hasFileSystem, hasPrograms } from '../support/machine.ts';
import { measureCuts, poolBytesOf as cutPoolBytesOf } from './cuts.ts';
import { measureDatabases } from './databases/databases.ts';
import { measureIo } from './io/io.ts';
import { measureGuarded, type Part } from './part.ts';

const GIB = 2 ** 30;
const LIMIT_MS = 60 * 60_000;

const common = () => [canMount(), canUseFuse(), canUseLoop(), hasCommand(), hasPrograms('fio', 'losetup', 'umount')];
const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)}MiB`;

export const parts: readonly Part[] = [
  {
    name: 'io',
    about: 'random and sequential I/O beside a loop device on a plain file and beside peers',
    needs: common,
    measure: (context) => measureIo(context),
  },
  {
    name: 'operations',
    about: 'snapshot, clone, revert and delete by the size of the volume',
    needs: common,
    measure: (context) =>
      measureGuarded({ name: 'operations', limitMs: LIMIT_MS, context }, async (guarded, record) => {
        const volumeBytes = (context.quick ? [1, 4] : [1, 4, 16]).map((size) => size * GIB);
        const driver = await guarded.startDriver({ name: 'operations', size: mebibytes(cutPoolBytesOf(volumeBytes)) });
        record(...(await measureCuts(driver, { volumeBytes, samples: 20, signal: guarded.signal }, context.progress)));
        await guarded.stopDriver(driver);
      }),
  },
  {
    name: 'databases',
    about: 'SQLite and PostgreSQL before, during and after a series of snapshots',
    needs: () => [...common(), hasFileSystem('ext4'), hasPrograms('mkfs.ext4', 'mount')],
    measure: measureDatabases,
  },
];
