/**
 * Hand-overs between real store processes with a real device under a verified load: planned ones, and those in which
 * somebody is killed at one of the steps. I/O waits; it never fails, and never reads what was not written.
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { canUseFuse, canUseLoop, describeIf, hasCommand, hasPrograms } from '../support/capabilities.ts';
import { eventually } from '../support/eventually.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { COMPILED_MAIN, StoreBed, type BedProcess, type Load } from '../support/store-bed.ts';

const MIB = 2 ** 20;
const VOLUME_BYTES = 64 * MIB;
const LIMIT_MS = 90_000;
/** What a store says. */
const ASKED = '"handing the pool over"';
const HANDED_OVER = '"the pool is handed over"';
const OPENING = '"state":"opening"';
const OPEN = '"pool is open"';
const SERVING = '"state":"serving"';
const WAITING = '"state":"waiting"';
const SUCCEEDED = '"the successor serves';
/** How long a standby waits for others, and some more. */
const TAKE_BACK_LIMIT_MS = 30_000;

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  hasPrograms('fio'),
)('hand-over', () => {
  let bed: StoreBed;
  let keeper: BedProcess;
  let old: BedProcess;
  let load: Load;
  beforeEach(async () => {
    bed = new StoreBed();
    keeper = await bed.startKeeper();
    old = await bed.startStore({ pod: 'old' });
    const device = await bed.makeDevice('data', VOLUME_BYTES);
    load = bed.load(device, VOLUME_BYTES);
  }, LIMIT_MS);
  afterEach(async () => {
    await bed.cleanUp();
  }, LIMIT_MS);

  /** The load met no error up to here, and goes on being served; the pool is in order. */
  async function expectAllIsWell(): Promise<void> {
    await bed.untilServed();
    await load.goesOn(500);
    expect(load.errors).toBe('');
    expect(load.isRunning).toBe(true);
    expect(await load.stop()).toBe('');
    expect(await bed.client.check()).toMatchObject({ problems: [] });
  }

  test(
    'ten times under load, from one tree of files to another and back, and every former holder ends in order',
    async () => {
      let holder = old;
      const pausesMs: number[] = [];
      for (let round = 1; round <= 10; round++) {
        const program = round % 2 === 1 ? { program: COMPILED_MAIN } : {};
        let next = holder;
        const pauseMs = await load.longestPauseMs(async () => {
          next = await bed.startStore({ pod: `pod-${round}`, ...program });
          await holder.says(SUCCEEDED);
        });
        pausesMs.push(pauseMs);
        // It is a standby: alive, and serving nothing.
        expect(holder.hasEnded).toBe(false);
        holder.signal('SIGTERM');
        expect(await holder.ended()).toBe('status 0');
        // A call works at once with the new one; a snapshot of what is attached would wait for a node role, which is not here.
        const { volume } = await bed.client.createVolume({ name: `round-${round}`, sizeBytes: MIB, source: null, attributes: {} });
        const { snapshot } = await bed.client.createSnapshot({ name: `round-${round}`, sourceVolumeId: volume.id, attributes: {} });
        await bed.client.deleteVolume(volume.id);
        await bed.client.deleteSnapshot(snapshot.id);
        holder = next;
      }
      process.stderr.write(`ten hand-overs: the longest pauses of the device in each, in ms: ${pausesMs.join(' ')}\n`);
      expect(bed.succession).toMatchObject({ holder: 'pod-10', promised: null });
      await expectAllIsWell();
      holder.signal('SIGTERM');
      expect(await holder.ended()).toBe('status 0');
    },
    LIMIT_MS * 2,
  );

  test(
    'a successor that is too old for the pool ends with words, and the holder never hears of it',
    async () => {
      // As if the holder were a newer program, which has raised the version.
      const file = path.join(bed.folder, 'pool/pool.json');
      const raised = JSON.stringify({ ...(JSON.parse(fs.readFileSync(file, 'utf8')) as object), version: 99 });
      fs.writeFileSync(file, raised);
      const next = bed.spawnStore({ pod: 'new' });
      expect(await next.ended()).toBe('status 1');
      expect(next.log).toMatch(/has version 99 of the format.*use that program again/);
      expect(old.said(ASKED)).toBe(0);
      expect(fs.readFileSync(file, 'utf8')).toBe(raised);
      await expectAllIsWell();
    },
    LIMIT_MS,
  );

  test(
    'a successor that dies before it asks changes nothing',
    async () => {
      const next = bed.spawnStore({ pod: 'new' });
      await delay(200);
      await next.kill();
      await expectAllIsWell();
      expect(old.said(ASKED)).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    'a successor that dies after it asked, and comes again, has the pool',
    async () => {
      const next = bed.spawnStore({ pod: 'new' });
      await old.says(ASKED);
      await next.kill();
      const again = await bed.startStore({ pod: 'new' });
      await expectAllIsWell();
      expect(bed.succession).toMatchObject({ holder: 'new', past: ['old'] });
      expect(again.said(SERVING)).toBe(1);
    },
    LIMIT_MS,
  );

  test(
    'a successor that dies after it took the pool, and comes again, has it',
    async () => {
      const next = bed.spawnStore({ pod: 'new' });
      await next.says(OPENING);
      await next.kill();
      await bed.startStore({ pod: 'new' });
      await expectAllIsWell();
      expect(bed.succession.holder).toBe('new');
      expect(old.said(SERVING)).toBe(1);
    },
    LIMIT_MS,
  );

  test(
    'the former holder takes over again when its successor dies for good, and is not asked by it again',
    async () => {
      const next = await bed.startStore({ pod: 'new' });
      await old.says(SUCCEEDED);
      await next.kill();
      await old.says(SERVING, { times: 2, limitMs: TAKE_BACK_LIMIT_MS });
      expect(bed.succession).toEqual(expect.objectContaining({ holder: 'old', past: ['new'] }));
      const again = bed.spawnStore({ pod: 'new' });
      await again.says(WAITING);
      await delay(1000);
      expect(old.said(ASKED)).toBe(1);
      // A pod that is new does get it.
      await bed.startStore({ pod: 'third' });
      await expectAllIsWell();
      // Standbys end at once.
      for (const standby of [old, again]) {
        standby.signal('SIGTERM');
        expect(await standby.ended()).toBe('status 0');
      }
    },
    LIMIT_MS,
  );

  test(
    'a holder that dies while it hands over is succeeded, and stands by when it comes again',
    async () => {
      const next = bed.spawnStore({ pod: 'new' });
      await old.says(ASKED);
      await old.kill();
      const again = bed.spawnStore({ pod: 'old' });
      await next.says(SERVING);
      await again.says(WAITING);
      await delay(500);
      expect([next.said(ASKED), again.said(OPEN)]).toEqual([0, 0]);
      await expectAllIsWell();
      expect(bed.succession).toMatchObject({ holder: 'new', past: ['old'] });
    },
    LIMIT_MS,
  );

  test(
    'a holder that is told to end while it hands over does both',
    async () => {
      const next = bed.spawnStore({ pod: 'new' });
      await old.says(ASKED);
      old.signal('SIGTERM');
      await next.says(SERVING);
      expect(await old.ended()).toBe('status 0');
      expect(old.said(HANDED_OVER)).toBe(1);
      await expectAllIsWell();
    },
    LIMIT_MS,
  );

  test(
    'a holder that ends in order leaves the pool to whoever waits',
    async () => {
      const next = await bed.startStore({ pod: 'new' });
      await old.says(SUCCEEDED);
      next.signal('SIGTERM');
      expect(await next.ended()).toBe('status 0');
      // It had its turn, but nobody else is expected: no need to wait.
      await old.says(SERVING, { times: 2, limitMs: 8_000 });
      await expectAllIsWell();
    },
    LIMIT_MS,
  );

  test(
    'when both die in a hand-over, the successor has the pool',
    async () => {
      const next = bed.spawnStore({ pod: 'new' });
      await old.says(ASKED);
      await Promise.all([old.kill(), next.kill()]);
      const again = [bed.spawnStore({ pod: 'old' }), bed.spawnStore({ pod: 'new' })] as const;
      await again[1].says(SERVING);
      await expectAllIsWell();
      expect(again[0].said(OPEN)).toBe(0);
    },
    LIMIT_MS,
  );

  test(
    'two successors at once: each has its turn, and then it is over',
    async () => {
      const [one, other] = [bed.spawnStore({ pod: 'one' }), bed.spawnStore({ pod: 'other' })];
      await eventually('both had their turn', () => one.said(SERVING) === 1 && other.said(SERVING) === 1, 30_000);
      await delay(1500);
      expect([one.said(ASKED) + other.said(ASKED), old.said(SERVING), one.said(SERVING), other.said(SERVING)]).toEqual([1, 1, 1, 1]);
      await expectAllIsWell();
    },
    LIMIT_MS,
  );

  test(
    'the keeper dies in the middle: nothing is lost while one store lives',
    async () => {
      const next = bed.spawnStore({ pod: 'new' });
      await old.says(ASKED);
      await keeper.kill();
      keeper = await bed.startKeeper();
      await next.says(SERVING);
      await expectAllIsWell();
      // What the new keeper has is whole: the next store lives on it alone.
      await next.kill();
      const third = await bed.startStore({ pod: 'third' });
      expect(third.said('"successor":true')).toBe(1);
    },
    LIMIT_MS,
  );

  test(
    'keeper and store are told to end in the same moment: the keeper stays until the next store has everything',
    async () => {
      for (const [round, victims] of [
        ['keeper first', (): BedProcess[] => [keeper, old]],
        ['store first', (): BedProcess[] => [old, keeper]],
      ] as const) {
        for (const victim of victims()) victim.signal('SIGTERM');
        expect(await old.ended()).toBe('status 0');
        expect([round, keeper.hasEnded]).toEqual([round, false]);
        const former = keeper;
        // The pod of a keeper that was deleted by force is there before its predecessor has gone.
        keeper = bed.spawnKeeper();
        await keeper.says('waiting for the end');
        old = await bed.startStore({ pod: `after ${round}` });
        expect(await former.ended()).toBe('status 0');
        await old.says('a keeper holds everything again');
        expect(keeper.said('"ready"')).toBe(1);
      }
      await expectAllIsWell();
      // What the last keeper has is whole.
      await old.kill();
      const last = await bed.startStore({ pod: 'last' });
      expect(last.said('"successor":true')).toBe(1);
      expect(await bed.client.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS * 2,
  );

  test(
    'a store that is told to end when its keeper has gone serves until the next one has everything',
    async () => {
      keeper.signal('SIGTERM');
      // A store stays, which has everything.
      expect(await keeper.ended()).toBe('status 0');
      old.signal('SIGTERM');
      await old.says('waiting for one before the end');
      await load.goesOn(500);
      expect(old.hasEnded).toBe(false);
      keeper = await bed.startKeeper();
      expect(await old.ended()).toBe('status 0');
      await bed.startStore({ pod: 'new' });
      await expectAllIsWell();
    },
    LIMIT_MS,
  );

  test(
    'a keeper that goes away while the successor opens the pool is waited for, in the same process',
    async () => {
      const next = bed.spawnStore({ pod: 'new' });
      await old.says(HANDED_OVER);
      await keeper.kill();
      // Longer than a question to the keeper may take.
      await delay(7_000);
      keeper = await bed.startKeeper();
      await next.says(SERVING);
      expect([old.hasEnded, next.hasEnded]).toEqual([false, false]);
      await expectAllIsWell();
      await next.kill();
      await bed.startStore({ pod: 'third' });
      expect(await bed.client.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );

  test(
    'whoever dies when: somebody serves again, and nothing is lost',
    async () => {
      const seed = Date.now() % 2 ** 31;
      const random = new SeededRandom(seed);
      let holder = { pod: 'old', process: old };
      try {
        for (let round = 0; round < 8; round++) {
          const next = { pod: `pod-${round}`, process: bed.spawnStore({ pod: `pod-${round}` }) };
          await holder.process.says(ASKED, { times: 1 });
          await delay(random.below(120));
          const victims = [[holder], [next], [holder, next]][random.below(3)]!;
          await Promise.all(victims.map((victim) => victim.process.kill()));
          // Their containers are started again, sooner or later.
          for (const victim of victims) {
            await delay(random.below(300));
            victim.process = bed.spawnStore({ pod: victim.pod });
          }
          await eventually('the new one serves', () => next.process.said(SERVING) > 0, TAKE_BACK_LIMIT_MS);
          await bed.untilServed();
          holder.process.signal('SIGTERM');
          // One that was started a moment ago knows nothing of signals yet.
          expect(await holder.process.ended()).toBe(holder.process.log === '' ? 'SIGTERM' : 'status 0');
          holder = next;
        }
        await expectAllIsWell();
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    },
    LIMIT_MS * 3,
  );

  test(
    'a second store outside a pod is refused at once, and disturbs nothing',
    async () => {
      const startMs = performance.now();
      const second = bed.spawnStore({ pod: null });
      expect(await second.ended()).toBe('status 1');
      expect(second.log).toContain('served by another store');
      expect(performance.now() - startMs).toBeLessThan(10_000);
      expect(old.said(ASKED)).toBe(0);
      await expectAllIsWell();
    },
    LIMIT_MS,
  );
});

describeIf(
  canUseFuse(),
  canUseLoop(),
  hasPrograms('dd'),
)('hand-over of a full pool', () => {
  let bed: StoreBed;
  beforeEach(() => {
    bed = new StoreBed({ poolSize: '128MiB' });
  });
  afterEach(async () => {
    await bed.cleanUp();
  }, LIMIT_MS);

  test(
    'a write that waits for room waits on, and goes through when there is some',
    async () => {
      await bed.startKeeper();
      const old = await bed.startStore({ pod: 'old' });
      const device = await bed.makeDevice('data', 96 * MIB);
      const overwrite = ['if=/dev/urandom', `of=${device}`, 'bs=1M', 'count=72', 'oflag=direct', 'conv=fsync'];
      expect(spawnSync('dd', overwrite, { timeout: 30_000 }).status).toBe(0);
      const [volume] = await bed.client.listVolumes();
      const { snapshot } = await bed.client.createSnapshot({ name: 'before', sourceVolumeId: volume!.id, attributes: {} });
      const writer = spawn('dd', overwrite, { stdio: 'ignore' });
      const written = once(writer, 'exit');
      await eventually('writes wait', async () => (await bed.client.getPool()).parkedWrites > 0, 30_000);
      await bed.startStore({ pod: 'new' });
      await old.says(SUCCEEDED);
      await eventually('they wait on', async () => (await bed.client.getPool()).parkedWrites > 0, 30_000);
      expect(writer.exitCode).toBeNull();
      await bed.client.deleteSnapshot(snapshot.id);
      expect((await written)[0]).toBe(0);
      expect(await bed.client.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );
});
