import { expect, test } from '@jest/globals';
import { LEAST_SCRUB_BYTES_PER_SECOND, Scrubber } from '../../../src/store/scrub/scrubber.ts';
import { StoreError } from '../../../src/util/errors.ts';
import { FakeEngine } from '../../support/fake-engine.ts';

const RATE = 1 << 25;

function setUp() {
  const engine = new FakeEngine();
  const steps: string[] = [];
  engine.before = async ({ kind }) => void steps.push(kind);
  const disk: { failure: Error | null } = { failure: null };
  const raiseVersion = (): void => {
    if (disk.failure !== null) throw disk.failure;
    steps.push('version');
  };
  return { engine, steps, disk, scrubber: new Scrubber({ engine, raiseVersion, bytesPerSecond: RATE }) };
}

test('the version of the format is raised before each pass', async () => {
  const { scrubber, steps } = setUp();
  await scrubber.status();
  await scrubber.stop();
  await scrubber.start({ mode: 'verify', bytesPerSecond: 0 });
  await scrubber.start({ mode: 'seal', bytesPerSecond: 0 });
  expect(steps).toEqual(['scrub-status', 'scrub-stop', 'version', 'scrub-start', 'version', 'scrub-start']);
});

test('no pass begins while the version cannot be raised, and the next attempt raises it', async () => {
  const { scrubber, steps, disk } = setUp();
  disk.failure = new StoreError('no-space', 'the disk is full');
  await expect(scrubber.start({ mode: 'verify', bytesPerSecond: 0 })).rejects.toThrow('the disk is full');
  expect(steps).toEqual([]);
  disk.failure = null;
  await scrubber.start({ mode: 'verify', bytesPerSecond: 0 });
  expect(steps).toEqual(['version', 'scrub-start']);
});

test('the rate is the one that is asked for, or the own one', async () => {
  const { scrubber, engine } = setUp();
  await scrubber.start({ mode: 'verify', bytesPerSecond: 0 });
  await scrubber.start({ mode: 'verify', bytesPerSecond: LEAST_SCRUB_BYTES_PER_SECOND });
  expect(engine.calls).toMatchObject([{ bytesPerSecond: RATE }, { bytesPerSecond: LEAST_SCRUB_BYTES_PER_SECOND }]);
});

test.each([-1, 1, 0.5, Number.NaN, 2 ** 53])('%d bytes a second are refused before anything is changed', async (bytesPerSecond) => {
  const { scrubber, steps } = setUp();
  await expect(scrubber.start({ mode: 'verify', bytesPerSecond })).rejects.toMatchObject({ code: 'invalid-argument' });
  expect(steps).toEqual([]);
});
