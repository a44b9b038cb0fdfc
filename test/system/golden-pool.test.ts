/**
 * Pools in the formats of former versions, as their own programs left them (test/golden), opened by today's: all contents
 * are what the list beside the image says, `check` is clean, and the pool can be used and emptied.
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { KeeperClient } from '../../src/block/keeper-client.ts';
import { memoryKey } from '../../src/block/kept-device.ts';
import { closeDescriptor } from '../../src/linux/files.ts';
import { SharedMemory } from '../../src/linux/memory.ts';
import { canUseFuse, canUseLoop, describeIf, hasPrograms } from '../support/capabilities.ts';
import { readImage, unpackImage } from '../support/file-image.ts';
import { GOLDEN_POOL, goldenContents, GoldenDevices, goldenFiles, type GoldenObject } from '../support/golden-pool.ts';
import { StoreBed } from '../support/store-bed.ts';

const VERSIONS = [1] as const;
const MIB = 2 ** 20;
const LIMIT_MS = 90_000;

describeIf(
  canUseFuse(),
  canUseLoop(),
  hasPrograms('dd'),
)('a pool of a former version', () => {
  let bed: StoreBed;
  let devices: GoldenDevices;
  beforeEach(() => {
    bed = new StoreBed({ poolSize: GOLDEN_POOL.sizeText });
    devices = new GoldenDevices(bed);
  });
  afterEach(async () => {
    await devices.close();
    await bed.cleanUp();
  }, LIMIT_MS);

  const poolFolder = (): string => path.join(bed.folder, 'pool');

  /** A machine with that pool; `memory`: and with a keeper that has the memory of the store that was killed. */
  async function unpack(version: number, options: { readonly memory: boolean }): Promise<void> {
    const image = fs.readFileSync(goldenFiles(version).image);
    unpackImage(image, { prefix: 'pool/', folder: poolFolder() });
    await bed.startKeeper();
    if (options.memory) await keepMemory(image, goldenContents(version).poolId);
  }

  async function keepMemory(image: Uint8Array, poolId: string): Promise<void> {
    const [file] = [...readImage(image)].filter(({ name }) => name === 'memory');
    const memory = SharedMemory.create({ name: 'chunkstore-golden', sizeBytes: file!.sizeBytes });
    const keeper = await KeeperClient.connect({ socketPath: bed.keeperSocket, role: 'store', pool: poolId });
    try {
      for (const { offsetBytes, bytes } of file!.blocks) memory.bytes.set(bytes, offsetBytes);
      await keeper.put(memoryKey, {}, [memory.descriptor]);
    } finally {
      await keeper.close();
      memory.unmap();
      closeDescriptor(memory.descriptor);
    }
  }

  async function startStore(): Promise<void> {
    await bed.startStore({ pod: 'today', flags: GOLDEN_POOL.flags });
  }

  /** It is in order, can be written to, grown, cloned and reverted, and deleting all objects sets all its space free. */
  async function useAndEmpty(): Promise<void> {
    const { client } = bed;
    expect(await client.check()).toMatchObject({ problems: [] });
    const plain = (await client.findVolume('plain'))!;
    const device = await devices.attach(plain.id);
    const { status } = spawnSync('dd', ['if=/dev/urandom', `of=${device}`, 'bs=1M', 'count=8', 'oflag=direct', 'conv=notrunc,fsync']);
    expect(status).toBe(0);
    await devices.detach(plain.id);
    const { snapshot } = await client.createSnapshot({ name: 'today', sourceVolumeId: plain.id, attributes: {} });
    const source = { kind: 'snapshot', id: snapshot.id } as const;
    await client.createVolume({ name: 'of today', sizeBytes: 9 * MIB, source, attributes: {} });
    const former = (await client.listSnapshots()).find(({ name }) => name === 'plain-1')!;
    await client.revertVolume({ id: plain.id, snapshotId: former.id, safety: null });
    expect(await client.check()).toMatchObject({ problems: [] });
    for (const { id } of await client.listVolumes()) await client.deleteVolume(id);
    for (const { id } of await client.listSnapshots()) await client.deleteSnapshot(id);
    expect(await client.check()).toMatchObject({ objects: 0, slotsUsed: 0, problems: [] });
  }

  test.each(VERSIONS)(
    'version %d, after a power cut: what its checkpoint and its log have',
    async (version) => {
      await unpack(version, { memory: false });
      await startStore();
      expect(await devices.contents()).toEqual(goldenContents(version).durable);
      await useAndEmpty();
    },
    LIMIT_MS,
  );

  test.each(VERSIONS)(
    'version %d, after the death of its store: also what was in the shared memory alone',
    async (version) => {
      await unpack(version, { memory: true });
      await startStore();
      expect(await devices.contents()).toEqual(goldenContents(version).acknowledged);
      await useAndEmpty();
    },
    LIMIT_MS,
  );

  // What cannot fail shows nothing: the images have a log and a memory that count.
  test(
    'without its log it is another pool, and so it is without its memory',
    async () => {
      const names = (objects: readonly GoldenObject[]): string[] =>
        objects.map(({ volume, snapshot }) => (volume ?? snapshot)!.name).toSorted();
      const { durable, acknowledged } = goldenContents(1);
      expect(durable).not.toEqual(acknowledged);
      await unpack(1, { memory: false });
      fs.writeFileSync(path.join(poolFolder(), 'log'), new Uint8Array(fs.statSync(path.join(poolFolder(), 'log')).size));
      await startStore();
      const found = [...(await bed.client.listVolumes()), ...(await bed.client.listSnapshots())].map(({ name }) => name).toSorted();
      expect(names(durable).filter((name) => !found.includes(name))).toEqual(['plain-3', 'young']);
    },
    LIMIT_MS,
  );
});
