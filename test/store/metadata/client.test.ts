import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { MessageChannel, Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { MetadataChange, MetadataImage } from '../../../src/engine/ports.ts';
import type { MetadataSpace } from '../../../src/store/metadata/environment.ts';
import { MetadataStoreClient } from '../../../src/store/metadata/client.ts';

const WORKER = new URL('../../../src/store/metadata/worker.ts', import.meta.url);

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-metadata-'));
});
afterEach(() => {
  fs.rmSync(folder, { recursive: true, force: true });
});

class Fixture {
  readonly client: MetadataStoreClient;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #poll: NodeJS.Timeout;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#worker = new Worker(WORKER, { workerData: { folder, port: port2, wakeDescriptor: -1 }, transferList: [port2], execArgv: [] });
    this.#exited = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
    this.client = new MetadataStoreClient(port1);
    port1.unref();
    this.#poll = setInterval(() => this.client.drain(), 1);
  }

  load(): Promise<MetadataImage> {
    return new Promise((resolve, reject) => this.client.load((error, image) => (image === null ? reject(error!) : resolve(image))));
  }

  commit(changes: readonly MetadataChange[]): Promise<void> {
    return new Promise((resolve, reject) => this.client.commit(changes, (error) => (error === null ? resolve() : reject(error))));
  }

  readPage(key: number): Promise<Uint8Array | null> {
    return new Promise((resolve, reject) =>
      this.client.readPage(key, (error, value) => (error === null ? resolve(copyOf(value)) : reject(error))),
    );
  }

  readChecksums(key: number): Promise<Uint8Array | null> {
    return new Promise((resolve, reject) =>
      this.client.readChecksums(key, (error, value) => (error === null ? resolve(copyOf(value)) : reject(error))),
    );
  }

  space(): Promise<MetadataSpace> {
    return new Promise((resolve, reject) =>
      this.client.space((error, space) => (error === null && space !== null ? resolve(space) : reject(error ?? new Error('no answer')))),
    );
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve, reject) => this.client.close((error) => (error === null ? resolve() : reject(error))));
    await this.#exited;
    clearInterval(this.#poll);
  }

  async kill(): Promise<void> {
    await this.#worker.terminate();
    clearInterval(this.#poll);
  }
}

/** What a read brings may be used for the next one. */
function copyOf(value: Uint8Array | null): Uint8Array | null {
  return value === null ? null : new Uint8Array(value);
}

const MIB = 1 << 20;
const page = (fill: number): Uint8Array => new Uint8Array(4072).fill(fill);

describe('metadata store', () => {
  test('an empty folder loads as nothing', async () => {
    const store = new Fixture();
    expect(await store.load()).toEqual({ pool: null, objects: [], seals: [], erasures: [] });
    expect(await store.readPage(7)).toBeNull();
    await store.close();
  });

  test('a committed transaction is read back, also by the next process', async () => {
    const first = new Fixture();
    await first.load();
    await first.commit([
      { table: 'pool', key: 0, value: Uint8Array.of(1, 2, 3) },
      { table: 'objects', key: 2, value: Uint8Array.of(22) },
      { table: 'objects', key: 1, value: new Uint8Array() },
      { table: 'pages', key: 0, value: page(5) },
      { table: 'pages', key: 4_000_000_000, value: page(6) },
    ]);
    await first.commit([
      { table: 'pages', key: 0, value: null },
      { table: 'pages', key: 12, value: null },
    ]);
    await first.kill();

    const second = new Fixture();
    const { pool, objects } = await second.load();
    expect(pool).toEqual(Uint8Array.of(1, 2, 3));
    expect(objects).toEqual([
      { key: 1, value: new Uint8Array() },
      { key: 2, value: Uint8Array.of(22) },
    ]);
    expect(await second.readPage(0)).toBeNull();
    expect(await second.readPage(4_000_000_000)).toEqual(page(6));
    await second.close();
  });

  test('values that are views of a large memory are committed without it, and stay usable', async () => {
    const memory = new Uint8Array(1 << 20).fill(9);
    const store = new Fixture();
    await store.load();
    await store.commit([{ table: 'pages', key: 1, value: memory.subarray(4096, 4096 + 4072) }]);
    expect(memory.length).toBe(1 << 20);
    expect(await store.readPage(1)).toEqual(page(9));
    await store.close();
  });

  test('a thousand pages in one transaction', async () => {
    const store = new Fixture();
    await store.load();
    await store.commit(Array.from({ length: 1024 }, (_, key) => ({ table: 'pages' as const, key, value: page(key & 255) })));
    expect(await store.readPage(1023)).toEqual(page(255));
    await store.close();
  });

  test('reads of many rows of both tables at once are each answered with their own row, or that there is none', async () => {
    const store = new Fixture();
    await store.load();
    const row = (key: number) => page(key & 255).subarray(0, 1 + key);
    const pages = Array.from({ length: 200 }, (_, key) => ({ table: 'pages' as const, key, value: row(key) }));
    const checksums = Array.from({ length: 200 }, (_, key) => ({ table: 'checksums' as const, key, value: row(key + 300) }));
    await store.commit([...pages, ...checksums]);
    const keys = Array.from({ length: 210 }, (_, index) => index);
    const reads = keys.flatMap((key) => (key % 3 === 0 ? [store.readChecksums(key), store.readPage(key)] : [store.readPage(key)]));
    const expected = (key: number, from: number) => (key < 200 ? row(key + from) : null);
    const rows = keys.flatMap((key) => (key % 3 === 0 ? [expected(key, 300), expected(key, 0)] : [expected(key, 0)]));
    expect(await Promise.all(reads)).toEqual(rows);
    await store.close();
  });

  test('a read finds what was committed before it was asked for, and nothing that was committed after', async () => {
    const store = new Fixture();
    await store.load();
    const found: Promise<number | undefined>[] = [];
    const versions = Array.from({ length: 20 }, (_, version) => version);
    for (const version of versions) {
      void store.commit([{ table: 'pages', key: 1, value: Uint8Array.of(version) }]);
      // More than go into the messages that are under way at once.
      for (let count = 0; count < 150; count++) found.push(store.readPage(1).then((value) => value?.[0]));
    }
    expect(await Promise.all(found)).toEqual(versions.flatMap((version) => Array.from({ length: 150 }, () => version)));
    await store.close();
  });

  test('when reads fail, each of them does', async () => {
    const store = new Fixture();
    const reads = Array.from({ length: 100 }, (_, key) => store.readPage(key));
    expect((await Promise.allSettled(reads)).map(({ status }) => status)).toEqual(reads.map(() => 'rejected'));
    await store.load();
    expect(await store.readPage(1)).toBeNull();
    await store.close();
  });

  test('room is reserved ahead of what is written, and told', async () => {
    const store = new Fixture();
    await store.load();
    expect(store.client.lastSpace).toBeNull();
    const first = await store.space();
    expect(first).toMatchObject({ problem: null });
    expect(first.reservedBytes - first.usedBytes).toBeGreaterThanOrEqual(8 * MIB);
    for (let round = 0; round < 5; round++) {
      // Whatever a transaction writes was reserved before, and afterwards there is room for the next.
      await store.commit(Array.from({ length: 1024 }, (_, key) => ({ table: 'pages' as const, key: round * 1024 + key, value: page(1) })));
      const { usedBytes, reservedBytes, problem } = store.client.lastSpace!;
      expect(problem).toBeNull();
      expect(reservedBytes).toBeGreaterThan(usedBytes + 1024 * 4096 + 4 * MIB);
    }
    const last = await store.space();
    expect(last.usedBytes).toBeGreaterThan(5 * 1024 * 4096);
    expect(fs.statSync(path.join(folder, 'data.mdb')).blocks * 512).toBeGreaterThanOrEqual(last.reservedBytes);
    await store.close();
    const next = new Fixture();
    await next.load();
    expect(await next.readPage(5 * 1024 - 1)).toEqual(page(1));
    await next.close();
  });

  test('a truncated file is an error of load, not a crash', async () => {
    const first = new Fixture();
    await first.load();
    await first.commit(Array.from({ length: 64 }, (_, key) => ({ table: 'pages' as const, key, value: page(1) })));
    const { usedBytes } = await first.space();
    await first.close();
    fs.truncateSync(path.join(folder, 'data.mdb'), usedBytes - 65536);

    const second = new Fixture();
    await expect(second.load()).rejects.toMatchObject({ message: expect.stringContaining('truncated') });
    await second.kill();
  });

  test('a foreign file is an error of load', async () => {
    fs.writeFileSync(path.join(folder, 'data.mdb'), Buffer.alloc(32768, 3));
    const store = new Fixture();
    await expect(store.load()).rejects.toMatchObject({ message: expect.stringContaining('not a metadata file') });
    await store.kill();
  });
});
