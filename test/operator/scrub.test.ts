import { describe, expect, test } from '@jest/globals';
import { scrubLines, type ScrubReport } from '../../src/operator/scrub-report.ts';
import { awaitScrub } from '../../src/operator/scrub.ts';
import { StoreError } from '../../src/util/errors.ts';
import { NEVER_SCRUBBED } from '../support/fake-engine.ts';

const MIB = 1 << 20;
const pool = { sizeBytes: 100 * MIB, chunkSizeBytes: 65_536 };
const none: ScrubReport['damage'] = { chunks: [], more: false };
const begunAtMs = Date.UTC(2025, 0, 1);
const verifying = { ...NEVER_SCRUBBED, running: 'verify' as const, startedAtMs: begunAtMs };

describe('what is told of a scrub', () => {
  test('before the first one', () => {
    expect(scrubLines({ status: NEVER_SCRUBBED, damage: none, pool })).toEqual([
      'no pass is under way',
      'no verifying pass has come to its end yet',
      '0 B have a checksum: what snapshots hold, as far as it was read once',
      'no damage is known',
    ]);
  });

  test('while one runs, and when it was stopped', () => {
    const status = { ...verifying, positionBytes: 42.9 * MIB, verifiedBytes: 10 * MIB, sealedBytes: 2 * MIB };
    expect(scrubLines({ status, damage: none, pool })[0]).toMatch(
      /^a verifying pass is under way since 20\d\d-.*: 42 % of the pool: 10 MiB compared, 2 MiB given a checksum$/,
    );
    expect(scrubLines({ status: { ...status, running: null }, damage: none, pool })[0]).toMatch(/^a verifying pass was stopped at 42 %/);
    expect(scrubLines({ status: { ...status, running: 'seal' }, damage: none, pool })[0]).toMatch(
      /^a pass gives checksums to what is new; a verifying pass was stopped at 42 %/,
    );
  });

  test('what is damaged, where, and what to do', () => {
    const places = [
      { id: 'p.s', kind: 'snapshot', name: 'monday', offsetBytes: 1_048_576 },
      { id: 'p.v', kind: 'volume', name: 'data', offsetBytes: 65_536 },
    ] as const;
    const damage: ScrubReport['damage'] = {
      chunks: [
        { dataOffsetBytes: 0, damage: 'changed', places: [places[0]] },
        { dataOffsetBytes: 0, damage: 'unreadable', places: [places[1]] },
      ],
      more: true,
    };
    const lines = scrubLines({ status: { ...NEVER_SCRUBBED, damagedChunks: 2 }, damage, pool });
    expect(lines.slice(3, 9)).toEqual([
      '2 chunks of the pool are damaged, in these places (in bytes):',
      '',
      'NAME    KIND       OFFSET  LENGTH  DAMAGE      ID',
      'monday  snapshot  1048576   65536  changed     p.s',
      'data    volume      65536   65536  unreadable  p.v',
      'and more',
    ]);
    expect(lines.join(' ')).toMatch(/from a backup .* delete it .* replace it/);
  });

  test('damage of what was deleted meanwhile', () => {
    const status = { ...NEVER_SCRUBBED, damagedChunks: 1 };
    const text = scrubLines({
      status,
      damage: { chunks: [{ dataOffsetBytes: 0, damage: 'changed', places: [] }], more: false },
      pool,
    }).join('\n');
    expect(text).toMatch(/1 chunk of the pool is damaged/);
    expect(text).toMatch(/of no volume or snapshot any more/);
    expect(text).not.toMatch(/backup/);
  });
});

describe('waiting for the end of a pass', () => {
  type Look = (typeof verifying & { running: string | null }) | typeof NEVER_SCRUBBED | Error;

  async function awaited(looks: Look[], begun: typeof NEVER_SCRUBBED = verifying) {
    const lines: string[] = [];
    const calls: string[] = [];
    const next = (call: string) => async () => {
      calls.push(call);
      const look = looks.length > 1 ? looks.shift()! : looks[0]!;
      if (look instanceof Error) throw look;
      return look as typeof NEVER_SCRUBBED;
    };
    let waitedMs = 0;
    const outcome = await awaitScrub({
      begun,
      look: next('look'),
      resume: next('resume'),
      poolSizeBytes: pool.sizeBytes,
      wait: async (timeMs) => void (waitedMs += timeMs),
      tell: (line) => void lines.push(line),
    }).then(
      () => 'ended',
      (error: unknown) => (error instanceof StoreError ? error.code : String(error)),
    );
    return { outcome, calls, waitedMs, told: lines.map((line) => line.split(' ')[0]) };
  }
  const at = (percent: number) => ({ ...verifying, positionBytes: percent * MIB });
  const ended = { ...NEVER_SCRUBBED, completedAtMs: begunAtMs + 1 };
  const away = new StoreError('unavailable', 'the store is starting');

  test('tells of each percent once', async () => {
    const { outcome, told } = await awaited([at(0), at(0.5), at(1), at(1.2), at(7), ended]);
    expect(outcome).toBe('ended');
    expect(told).toEqual(['0', '1', '7']);
  });

  test('a pass that follows at once is not waited for', async () => {
    expect((await awaited([{ ...at(3), completedAtMs: begunAtMs + 1 }])).outcome).toBe('ended');
  });

  test('one that was stopped is no end', async () => {
    expect((await awaited([at(1), { ...at(2), running: null } as never])).outcome).toBe('failed-precondition');
  });

  test('one that stands still is not waited for without end', async () => {
    const { outcome, waitedMs } = await awaited([at(1)]);
    expect(outcome).toBe('failed-precondition');
    expect(waitedMs).toBeLessThan(3_600_000);
  });

  test('a store that comes back is told to go on', async () => {
    const { outcome, calls } = await awaited([at(1), away, away, at(1), ended]);
    expect(outcome).toBe('ended');
    expect(calls).toEqual(['look', 'look', 'resume', 'resume', 'look']);
  });

  test('a store that stays away is not waited for without end', async () => {
    const { outcome, waitedMs } = await awaited([at(1), away]);
    expect(outcome).toBe('unavailable');
    expect(waitedMs).toBeLessThan(120_000);
  });
});
