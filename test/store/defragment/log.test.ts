import { afterEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { type DefragmentStatus, NEVER_DEFRAGMENTED } from '../../../src/engine/control.ts';
import { DefragmentLog, LOOK_MS } from '../../../src/store/defragment/log.ts';
import { defragmentMessage } from '../../../src/store/wire/defragment-messages.ts';
import { StoreError } from '../../../src/util/errors.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const POOL_ID = 'p'.repeat(26);
const VOLUME_ID = 'v'.repeat(26);
const WARNING = 40;

let log: DefragmentLog | null = null;
afterEach(async () => {
  await log?.stop();
});

test('the end of each pass is said once, and a lack of space is a warning', async () => {
  const clock = new ManualClock();
  const lines: { readonly level: number; readonly volume?: string; readonly leftPieces?: number; readonly tookMs?: number }[] = [];
  let status: DefragmentStatus | Error = NEVER_DEFRAGMENTED;
  log = new DefragmentLog({
    calls: {
      getDefragment: async () => {
        if (status instanceof Error) throw status;
        return defragmentMessage(POOL_ID, status);
      },
    },
    clock,
    log: pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]) }),
  });
  const look = async (next: DefragmentStatus | Error): Promise<void> => {
    status = next;
    await clock.advance(LOOK_MS);
    await clock.advance(9 * LOOK_MS);
  };
  const running: DefragmentStatus = { ...NEVER_DEFRAGMENTED, id: VOLUME_ID, state: 'running', startedAtMs: 1_000, leftPieces: 3 };
  await look(running);
  expect(lines).toEqual([]);
  await look({ ...running, state: 'done', endedAtMs: 5_000 });
  await look({ ...running, state: 'done', endedAtMs: 5_000 });
  expect(lines).toEqual([expect.objectContaining({ volume: `${POOL_ID}.${VOLUME_ID}`, leftPieces: 3, tookMs: 4_000, state: 'done' })]);
  await look(new StoreError('unavailable', 'the pool is given up'));
  await look({ ...running, state: 'out-of-space', endedAtMs: 9_000 });
  expect(lines.slice(1)).toEqual([expect.objectContaining({ level: WARNING, tookMs: 8_000 })]);
});
