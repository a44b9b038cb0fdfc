/** All parts of the benchmark, in the order in which they are run. */
import { canMount, canUseFuse, canUseLoop, hasCommand, hasFileSystem, hasPrograms } from '../support/machine.ts';
import { measureAmplification } from './amplification.ts';
import { measureDatabases } from './databases/databases.ts';
import { measureIo } from './io/io.ts';
import type { Measurement, PartContext } from './measurement.ts';
import { measureOperations } from './operations/operations.ts';
import { measureGuarded, type Part } from './part.ts';
import { measureState } from './state/state.ts';

const LIMIT_MS = 2 * 60 * 60_000;

const common = () => [canMount(), canUseFuse(), canUseLoop(), hasCommand(), hasPrograms('fio', 'losetup', 'umount')];

export const parts: readonly Part[] = [
  {
    name: 'io',
    about: 'random and sequential I/O beside a loop device on a plain file and beside peers',
    needs: common,
    measure: (context) => measureIo(context),
  },
  {
    name: 'operations',
    about: 'snapshot, clone, revert, delete and restart by the shape of the volume, and what they do to a load',
    needs: common,
    quickRounds: 1,
    measure: (context) => guarded('operations', context, measureOperations),
  },
  {
    name: 'databases',
    about: 'SQLite and PostgreSQL before, during and after a series of snapshots',
    needs: () => [...common(), hasFileSystem('ext4'), hasPrograms('mkfs.ext4', 'mount')],
    quickRounds: 1,
    measure: measureDatabases,
  },
  {
    name: 'state',
    about: 'restart, memory and metadata with a TiB mapped',
    needs: common,
    quickRounds: 1,
    measure: (context) => guarded('state', context, measureState),
  },
  {
    name: 'amplification',
    about: 'what is written to the disk for what a user writes, with a snapshot every ten seconds; an hour of it in a full run',
    needs: common,
    quickRounds: 1,
    measure: (context) => guarded('amplification', context, measureAmplification),
  },
];

function guarded(name: string, context: PartContext, measure: (context: PartContext) => Promise<Measurement[]>): Promise<Measurement[]> {
  return measureGuarded({ name, limitMs: LIMIT_MS, context }, async ({ folder, signal }, record) =>
    record(...(await measure({ ...context, folder, signal }))),
  );
}
