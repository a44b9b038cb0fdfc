import { expect, test } from '@jest/globals';
import { SystemError } from '../../../src/linux/system-error.ts';
import { markAsServingIo, type MarkableProcess } from '../../../src/roles/process/io-flusher.ts';
import type { Logger } from '../../../src/util/log.ts';

class StartedAgain extends Error {}

/** A process whose second start is another run of `markAsServingIo` by the test. */
function processThat(kernel: { readonly marks: boolean; readonly keeps?: boolean }, environment: NodeJS.ProcessEnv = {}) {
  let marked = false;
  const starts: NodeJS.ProcessEnv[] = [];
  const self: MarkableProcess = {
    environment,
    isMarked: () => marked && environment['CHUNKSTORE_STARTED_AGAIN'] !== undefined && kernel.keeps !== false,
    mark: () => {
      marked = kernel.marks;
      return kernel.marks ? null : new SystemError('prctl(PR_SET_IO_FLUSHER)', 1);
    },
    startAgain: (next) => {
      starts.push(next);
      throw new StartedAgain();
    },
  };
  return { self, starts };
}

function warnings() {
  const said: unknown[] = [];
  return { said, log: { warn: (fields: unknown) => said.push(fields) } as unknown as Logger };
}

test('starts the program once more when the mark was taken, with the same environment', () => {
  const { self, starts } = processThat({ marks: true }, { KEPT: 'yes' });
  markAsServingIo(warnings().log, self);
  expect(starts).toEqual([{ KEPT: 'yes', CHUNKSTORE_STARTED_AGAIN: '1' }]);
});

test('goes on as it is when it is marked', () => {
  const { said, log } = warnings();
  const { self, starts } = processThat({ marks: true }, { CHUNKSTORE_STARTED_AGAIN: '1' });
  self.mark();
  markAsServingIo(log, self);
  expect(starts).toEqual([]);
  expect(said).toEqual([]);
});

test('warns once, and goes on, where the kernel refuses', () => {
  const { said, log } = warnings();
  const { self, starts } = processThat({ marks: false });
  markAsServingIo(log, self);
  expect(starts).toEqual([]);
  expect(said).toHaveLength(1);
});

test('never starts a third time', () => {
  const { said, log } = warnings();
  const { self, starts } = processThat({ marks: true, keeps: false }, { CHUNKSTORE_STARTED_AGAIN: '1' });
  markAsServingIo(log, self);
  expect(starts).toEqual([]);
  expect(said).toHaveLength(1);
});
