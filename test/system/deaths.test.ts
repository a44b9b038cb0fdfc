/**
 * Deaths of store and keeper: either alone, and each just after the other has returned, costs nothing. (The store at chosen
 * moments: kills.test.ts.)
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { canUseFuse, canUseLoop, describeIf, hasCommand, hasPrograms } from '../support/capabilities.ts';
import { startChild } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import { StoreBed, type BedProcess, type Load } from '../support/store-bed.ts';

const MIB = 2 ** 20;
const VOLUME_BYTES = 64 * MIB;
const LIMIT_MS = 90_000;
const HOLDS_ALL = 'a keeper holds everything again';

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  hasPrograms('fio'),
)('deaths one at a time', () => {
  let bed: StoreBed;
  let keeper: BedProcess;
  let store: BedProcess;
  let load: Load;
  beforeEach(async () => {
    bed = new StoreBed({ built: true });
    keeper = await bed.startKeeper();
    store = await bed.startStore({ pod: null });
    load = bed.load(await bed.makeDevice('data', VOLUME_BYTES), VOLUME_BYTES);
  }, LIMIT_MS);
  afterEach(() => bed.cleanUp(), LIMIT_MS);

  async function expectProgress(): Promise<void> {
    await load.goesOn(200);
    expect([load.errors, load.isRunning]).toEqual(['', true]);
  }

  async function expectAllIsWell(): Promise<void> {
    await expectProgress();
    expect(await load.stop()).toBe('');
    expect(await bed.client.check()).toMatchObject({ problems: [] });
  }

  test(
    'of the keeper cost nothing, however often',
    async () => {
      for (let round = 1; round <= 3; round++) {
        await keeper.kill();
        // The store serves on without one.
        await expectProgress();
        keeper = await bed.startKeeper();
        await store.says(HOLDS_ALL, { times: round });
      }
      await expectAllIsWell();
    },
    LIMIT_MS,
  );

  test(
    'of the store cost a moment, however often',
    async () => {
      for (let round = 1; round <= 3; round++) {
        await store.kill();
        store = await bed.startStore({ pod: null });
        expect(store.said('"successor":true')).toBe(1);
        await expectProgress();
      }
      await expectAllIsWell();
    },
    LIMIT_MS,
  );

  test(
    'of each just after the other has returned lose nothing',
    async () => {
      for (let round = 1; round <= 3; round++) {
        await keeper.kill();
        keeper = bed.spawnKeeper();
        await store.says(HOLDS_ALL);
        await store.kill();
        store = bed.spawnStore({ pod: null });
        await store.says('"pool is open"');
        expect(store.said('"successor":true')).toBe(1);
      }
      await bed.untilServed();
      await expectAllIsWell();
    },
    LIMIT_MS,
  );

  test(
    'of the store keep no process that has the file of a volume open from starting others',
    async () => {
      const [volume] = await bed.client.listVolumes();
      const { keeperKey } = await bed.client.attach(volume!.id);
      const parameters = [bed.keeperSocket, volume!.id.split('.')[0]!, keeperKey];
      const holder = await startChild('file-holder-process.ts', { parameters, readyLine: 'open' });
      await store.kill();
      holder.process.stdin!.write('start\n');
      try {
        await eventually('it has started one', () => holder.lines.includes('started'), 10_000);
      } finally {
        store = await bed.startStore({ pod: null });
        await holder.kill();
      }
    },
    LIMIT_MS,
  );
});
