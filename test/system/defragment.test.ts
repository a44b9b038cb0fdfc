/** A whole store, and a volume that was scattered: it is put in order while it is written, and through the store's death. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { ClientDefragment } from '../../src/store/wire/defragment-messages.ts';
import { canUseFuse, canUseLoop, describeIf } from '../support/capabilities.ts';
import { eventually } from '../support/eventually.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { StoreBed, type BedProcess } from '../support/store-bed.ts';

const MIB = 2 ** 20;
const GRANULE_BYTES = 4096;
const SIZE_BYTES = 32 * MIB;
const GRANULES = SIZE_BYTES / GRANULE_BYTES;
const CHUNKS = SIZE_BYTES / 65_536;
const LIMIT_MS = 90_000;
const END_LIMIT_MS = 60_000;

describeIf(canUseFuse(), canUseLoop())('a volume that was written at random, with a snapshot', () => {
  let bed: StoreBed;
  let store: BedProcess;
  let devicePath = '';
  let volumeId = '';
  const random = new SeededRandom(6);
  const content = randomBytes(SIZE_BYTES);
  let before: Buffer;

  beforeAll(async () => {
    bed = new StoreBed({ poolSize: '192MiB' });
    await bed.startKeeper();
    store = await bed.startStore({ pod: null });
    devicePath = await bed.makeDevice('data', SIZE_BYTES);
    const order = Array.from({ length: GRANULES }, (_, index) => index);
    for (let last = order.length - 1; last > 0; last -= 1) {
      const other = random.below(last + 1);
      [order[last], order[other]] = [order[other]!, order[last]!];
    }
    onDevice((device) => {
      for (const granule of order) writeGranule(device, granule);
      fs.fsyncSync(device);
    });
    detach('data');
    const [{ id } = { id: '' }] = await bed.client.listVolumes();
    volumeId = id;
    before = Buffer.from(content);
    await bed.client.createSnapshot({ name: 'monday', sourceVolumeId: id, attributes: {} });
    devicePath = attach('data');
  }, LIMIT_MS);
  afterAll(async () => {
    await bed.cleanUp();
  }, LIMIT_MS);

  const attach = (name: string): string => bed.operate('attach', name, '--keeper', bed.keeperSocket).trim();
  const detach = (name: string): string => bed.operate('detach', name, '--keeper', bed.keeperSocket);

  function onDevice(use: (device: number) => void): void {
    const device = fs.openSync(devicePath, fs.constants.O_RDWR);
    try {
      use(device);
    } finally {
      fs.closeSync(device);
    }
  }

  function writeGranule(device: number, granule: number): void {
    const at = granule * GRANULE_BYTES;
    fs.writeSync(device, content, at, GRANULE_BYTES, at);
  }

  /** Gives some granules other bytes. */
  function writeSome(count: number): void {
    onDevice((device) => {
      for (let index = 0; index < count; index += 1) {
        const granule = random.below(GRANULES);
        randomBytes(GRANULE_BYTES).copy(content, granule * GRANULE_BYTES);
        writeGranule(device, granule);
      }
      fs.fsyncSync(device);
    });
  }

  function defragment(...words: readonly string[]): { readonly status: number | null; readonly report: ClientDefragment } {
    const { status, output } = bed.run('defragment', 'data', ...words, '--output', 'json');
    return { status, report: JSON.parse(output) as ClientDefragment };
  }

  /** What the disk has, not the page cache. */
  function readBack(): Buffer {
    detach('data');
    devicePath = attach('data');
    return readAll(devicePath);
  }

  function readAll(path: string): Buffer {
    const bytes = Buffer.alloc(SIZE_BYTES);
    const device = fs.openSync(path, 'r');
    fs.readSync(device, bytes, 0, SIZE_BYTES, 0);
    fs.closeSync(device);
    return bytes;
  }

  test(
    'is put in order while it is written and while the store dies, and holds what was written',
    async () => {
      expect(await bed.client.startDefragment(volumeId)).toMatchObject({ state: 'running' });
      writeSome(200);
      await store.kill();
      store = await bed.startStore({ pod: null });
      expect(await bed.client.getDefragment(volumeId)).toMatchObject({ state: 'never' });
      await bed.client.startDefragment(volumeId);
      const isOver = async (): Promise<boolean> => {
        writeSome(50);
        return (await bed.client.getDefragment(volumeId)).state !== 'running';
      };
      await eventually('the end', isOver, END_LIMIT_MS);
      const { status, report } = defragment('--wait');
      expect({ status, ...report }).toMatchObject({ status: 0, state: 'done' });
      // Some pieces of a mebibyte and more; it had one for each chunk.
      expect(report.leftPieces).toBeLessThan(CHUNKS / 8);
      expect(readBack().equals(content)).toBe(true);
      expect(readAll(attach('monday')).equals(before)).toBe(true);
      detach('monday');
      expect(await bed.client.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );

  test(
    'stays as it is the next time, and is told of in words',
    async () => {
      expect(defragment('--wait')).toMatchObject({ status: 0, report: { state: 'done', movedBytes: 0 } });
      expect(bed.run('defragment', 'data', '--status')).toMatchObject({
        status: 0,
        output: expect.stringMatching(/^volume data was defragmented by .*: 0 B moved, \d+ pieces? on the disk became \d+\n$/),
      });
      expect(bed.run('defragment', 'data', '--status', '--stop')).toMatchObject({ status: 2 });
      expect(bed.run('defragment', 'monday')).toMatchObject({ status: 1, errors: expect.stringContaining('there is no volume "monday"') });
    },
    LIMIT_MS,
  );

  test(
    'is left where it is by a stop',
    async () => {
      writeSome(2_000);
      await bed.client.startDefragment(volumeId);
      const { status, report } = defragment('--stop');
      expect(status).toBe(0);
      expect(['stopped', 'done']).toContain(report.state);
      expect(readBack().equals(content)).toBe(true);
      expect(await bed.client.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );
});
