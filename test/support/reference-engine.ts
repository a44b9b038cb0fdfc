/**
 * An engine as simple as can be: one thing after the other, every change one commit of the metadata store before its
 * answer. It shares nothing and is slow, but right; it proves that the test bed itself raises no false alarm, and that
 * it raises one for each of the bugs that can be planted here.
 */
import { Operation, type OperationCode } from '../../src/block/ports.ts';
import {
  NEVER_DEFRAGMENTED,
  type CheckReport,
  type ControlRequest,
  type DamageReport,
  type DefragmentStatus,
  type ObjectAnswer,
  type ObjectInfo,
  type PoolInfo,
  type ScrubStatus,
  type Usage,
} from '../../src/engine/control.ts';
import type { EnginePorts, MetadataChange } from '../../src/engine/ports.ts';
import { StoreError } from '../../src/util/errors.ts';
import type { EngineUnderTest } from './simulated-world.ts';

export type PlantedBug =
  | 'answersEarly' // a write is answered before its commit
  | 'forgetsDeletes'
  | 'tearsSnapshots' // a snapshot is made in two commits, with writes between
  | 'losesLastGranule'
  | 'swapsGranules'
  | 'revertsHalf'
  | 'ignoresZero';

interface StoredObject {
  info: ObjectInfo;
  readonly number: number;
  granules: number[];
}

type Work = (done: () => void) => void;

const granule = 4096;
const granulesPerObject = 2 ** 24;
const chunkSizeBytes = 16_384;
const poolSizeBytes = 2 ** 40;

/** It trusts its disk. */
const SCRUBBED: ScrubStatus = {
  running: null,
  startedAtMs: 0,
  positionBytes: 0,
  verifiedBytes: 0,
  sealedBytes: 0,
  completedAtMs: 1,
  completedBytes: poolSizeBytes,
  sealedAtMs: 1,
  protectedBytes: 0,
  damagedChunks: 0,
};

/** Nothing of it lies anywhere. */
const DEFRAGMENTED: DefragmentStatus = { ...NEVER_DEFRAGMENTED, state: 'done', startedAtMs: 1, endedAtMs: 1 };

export class ReferenceEngine implements EngineUnderTest {
  readonly #ports: EnginePorts;
  readonly #bug: PlantedBug | null;
  readonly #objects = new Map<string, StoredObject>();
  readonly #devices = new Map<number, string>();
  readonly #closed = new Set<number>();
  readonly #queue: Work[] = [];
  #running = false;
  #nextDevice = 1;
  #nextNumber = 1;

  constructor(ports: EnginePorts, bug: PlantedBug | null = null) {
    this.#ports = ports;
    this.#bug = bug;
  }

  start(ready: (error: Error | null) => void): void {
    this.#ports.metadata.load((error, image) => {
      for (const row of image?.objects ?? []) {
        const { info, granules } = JSON.parse(Buffer.from(row.value).toString()) as Pick<StoredObject, 'info' | 'granules'>;
        this.#objects.set(info.id, { info, number: row.key, granules });
        this.#nextNumber = Math.max(this.#nextNumber, row.key + 1);
      }
      ready(error);
    });
  }

  openDevice(id: string): number {
    this.#require(id);
    this.#devices.set(this.#nextDevice, id);
    this.#nextDevice += 1;
    return this.#nextDevice - 1;
  }

  closeDevice(device: number): void {
    this.#devices.delete(device);
    this.#closed.add(device);
  }

  submit(request: number, operation: OperationCode, device: number, offsetBytes: number, lengthBytes: number, memoryOffset: number): void {
    this.#enqueue((done) => {
      const answer = (): void => {
        if (!this.#closed.has(device)) this.#ports.listener.completed(request, 0);
        done();
      };
      const object = this.#objects.get(this.#devices.get(device) ?? '');
      if (!object) done();
      else if (operation === Operation.flush) answer();
      else if (operation === Operation.read) this.#read(object, offsetBytes, lengthBytes, memoryOffset, answer);
      else this.#change(object, operation, offsetBytes, lengthBytes, memoryOffset, answer);
    });
  }

  diskCompleted(): void {
    throw new Error('the reference engine uses no disk');
  }

  tick(): void {
    // Nothing depends on time.
  }

  background(): boolean {
    return false;
  }

  control(request: ControlRequest, done: (error: StoreError | null, answer: unknown) => void): void {
    this.#enqueue((finished) => {
      const answer = (error: StoreError | null, value: unknown): void => {
        done(error, value);
        finished();
      };
      try {
        this.#perform(request, (value) => answer(null, value));
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        answer(error, null);
      }
    });
  }

  #enqueue(work: Work): void {
    this.#queue.push(work);
    this.#next();
  }

  #next(): void {
    if (this.#running) return;
    const work = this.#queue.shift();
    if (!work) return;
    this.#running = true;
    work(() => {
      this.#running = false;
      this.#next();
    });
  }

  #require(id: string): StoredObject {
    const object = this.#objects.get(id);
    if (!object) throw new StoreError('not-found', `there is no object ${id}`);
    return object;
  }

  #read(object: StoredObject, offsetBytes: number, lengthBytes: number, memoryOffset: number, answer: () => void): void {
    const { bytes } = this.#ports.memory;
    let left = lengthBytes / granule;
    for (let index = 0; index < lengthBytes / granule; index += 1) {
      const key = object.number * granulesPerObject + offsetBytes / granule + index;
      this.#ports.metadata.readPage(key, (_error, value) => {
        const at = memoryOffset + index * granule;
        if (value) bytes.set(value, at);
        else bytes.fill(0, at, at + granule);
        left -= 1;
        if (left === 0) answer();
      });
    }
  }

  #change(
    object: StoredObject,
    operation: OperationCode,
    offsetBytes: number,
    lengthBytes: number,
    memoryOffset: number,
    answer: () => void,
  ): void {
    const changes: MetadataChange[] = [];
    const first = offsetBytes / granule;
    const count = lengthBytes / granule - (this.#bug === 'losesLastGranule' && lengthBytes > granule ? 1 : 0);
    const held = new Set(object.granules);
    if (operation === Operation.zero) {
      const gone = object.granules.filter((at) => at >= first && at < first + count);
      if (this.#bug === 'ignoresZero') gone.pop();
      for (const at of gone) {
        changes.push({ table: 'pages', key: object.number * granulesPerObject + at, value: null });
        held.delete(at);
      }
    } else {
      for (let index = 0; index < count; index += 1) {
        const at = this.#bug === 'swapsGranules' && count === 4 ? first + (index ^ 1) : first + index;
        const from = memoryOffset + index * granule;
        changes.push({
          table: 'pages',
          key: object.number * granulesPerObject + at,
          value: this.#ports.memory.bytes.slice(from, from + granule),
        });
        held.add(at);
      }
    }
    object.granules = [...held];
    changes.push(rowOf(object));
    if (this.#bug === 'answersEarly') {
      answer();
      this.#ports.metadata.commit(changes, () => undefined);
    } else {
      this.#ports.metadata.commit(changes, answer);
    }
  }

  #perform(request: ControlRequest, answer: (value: unknown) => void): void {
    const commit = (changes: MetadataChange[], value: unknown): void => this.#ports.metadata.commit(changes, () => answer(value));
    switch (request.kind) {
      case 'list':
        return answer([...this.#objects.values()].map((object) => object.info));
      case 'find':
        return answer(this.#objects.get(request.id)?.info ?? null);
      case 'named':
        return answer(
          [...this.#objects.values()].find(({ info }) => info.kind === request.objectKind && info.name === request.name)?.info ?? null,
        );
      case 'pool':
        return answer(this.#pool());
      case 'statistics':
        throw new StoreError('failed-precondition', 'the reference engine counts nothing');
      case 'usage': {
        const bytes = chunksOf(this.#require(request.id)) * chunkSizeBytes;
        return answer({ usedBytes: bytes, exclusiveBytes: bytes } satisfies Usage);
      }
      case 'check':
        return answer({
          objects: this.#objects.size,
          pages: 0,
          slotsUsed: this.#pool().usedBytes / chunkSizeBytes,
          problems: [],
        } satisfies CheckReport);
      case 'checkpoint':
        return answer(null);
      case 'resize': {
        const object = this.#require(request.id);
        if (request.sizeBytes < object.info.sizeBytes) throw new StoreError('out-of-range', 'volumes do not shrink');
        object.info = { ...object.info, sizeBytes: request.sizeBytes };
        return commit([rowOf(object)], { object: object.info, existed: false, safety: null } satisfies ObjectAnswer);
      }
      case 'delete':
        return this.#delete(request.id, commit);
      case 'revert':
        return this.#revert(request, commit);
      case 'scrub-start':
      case 'scrub-stop':
      case 'scrub-status':
        return answer(SCRUBBED);
      case 'defragment-start':
      case 'defragment-stop':
      case 'defragment-status':
        return answer(DEFRAGMENTED);
      case 'damage':
        return answer({ chunks: [], more: false } satisfies DamageReport);
      default:
        return this.#make(request, commit);
    }
  }

  #delete(id: string, commit: (changes: MetadataChange[], value: unknown) => void): void {
    const object = this.#objects.get(id);
    if (!object) return commit([], null);
    if ([...this.#devices.values()].includes(id)) throw new StoreError('failed-precondition', `${id} is attached`);
    this.#objects.delete(id);
    if (this.#bug === 'forgetsDeletes' && object.number % 3 === 0) return commit([], null);
    commit([...clearedPages(object), { table: 'objects', key: object.number, value: null }], null);
  }

  #make(
    request: ControlRequest & { readonly kind: 'create' | 'snapshot' | 'clone' },
    commit: (changes: MetadataChange[], value: unknown) => void,
  ): void {
    const kind = request.kind === 'snapshot' ? 'snapshot' : 'volume';
    const existing = [...this.#objects.values()].find((object) => object.info.kind === kind && object.info.name === request.name);
    if (existing) return commit([], { object: existing.info, existed: true, safety: null } satisfies ObjectAnswer);
    const source = request.kind === 'create' ? null : this.#require(request.sourceId);
    const wanted = request.kind === 'snapshot' ? 0 : request.sizeBytes;
    if (source && wanted > 0 && wanted < source.info.sizeBytes) throw new StoreError('out-of-range', 'smaller than its source');
    const made = this.#add(kind, request, source, wanted > 0 ? wanted : source!.info.sizeBytes);
    this.#copyPages(source, made, (changes) => {
      const answer: ObjectAnswer = { object: made.info, existed: false, safety: null };
      if (this.#bug !== 'tearsSnapshots' || changes.length < 2) return commit([...changes, rowOf(made)], answer);
      const half = Math.floor(changes.length / 2);
      this.#queue.push((done) => {
        this.#copyPages(source, made, (later) => {
          this.#ports.metadata.commit(later.slice(half), done);
        });
      });
      commit([...changes.slice(0, half), rowOf(made)], answer);
    });
  }

  #revert(request: ControlRequest & { readonly kind: 'revert' }, commit: (changes: MetadataChange[], value: unknown) => void): void {
    const volume = this.#require(request.id);
    const snapshot = this.#require(request.snapshotId);
    if (request.safety && this.#objects.has(request.safety.id)) {
      return commit([], { object: volume.info, existed: true, safety: this.#require(request.safety.id).info } satisfies ObjectAnswer);
    }
    const safety = request.safety ? this.#add('snapshot', request.safety, volume, volume.info.sizeBytes) : null;
    this.#copyPages(safety ? volume : null, safety, (kept) => {
      this.#copyPages(snapshot, volume, (restored) => {
        const cleared = clearedPages(volume);
        volume.granules = [...snapshot.granules];
        const changes = [...kept, ...(safety ? [rowOf(safety)] : []), ...cleared, ...restored, rowOf(volume)];
        const answer: ObjectAnswer = { object: volume.info, existed: false, safety: safety?.info ?? null };
        if (this.#bug !== 'revertsHalf') return commit(changes, answer);
        const half = changes.length - Math.ceil(restored.length / 2);
        this.#slowly(changes.slice(0, half), 20, () => commit(changes.slice(half), answer));
      });
    });
  }

  /** A commit, and a while in which much can happen. */
  #slowly(changes: readonly MetadataChange[], commits: number, done: () => void): void {
    this.#ports.metadata.commit(changes, () => (commits > 0 ? this.#slowly([], commits - 1, done) : done()));
  }

  #add(
    kind: 'volume' | 'snapshot',
    request: { readonly id: string; readonly name: string; readonly attributes: Readonly<Record<string, string>> },
    source: StoredObject | null,
    sizeBytes: number,
  ): StoredObject {
    const info: ObjectInfo = {
      id: request.id,
      kind,
      name: request.name,
      sizeBytes,
      createdAtMs: this.#ports.clock.nowMs(),
      sourceId: source?.info.id ?? null,
      sourceKind: source?.info.kind ?? null,
      lineage: source?.info.lineage ?? this.#nextNumber,
      incarnation: this.#nextNumber,
      attributes: request.attributes,
    };
    const object = { info, number: this.#nextNumber, granules: source ? [...source.granules] : [] };
    this.#nextNumber += 1;
    this.#objects.set(info.id, object);
    return object;
  }

  /** The changes that give `target` the pages of `source`. */
  #copyPages(source: StoredObject | null, target: StoredObject | null, done: (changes: MetadataChange[]) => void): void {
    const changes: MetadataChange[] = [];
    const granules = source && target ? [...source.granules] : [];
    let left = granules.length;
    if (left === 0) return done(changes);
    for (const at of granules) {
      this.#ports.metadata.readPage(source!.number * granulesPerObject + at, (_error, value) => {
        changes.push({ table: 'pages', key: target!.number * granulesPerObject + at, value: value?.slice() ?? null });
        left -= 1;
        if (left === 0) done(changes);
      });
    }
  }

  #pool(): PoolInfo {
    const objects = [...this.#objects.values()];
    const volumes = objects.filter((object) => object.info.kind === 'volume');
    const usedBytes = objects.reduce((sum, object) => sum + chunksOf(object) * chunkSizeBytes, 0);
    return {
      id: 'reference',
      chunkSizeBytes,
      sizeBytes: poolSizeBytes,
      usedBytes,
      freeBytes: poolSizeBytes - usedBytes,
      provisionedBytes: volumes.reduce((sum, object) => sum + object.info.sizeBytes, 0),
      volumes: volumes.length,
      snapshots: objects.length - volumes.length,
      counted: true,
      prewrittenBytes: 0,
      parkedWrites: 0,
      sequence: 0,
      durableSequence: 0,
    };
  }
}

function rowOf(object: StoredObject): MetadataChange {
  return { table: 'objects', key: object.number, value: Buffer.from(JSON.stringify({ info: object.info, granules: object.granules })) };
}

function clearedPages(object: StoredObject): MetadataChange[] {
  return object.granules.map((at) => ({ table: 'pages', key: object.number * granulesPerObject + at, value: null }));
}

function chunksOf(object: StoredObject): number {
  return new Set(object.granules.map((at) => Math.floor((at * granule) / chunkSizeBytes))).size;
}
