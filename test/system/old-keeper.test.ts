/** The store of today over a keeper of version 1, which outlives it: all that a store does with a keeper, under a verified load. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import fs from 'node:fs';
import path from 'node:path';
import { canUseFuse, canUseLoop, describeIf, hasPrograms } from '../support/capabilities.ts';
import { startChild, type Child } from '../support/child.ts';
import { StoreBed, type Load } from '../support/store-bed.ts';

const VOLUME_BYTES = 32 * 2 ** 20;
const LIMIT_MS = 90_000;

describeIf(
  canUseFuse(),
  canUseLoop(),
  hasPrograms('fio'),
)('a keeper of version 1', () => {
  let bed: StoreBed;
  let keeper: Child;
  let load: Load;
  beforeEach(async () => {
    bed = new StoreBed({ poolSize: '128MiB' });
    fs.mkdirSync(path.dirname(bed.keeperSocket), { recursive: true });
    keeper = await startChild('keeper-version-1.ts', { parameters: [bed.keeperSocket], readyLine: 'ready' });
  }, LIMIT_MS);
  afterEach(async () => {
    await bed.cleanUp();
    await keeper.kill();
  }, LIMIT_MS);

  async function goesOn(): Promise<void> {
    await load.goesOn(200);
    expect([load.isRunning, load.errors]).toEqual([true, '']);
  }

  test(
    'serves stores of today: deaths, hand-overs, orderly ends, and devices that come and go',
    async () => {
      const first = await bed.startStore({ pod: 'first' });
      load = bed.load(await bed.makeDevice('data', VOLUME_BYTES), VOLUME_BYTES);
      await goesOn();
      await first.kill();
      const second = await bed.startStore({ pod: 'second' });
      await goesOn();
      const third = await bed.startStore({ pod: 'third' });
      await second.says('"the successor serves');
      await goesOn();
      second.signal('SIGTERM');
      expect(await second.ended()).toBe('status 0');
      // It says that it leaves, which this keeper does not know; it stays all the same.
      third.signal('SIGTERM');
      expect(await third.ended()).toBe('status 0');
      await bed.startStore({ pod: 'fourth' });
      await goesOn();
      expect(await load.stop()).toBe('');
      bed.operate('detach', 'data', '--keeper', bed.keeperSocket);
      expect(await bed.client.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );
});
