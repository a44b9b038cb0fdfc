import { describe, expect, test } from '@jest/globals';
import { NEVER_DEFRAGMENTED } from '../../src/engine/control.ts';
import { defragmentLines } from '../../src/operator/defragment-report.ts';
import { awaitDefragment } from '../../src/operator/defragment.ts';
import type { ClientDefragment } from '../../src/store/wire/defragment-messages.ts';
import { StoreError } from '../../src/util/errors.ts';

const MIB = 1 << 20;
const never: ClientDefragment = { ...NEVER_DEFRAGMENTED, id: 'p.v' };
const running: ClientDefragment = { ...never, state: 'running', startedAtMs: Date.UTC(2025, 0, 1), sizeBytes: 100 * MIB };
const at = (percent: number): ClientDefragment => ({ ...running, positionBytes: percent * MIB, movedBytes: percent * MIB });
const ended = (state: ClientDefragment['state']): ClientDefragment => ({ ...at(42), state, endedAtMs: running.startedAtMs + 12_340 });

describe('what is told of defragmenting', () => {
  test('before, during and after', () => {
    const pieces = { foundPieces: 640, leftPieces: 1 };
    expect(defragmentLines('data', never)).toEqual(['volume data was not defragmented since the start of the store']);
    expect(defragmentLines('data', { ...at(42), ...pieces })[0]).toMatch(
      /^volume data is being defragmented since 20\d\d-.*: 42 % of 100 MiB: 42 MiB moved, 640 pieces on the disk became 1$/,
    );
    expect(defragmentLines('data', { ...ended('done'), ...pieces })[0]).toMatch(
      /^volume data was defragmented by 20\d\d-.*, in 12\.3 s: 42 MiB moved, 640 pieces on the disk became 1$/,
    );
  });

  test('what to do when there is no space', () => {
    expect(defragmentLines('data', ended('out-of-space')).join(' ')).toMatch(
      /ended early at .*42 % of 100 MiB.* Delete snapshots, or enlarge/,
    );
  });

  test.each(['stopped', 'deleted', 'failed'] as const)('that it was %s', (state) => {
    expect(defragmentLines('data', ended(state)).join(' ')).toContain(state);
  });
});

describe('waiting for the end', () => {
  async function awaited(looks: (ClientDefragment | Error)[], begun = running) {
    const told: string[] = [];
    const calls: string[] = [];
    const next = (call: string) => async () => {
      calls.push(call);
      const look = looks.length > 1 ? looks.shift()! : looks[0]!;
      if (look instanceof Error) throw look;
      return look;
    };
    let waitedMs = 0;
    const outcome = await awaitDefragment({
      begun,
      look: next('look'),
      resume: next('resume'),
      wait: async (timeMs) => void (waitedMs += timeMs),
      tell: (line) => void told.push(line.split(' ')[0]!),
    }).then(
      ({ state }) => state,
      (error: unknown) => (error instanceof StoreError ? error.code : String(error)),
    );
    return { outcome, calls, waitedMs, told };
  }
  const away = new StoreError('unavailable', 'the store is starting');

  test('tells of each percent once, and how it ended', async () => {
    const { outcome, told } = await awaited([at(0), at(0.5), at(1), at(1.2), at(7), ended('done')]);
    expect(outcome).toBe('done');
    expect(told).toEqual(['0', '1', '7']);
  });

  test.each(['stopped', 'out-of-space', 'deleted', 'failed'] as const)('ends when it is %s', async (state) => {
    expect((await awaited([at(1), ended(state)])).outcome).toBe(state);
  });

  test('is not needed when nothing is to do', async () => {
    expect(await awaited([], ended('done'))).toMatchObject({ outcome: 'done', calls: [], waitedMs: 0 });
  });

  test('a store that was started anew is told to begin again, one that was only away is not', async () => {
    const { outcome, calls } = await awaited([at(1), away, at(1), never, at(1), ended('done')]);
    expect(outcome).toBe('done');
    expect(calls).toEqual(['look', 'look', 'look', 'look', 'resume', 'look']);
  });

  test.each(['stopped', 'done'] as const)('what was %s while a look got no answer is not begun again', async (state) => {
    expect(await awaited([at(1), away, ended(state)])).toMatchObject({ outcome: state, calls: ['look', 'look', 'look'] });
  });

  test('what was perhaps begun again, though there was no answer, is looked at first', async () => {
    const { outcome, calls } = await awaited([never, away, ended('stopped')]);
    expect(outcome).toBe('stopped');
    expect(calls).toEqual(['look', 'resume', 'look']);
  });

  test('a store that stays away, or makes no progress, is not waited for without end', async () => {
    const gone = await awaited([at(1), away]);
    expect(gone.outcome).toBe('unavailable');
    expect(gone.waitedMs).toBeLessThan(120_000);
    const still = await awaited([at(1)]);
    expect(still.outcome).toBe('failed-precondition');
    expect(still.waitedMs).toBeLessThan(3_600_000);
  });
});
