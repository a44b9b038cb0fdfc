/**
 * A whole store in this process, but for devices: whatever is sent to it by proto/store.proto, each call ends with one of
 * its codes, none by a bug of ours, and the store goes on; afterwards `check` is clean, what it lists was asked for, and it
 * has made nothing outside of its pool's folder.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { closeServer, listenOnSocket } from '../../src/roles/process/listen.ts';
import { PoolLock } from '../../src/store/pool/lock.ts';
import { findPool, prepareStore, type RunningStore, type StoreOptions } from '../../src/store/store.ts';
import { loadStoreProtocol } from '../../src/store/wire/messages.ts';
import { createStoreServer, type StoreHandlers } from '../../src/store/wire/server.ts';
import { silentLogger } from '../../src/util/log.ts';
import type { FuzzTarget } from './fuzz.ts';
import { OwnKeeper } from './own-keeper.ts';
import { RawCalls, unaryMethods } from './raw-calls.ts';
import type { SeededRandom } from './seeded-random.ts';
import { WireMessages, type Vocabulary } from './wire-messages.ts';

const PROPER: ReadonlySet<status> = new Set([
  status.OK,
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.RESOURCE_EXHAUSTED,
  status.FAILED_PRECONDITION,
  status.ABORTED,
  status.OUT_OF_RANGE,
  status.UNIMPLEMENTED,
]);

const CALLS_A_ROUND = 600;
const MIB = 1 << 20;
/** Needs /dev/fuse and loop devices, which this layer does without. */
const WITH_DEVICES: ReadonlySet<string> = new Set(['Attach']);
const BUILDING: ReadonlySet<string> = new Set(['CreateVolume', 'CreateSnapshot', 'ResizeVolume', 'RevertVolume']);

export function storeFuzz(options: { readonly tally?: Map<string, number> } = {}): FuzzTarget {
  return { testFile: 'test/store/fuzz.test.ts', round: (random) => round(random, options.tally ?? new Map()) };
}

async function round(random: SeededRandom, tally: Map<string, number>): Promise<number> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-store-fuzz-'));
  const keeper = new OwnKeeper();
  const deaths: unknown[] = [];
  const options: StoreOptions = {
    poolFolder: path.join(folder, 'pool'),
    sizeBytes: 64 * MIB,
    chunkSizeBytes: null,
    node: 'n1',
    overprovisioningRatio: 10,
    parkTimeoutMs: 1_000,
    prewrite: false,
    scrubBytesPerSecond: 1 << 25,
    keeperOf: () => Promise.resolve(keeper),
    log: silentLogger(),
    died: (error) => void deaths.push(error),
  };
  let store: RunningStore | null = null;
  try {
    await findPool(options);
    store = await open(options);
    const namesBefore = fs.readdirSync(options.poolFolder).toSorted();
    await fuzzCalls(random, { store, folder, tally });
    const { problems } = await store.calls.check();
    if (problems.length > 0) throw new Error(`check finds ${problems.join('; ')}`);
    // What it answered is what the next one finds.
    const before = await listing(store);
    await close(store);
    store = null;
    store = await open(options);
    const after = await listing(store);
    if (before !== after) throw new Error(`a restart turns ${before} into ${after}`);
    const found = [fs.readdirSync(folder), fs.readdirSync(options.poolFolder).toSorted()];
    const expected = [['pool'], namesBefore];
    if (JSON.stringify(found) !== JSON.stringify(expected)) throw new Error(`there are ${JSON.stringify(found)}`);
    if (deaths.length > 0) throw new Error(`the store died: ${String(deaths[0])}`);
    return CALLS_A_ROUND;
  } finally {
    if (store !== null) await close(store);
    for (const key of [...keeper.entries.keys()]) await keeper.drop(key);
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function open(options: StoreOptions): Promise<RunningStore> {
  const prepared = await prepareStore(options);
  const lock = PoolLock.open(options.poolFolder);
  if (!lock.take()) throw new Error('the pool of the store before is locked still');
  return prepared.open(lock, { keeperKeys: Promise.resolve(null) });
}

async function close(store: RunningStore): Promise<void> {
  await store.stop();
  store.release();
  await store.letGo();
}

async function listing(store: RunningStore): Promise<string> {
  const [{ volumes }, { snapshots }] = [await store.calls.listVolumes(), await store.calls.listSnapshots()];
  return JSON.stringify([...volumes, ...snapshots].toSorted((left, right) => (left.id < right.id ? -1 : 1)));
}

async function fuzzCalls(
  random: SeededRandom,
  options: { readonly store: RunningStore; readonly folder: string; readonly tally: Map<string, number> },
): Promise<void> {
  const { store, folder, tally } = options;
  const definition = loadSync(path.join(import.meta.dirname, '../../proto/store.proto'), { longs: Number, enums: String, oneofs: true });
  const methods = unaryMethods(loadStoreProtocol().service).filter(({ name }) => !WITH_DEVICES.has(name));
  const building = methods.filter(({ name }) => BUILDING.has(name));
  const server = createStoreServer({ service: store.calls as StoreHandlers, nodes: store.nodes, log: silentLogger() });
  const socket = path.join(folder, 'store.sock');
  await listenOnSocket(server, socket);
  const calls = new RawCalls(`unix:${socket}`);
  const known: Known = { volumes: [], snapshots: [] };
  const messages = new WireMessages({ definition, vocabulary: vocabularyOf(store.poolId, known) });
  try {
    for (let sent = 0; sent < CALLS_A_ROUND;) {
      const batch = Array.from({ length: random.chance(0.8) ? 1 : 4 }, () => {
        const method = random.pick(random.chance(0.6) ? building : methods);
        return { method, bytes: messages.draw(random, method.type) };
      });
      const outcomes = await Promise.all(batch.map(({ method, bytes }) => calls.call(method.path, bytes)));
      for (const [index, { code, details, answer }] of outcomes.entries()) {
        const { method, bytes } = batch[index]!;
        const isUnreadable = code === status.INTERNAL && /deserializing request/.test(details);
        if (!PROPER.has(code) && !isUnreadable)
          throw new Error(
            `${method.name} ended with ${status[code]} (${details}) after ${bytes.length} bytes: ${bytes.toString('hex').slice(0, 1_000)}`,
          );
        if (answer !== null) method.decode(answer);
        const ending = `${method.name} ${isUnreadable ? 'unreadable' : status[code]}`;
        tally.set(ending, (tally.get(ending) ?? 0) + 1);
      }
      sent += batch.length;
      known.volumes = (await store.calls.listVolumes()).volumes.map(({ id }) => id);
      known.snapshots = (await store.calls.listSnapshots()).snapshots.map(({ id }) => id);
    }
  } finally {
    calls.close();
    await closeServer(server, { timeoutMs: 1_000 });
    fs.rmSync(socket, { force: true });
  }
}

interface Known {
  volumes: readonly string[];
  snapshots: readonly string[];
}

function vocabularyOf(poolId: string, known: Known): Vocabulary {
  const missing = `${poolId}.${'z'.repeat(26)}`;
  const fixed: Readonly<Record<string, readonly (string | number | boolean)[] | 'absent'>> = {
    name: ['one', 'two', 'three', 'four', 'five'],
    sizeBytes: [4_096, MIB, 8 * MIB, 64 * MIB],
    safetyName: ['', 'safe-one', 'safe-two'],
    safetyId: [''],
    expectedIncarnation: [0],
    kind: [1, 2],
    source: 'absent',
    version: [1],
    poolId: [poolId],
    key: ['freeze', 'fileSystem', 'access'],
    value: ['true', 'ext4', 'mount'],
  };
  return (field) => {
    if (field === 'id' || field === 'sourceVolumeId') return [...known.volumes, ...known.volumes, ...known.snapshots, missing];
    if (field === 'snapshotId') return [...known.snapshots, ...known.snapshots, missing];
    return fixed[field] ?? null;
  };
}
