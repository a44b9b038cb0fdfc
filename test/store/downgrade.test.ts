/**
 * A program that finds what a newer one has written refuses in words, and changes nothing: each structure of the table in
 * docs/format.md gets a version that nobody knows, in the golden pool of version 1. All that can be told without the pool
 * (`before` is not `opening`) is told before the store that has the pool is asked for it.
 */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { Arena } from '../../src/block/arena.ts';
import { KeeperClient } from '../../src/block/keeper-client.ts';
import { encodeMessage } from '../../src/block/keeper-protocol.ts';
import { memoryKey } from '../../src/block/kept-device.ts';
import { RecordRing } from '../../src/engine/record-ring.ts';
import { RING_UNITS } from '../../src/engine/memory-layout.ts';
import { accept, listen, receive, send } from '../../src/linux/descriptors.ts';
import { closeDescriptor } from '../../src/linux/files.ts';
import { SharedMemory } from '../../src/linux/memory.ts';
import { Poller } from '../../src/linux/poller.ts';
import { ARENA_COUNTS, memoryLayout } from '../../src/store/data-thread/memory-layout.ts';
import { MetadataEnvironment } from '../../src/store/metadata/environment.ts';
import { PoolLock } from '../../src/store/pool/lock.ts';
import { findPool, prepareStore, type PreparedStore, type StoreKeeper, type StoreOptions } from '../../src/store/store.ts';
import { silentLogger } from '../../src/util/log.ts';
import { unpackImage } from '../support/file-image.ts';
import { goldenContents, goldenFiles } from '../support/golden-pool.ts';
import { OwnKeeper } from '../support/own-keeper.ts';

const UNKNOWN = 99;
const POOL_ID = goldenContents(1).poolId;
type Step = 'finding' | 'preparing' | 'opening';

interface Bed {
  readonly folder: string;
  readonly pool: string;
  readonly memory: Uint8Array;
  /** The store connects to this one instead. */
  readonly useKeeper: (keeperOf: () => Promise<StoreKeeper>) => void;
}

interface Case {
  /** As the table calls it. */
  readonly structure: string;
  /** At which step it is refused. */
  readonly before: Step;
  readonly words: RegExp;
  readonly raise: (bed: Bed) => void | Promise<void>;
}

const cases: readonly Case[] = [
  {
    structure: 'pool.json',
    before: 'finding',
    words:
      /pool in .* has version 99 of the format, this program knows versions? .*: a newer program has changed it.*use that program again/,
    raise: ({ pool }) => {
      const file = path.join(pool, 'pool.json');
      fs.writeFileSync(file, JSON.stringify({ ...(JSON.parse(fs.readFileSync(file, 'utf8')) as object), version: UNKNOWN }));
    },
  },
  {
    structure: 'pool header',
    before: 'finding',
    words: /data has format version 99; this program reads versions? .*Use the version that wrote it, or a newer one/,
    raise: ({ pool }) => {
      const header = Buffer.alloc(4096);
      const descriptor = fs.openSync(path.join(pool, 'data'), 'r+');
      fs.readSync(descriptor, header, 0, header.length, 0);
      header.writeUInt32LE(UNKNOWN, 16);
      header.writeUInt32LE(crc32(header.subarray(0, 4092)), 4092);
      fs.writeSync(descriptor, header, 0, header.length, 0);
      fs.closeSync(descriptor);
    },
  },
  {
    structure: 'checkpoint (rows of `pool` and `objects`)',
    before: 'opening',
    words: /the pool has format version 99; this program reads versions? .*Use the version that wrote it, or a newer one/,
    raise: ({ pool }) =>
      changeRows(pool, 'pool', (row) => {
        const value = JSON.parse(Buffer.from(row.subarray(4)).toString('utf8')) as object;
        const json = Buffer.from(JSON.stringify({ ...value, version: UNKNOWN }));
        const bytes = Buffer.concat([Buffer.alloc(4), json]);
        bytes.writeUInt32LE(crc32(json), 0);
        return bytes;
      }),
  },
  {
    structure: 'page',
    before: 'opening',
    words: /page \d+ has version 99; this program reads versions? .*Use the version that wrote it, or a newer one/,
    raise: ({ pool }) =>
      changeRows(pool, 'pages', (row) => {
        const bytes = Buffer.from(row);
        bytes.writeUInt16LE(UNKNOWN, 4);
        bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
        return bytes;
      }),
  },
  {
    structure: 'record ring',
    before: 'preparing',
    words: /shared memory was laid out by another version of this program; stop that one in order, so that it writes a checkpoint/,
    raise: ({ memory }) => {
      const { engineOffset, engineBytes } = memoryLayout();
      const bytes = memory.subarray(engineOffset, engineOffset + engineBytes);
      const ring = new RecordRing(bytes, RING_UNITS);
      ring.initialize(POOL_ID, 'l'.repeat(26));
      ring.publish();
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(4, UNKNOWN, true);
    },
  },
  {
    structure: 'request arena',
    before: 'preparing',
    words: /the request arena is of another kind: version 99, .*detach all volumes first/,
    raise: ({ memory }) => {
      const { arenaOffset, arenaBytes } = memoryLayout();
      // It lays the memory out.
      void new Arena({ ...ARENA_COUNTS, memory: { bytes: memory, address: 65536 }, offsetBytes: arenaOffset, lengthBytes: arenaBytes });
      new DataView(memory.buffer, memory.byteOffset).setUint32(4, UNKNOWN, true);
    },
  },
  {
    structure: 'keeper protocol',
    before: 'preparing',
    words: /the keeper speaks version 99 of its protocol, the store version 1: update the older of the two/,
    raise: ({ folder, useKeeper }) => {
      const socketPath = path.join(folder, 'keeper.sock');
      useKeeper(async () => {
        const stop = refuseEverybody(socketPath);
        try {
          return await KeeperClient.connect({ socketPath, role: 'store', pool: POOL_ID, timeoutMs: 5_000 });
        } finally {
          await stop();
        }
      });
    },
  },
];

function changeRows(pool: string, table: 'pool' | 'pages', change: (row: Uint8Array) => Uint8Array): Promise<void> {
  const environment = new MetadataEnvironment(path.join(pool, 'meta'));
  environment.commit(environment.readAll(table).map(({ key, value }) => ({ table, key, value: change(value) })));
  return environment.close();
}

/** A keeper of another version, which refuses every hello in the words of the keeper that there is. */
function refuseEverybody(socketPath: string): () => Promise<void> {
  const poller = new Poller();
  const listener = listen(socketPath, { backlog: 4 });
  const sockets: number[] = [];
  poller.watch(listener, () => {
    const socket = accept(listener);
    if (socket === null) return;
    sockets.push(socket);
    const watch = poller.watch(socket, () => {
      const message = receive(socket);
      if (message === 'nothing') return;
      if (message === 'closed') return watch.stop();
      const { id, role, version } = JSON.parse(Buffer.from(message.bytes).toString('utf8')) as Record<string, string | number>;
      const words = `the keeper speaks version ${UNKNOWN} of its protocol, the ${role} version ${version}: update the older of the two`;
      const answer = { type: 'error', id: Number(id), code: 'failed-precondition', message: words } as const;
      send(socket, { bytes: encodeMessage(answer), descriptors: [] });
    });
  });
  return async () => {
    await poller.close();
    for (const descriptor of [listener, ...sockets]) closeDescriptor(descriptor);
  };
}

describe('what a newer program has written', () => {
  let folder: string;
  let keeper: OwnKeeper;
  let memory: SharedMemory;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-downgrade-'));
    unpackImage(fs.readFileSync(goldenFiles(1).image), { prefix: 'pool/', folder: path.join(folder, 'pool') });
    keeper = new OwnKeeper();
    memory = SharedMemory.create({ name: 'chunkstore-downgrade', sizeBytes: memoryLayout().totalBytes });
  });
  afterEach(async () => {
    for (const key of [...keeper.entries.keys()]) await keeper.drop(key);
    memory.unmap();
    closeDescriptor(memory.descriptor);
    fs.rmSync(folder, { recursive: true, force: true });
  });

  const pool = (): string => path.join(folder, 'pool');

  function digests(): Record<string, number> {
    const files = ['pool.json', 'data', 'log', 'meta/data.mdb'];
    const contents = (name: string): Buffer => fs.readFileSync(path.join(pool(), name));
    return { ...Object.fromEntries(files.map((name) => [name, crc32(contents(name))])), memory: crc32(memory.bytes) };
  }

  /** As a store of a new pod does it; answers the step that failed, and how. */
  async function open(keeperOf: () => Promise<StoreKeeper>): Promise<{ readonly step: Step | 'none'; readonly error: unknown }> {
    const options: StoreOptions = {
      poolFolder: pool(),
      sizeBytes: null,
      chunkSizeBytes: null,
      node: 'n1',
      overprovisioningRatio: 1000,
      parkTimeoutMs: 1_000,
      prewrite: false,
      scrubBytesPerSecond: 1 << 25,
      keeperOf,
      log: silentLogger(),
      died: () => {},
    };
    let step: Step = 'finding';
    try {
      await findPool(options);
      step = 'preparing';
      const prepared: PreparedStore = await prepareStore(options);
      step = 'opening';
      const lock = PoolLock.open(pool());
      lock.take();
      const store = await prepared.open(lock, { keeperKeys: Promise.resolve(null) });
      await store.stop();
      store.release();
      await store.letGo();
      return { step: 'none', error: null };
    } catch (error) {
      return { step, error };
    }
  }

  // What cannot succeed refuses nothing.
  test('without it the pool is opened', async () => {
    expect(await open(() => Promise.resolve(keeper))).toEqual({ step: 'none', error: null });
  });

  test.each(cases)('$structure: it is refused while $before, in words, and nothing is changed', async ({ raise, before, words }) => {
    let keeperOf = (): Promise<StoreKeeper> => Promise.resolve(keeper);
    await raise({ folder, pool: pool(), memory: memory.bytes, useKeeper: (other) => (keeperOf = other) });
    await keeper.put(memoryKey, {}, [memory.descriptor]);
    const was = digests();
    const { step, error } = await open(keeperOf);
    expect(error).toMatchObject({ code: 'failed-precondition', message: expect.stringMatching(words) });
    expect(step).toBe(before);
    const { memory: memoryWas, ...filesWere } = was;
    const { memory: memoryIs, ...files } = digests();
    expect(files).toEqual(filesWere);
    // Who has the pool's locks alone uses the memory.
    if (before !== 'opening') expect(memoryIs).toBe(memoryWas);
  });

  test('every structure of docs/format.md that has a version is among these', () => {
    const text = fs.readFileSync(path.join(import.meta.dirname, '../../docs/format.md'), 'utf8');
    const table = text.slice(text.indexOf('| structure'), text.indexOf('Sizes that all of this shares'));
    const rows = table
      .trim()
      .split('\n')
      .slice(2)
      .map((line) => line.split('|').map((cell) => cell.trim()));
    const versioned = rows.filter(([, , version]) => /^[\d, or]+$/.test(version ?? '')).map(([, name]) => name);
    expect(versioned.length).toBeGreaterThan(5);
    expect(new Set(cases.map(({ structure }) => structure))).toEqual(new Set(versioned));
  });
});
