/** A whole store in this process, without devices: what its parts leave behind, and what it refuses before it has its pool. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { closeDescriptor } from '../../src/linux/files.ts';
import { duplicateDescriptor } from '../../src/linux/duplicate.ts';
import { SharedMemory } from '../../src/linux/memory.ts';
import { memoryLayout } from '../../src/store/data-thread/memory-layout.ts';
import { PoolLock } from '../../src/store/pool/lock.ts';
import { findPool, prepareStore, type RunningStore, type StoreKeeper, type StoreOptions } from '../../src/store/store.ts';
import { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import { eventually } from '../support/eventually.ts';

const MIB = 2 ** 20;
const LIMIT_MS = 60_000;

/** Holds copies of descriptors, as the keeper does, in this process. */
class InnerKeeper implements StoreKeeper {
  readonly ready = true;
  readonly entries = new Map<string, number[]>();

  async put(key: string, _: unknown, descriptors: readonly number[]): Promise<void> {
    await this.drop(key);
    this.entries.set(key, descriptors.map(duplicateDescriptor));
  }

  async adopt(key: string): Promise<{ metadata: Record<string, never>; descriptors: number[] } | null> {
    const held = this.entries.get(key);
    return held === undefined ? null : { metadata: {}, descriptors: held.map(duplicateDescriptor) };
  }

  get(key: string): Promise<{ descriptors: number[] } | null> {
    return this.adopt(key);
  }

  async drop(key: string): Promise<void> {
    for (const descriptor of this.entries.get(key) ?? []) closeDescriptor(descriptor);
    this.entries.delete(key);
  }

  async list(): Promise<{ key: string }[]> {
    return [...this.entries.keys()].map((key) => ({ key }));
  }

  async leave(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}
}

let folder: string;
let keeper: InnerKeeper;
let options: StoreOptions;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-store-'));
  keeper = new InnerKeeper();
  options = {
    poolFolder: path.join(folder, 'pool'),
    sizeBytes: 64 * MIB,
    chunkSizeBytes: null,
    node: 'n1',
    overprovisioningRatio: 10,
    parkTimeoutMs: 1000,
    prewrite: false,
    scrubBytesPerSecond: 1 << 25,
    keeperOf: () => Promise.resolve(keeper),
    log: silentLogger(),
    died: (error) => {
      throw error;
    },
  };
});
afterEach(async () => {
  for (const key of [...keeper.entries.keys()]) await keeper.drop(key);
  fs.rmSync(folder, { recursive: true, force: true });
});

async function openStore(keeperKeys: readonly string[] | null = null): Promise<RunningStore> {
  const prepared = await prepareStore(options);
  const lock = PoolLock.open(options.poolFolder);
  expect(lock.take()).toBe(true);
  return prepared.open(lock, { keeperKeys: Promise.resolve(keeperKeys) });
}

/** The descriptors and mappings of this process that a store makes. */
function holdings(): string[] {
  const descriptors = fs.readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      return [fs.readlinkSync(`/proc/self/fd/${name}`)];
    } catch {
      return [];
    }
  });
  const mappings = fs
    .readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .map((line) => line.slice(73).trim());
  return [...descriptors, ...mappings].filter((name) => name.includes(folder) || /memfd:chunkstore|io_uring|eventfd/.test(name)).toSorted();
}

test(
  'a store that was stopped has left nothing in its process, and its pool to the next one',
  async () => {
    await findPool(options);
    let before: string[] = [];
    for (let round = 0; round < 3; round++) {
      const store = await openStore();
      await store.calls.createVolume({ name: `volume-${round}`, sizeBytes: MIB, source: null, attributes: {} });
      expect((await store.calls.listVolumes()).volumes).toHaveLength(round + 1);
      expect(store.keeperKeys()).toEqual(['memory']);
      await store.stop();
      store.release();
      await store.letGo();
      await expect(store.ping()).rejects.toMatchObject({ code: 'unavailable' });
      // Ring and memory go a moment later, with their thread.
      if (round === 0) {
        await eventually('the rings are gone', () => !holdings().some((name) => name.startsWith(folder)));
        await new Promise((resolve) => setTimeout(resolve, 500));
        before = holdings();
      }
    }
    await eventually('all is as it was', () => holdings().length <= before.length, 10_000);
    expect(holdings()).toEqual(before);
  },
  LIMIT_MS,
);

test(
  'a store prepares beside the one that has the pool, and disturbs nothing',
  async () => {
    await findPool(options);
    const store = await openStore();
    const prepared = await prepareStore(options);
    expect(prepared.succeeds).toBe(true);
    expect(PoolLock.open(options.poolFolder).take()).toBe(false);
    await store.calls.createVolume({ name: 'volume', sizeBytes: MIB, source: null, attributes: {} });
    await prepared.discard();
    await store.ping();
    await store.stop();
    store.release();
    await store.letGo();
  },
  LIMIT_MS,
);

test(
  'memory of another version is refused before anybody is asked for the pool',
  async () => {
    await findPool(options);
    const { totalBytes, engineOffset } = memoryLayout();
    const small = SharedMemory.create({ name: 'chunkstore-test', sizeBytes: 4096 });
    await keeper.put('memory', {}, [small.descriptor]);
    await expect(prepareStore(options)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringContaining('another version'),
    });

    const memory = SharedMemory.create({ name: 'chunkstore-test', sizeBytes: totalBytes });
    const ring = new DataView(memory.bytes.buffer, memory.bytes.byteOffset + engineOffset);
    ring.setUint32(0, 0x676e6972, true);
    ring.setUint32(4, 2, true);
    await keeper.put('memory', {}, [memory.descriptor]);
    await expect(prepareStore(options)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringContaining('another version'),
    });
    for (const { descriptor } of [small, memory]) closeDescriptor(descriptor);
  },
  LIMIT_MS,
);

test(
  'memory that an earlier program made, with fewer requests under way, is served as it is',
  async () => {
    await findPool(options);
    const earlier = memoryLayout({ activeSlots: 64, parkingSlots: 64, devices: 256 });
    const memory = SharedMemory.create({ name: 'chunkstore-test', sizeBytes: earlier.totalBytes });
    await keeper.put('memory', {}, [memory.descriptor]);
    const prepared = await prepareStore(options);
    const lock = PoolLock.open(options.poolFolder);
    lock.take();
    const store = await prepared.open(lock, { keeperKeys: Promise.resolve(null) });
    await store.calls.createVolume({ name: 'volume', sizeBytes: MIB, source: null, attributes: {} });
    const words = new DataView(memory.bytes.buffer, memory.bytes.byteOffset);
    expect([8, 12, 16].map((at) => words.getUint32(at, true))).toEqual([64, 64, 256]);
    expect(words.getUint32(earlier.engineOffset, true)).toBe(0x676e6972);
    await store.stop();
    store.release();
    await store.letGo();
    closeDescriptor(memory.descriptor);
  },
  LIMIT_MS,
);

test(
  'the predecessor makes new memory while this one prepares: that is what counts',
  async () => {
    await findPool(options);
    const prepared = await prepareStore(options);
    const memory = SharedMemory.create({ name: 'chunkstore-test', sizeBytes: memoryLayout().totalBytes });
    await keeper.put('memory', {}, [memory.descriptor]);
    const lock = PoolLock.open(options.poolFolder);
    lock.take();
    const store = await prepared.open(lock, { keeperKeys: Promise.resolve(null) });
    // The engine has written its head into it.
    const { engineOffset } = memoryLayout();
    await store.calls.createVolume({ name: 'volume', sizeBytes: MIB, source: null, attributes: {} });
    expect(new DataView(memory.bytes.buffer, memory.bytes.byteOffset + engineOffset).getUint32(0, true)).toBe(0x676e6972);
    await store.stop();
    store.release();
    await store.letGo();
    closeDescriptor(memory.descriptor);
  },
  LIMIT_MS,
);

test(
  'a keeper that goes away while the pool is opened: the pool is free again and whole, and nothing is left behind',
  async () => {
    await findPool(options);
    const first = await openStore();
    await first.calls.createVolume({ name: 'volume', sizeBytes: MIB, source: null, attributes: {} });
    const list = keeper.list.bind(keeper);
    await first.stop();
    first.release();
    await first.letGo();
    keeper.list = () => Promise.reject(new StoreError('unavailable', 'no keeper'));
    const before = holdings().length;
    await expect(openStore()).rejects.toMatchObject({ code: 'unavailable' });
    await eventually('all is as it was', () => holdings().length <= before, 10_000);
    keeper.list = list;
    const store = await openStore();
    expect((await store.calls.listVolumes()).volumes).toHaveLength(1);
    await store.stop();
    store.release();
    await store.letGo();
  },
  LIMIT_MS,
);

test(
  'an engine that cannot open its pool: the locks go with the process, because nobody knows what it has under way',
  async () => {
    await findPool(options);
    fs.truncateSync(path.join(options.poolFolder, 'meta/data.mdb'), 8192);
    const prepared = await prepareStore(options);
    const lock = PoolLock.open(options.poolFolder);
    lock.take();
    // Not `unavailable`: it does not pass by itself.
    await expect(prepared.open(lock, { keeperKeys: Promise.resolve(null) })).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringContaining('truncated'),
    });
    const next = PoolLock.open(options.poolFolder);
    expect(next.take()).toBe(false);
    lock.close();
    expect(next.take()).toBe(true);
    next.close();
  },
  LIMIT_MS,
);

test(
  'a keeper that comes late with what was handed over is waited for',
  async () => {
    await findPool(options);
    const opening = openStore(['memory', 'note']);
    // Long enough for one that would take its own memory for the predecessor's.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect([...keeper.entries.keys()]).toEqual([]);
    const memory = SharedMemory.create({ name: 'chunkstore-test', sizeBytes: memoryLayout().totalBytes });
    await keeper.put('memory', {}, [memory.descriptor]);
    await keeper.put('note', {}, [memory.descriptor]);
    const store = await opening;
    await store.calls.createVolume({ name: 'volume', sizeBytes: MIB, source: null, attributes: {} });
    const { engineOffset } = memoryLayout();
    expect(new DataView(memory.bytes.buffer, memory.bytes.byteOffset + engineOffset).getUint32(0, true)).toBe(0x676e6972);
    await store.stop();
    store.release();
    await store.letGo();
    closeDescriptor(memory.descriptor);
  },
  LIMIT_MS,
);
