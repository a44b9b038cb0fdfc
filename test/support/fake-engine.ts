/**
 * The engine's control calls over plain maps, without data: for tests of everything above the engine. `usage` counts one
 * chunk an object; `before` can delay or fail a call.
 */
import {
  NEVER_DEFRAGMENTED,
  type ControlRequest,
  type DamageReport,
  type DefragmentStatus,
  type ObjectAnswer,
  type ObjectId,
  type ObjectInfo,
  type PoolInfo,
  type ScrubStatus,
} from '../../src/engine/control.ts';
import type { ControlAnswer, EngineControl } from '../../src/store/data-thread/control.ts';
import { StoreError } from '../../src/util/errors.ts';

export const NEVER_SCRUBBED: ScrubStatus = {
  running: null,
  startedAtMs: 0,
  positionBytes: 0,
  verifiedBytes: 0,
  sealedBytes: 0,
  completedAtMs: 0,
  completedBytes: 0,
  sealedAtMs: 0,
  protectedBytes: 0,
  damagedChunks: 0,
};

export class FakeEngine implements EngineControl {
  readonly poolId: ObjectId;
  readonly sizeBytes: number;
  readonly objects = new Map<ObjectId, ObjectInfo>();
  /** Every call that was made, in order. */
  readonly calls: ControlRequest[] = [];
  before: (request: ControlRequest) => Promise<void> = async () => {};
  #lineages = 0;
  #sequence = 0;

  constructor(options: { readonly poolId?: ObjectId; readonly sizeBytes?: number } = {}) {
    this.poolId = options.poolId ?? 'p'.repeat(26);
    this.sizeBytes = options.sizeBytes ?? 1 << 30;
  }

  /** What a scrub says; a start and a stop change `running`. */
  scrub: ScrubStatus = NEVER_SCRUBBED;
  damage: DamageReport = { chunks: [], more: false };
  /** What is told of defragmenting; a start and a stop change it. */
  defragment: DefragmentStatus = NEVER_DEFRAGMENTED;

  /** Set to say how much is free. */
  freeBytes: number | null = null;
  /** Set to say that writes wait for room. */
  parkedWrites = 0;

  async call<Kind extends ControlRequest['kind']>(request: Extract<ControlRequest, { kind: Kind }>): Promise<ControlAnswer<Kind>> {
    this.calls.push(request);
    await this.before(request);
    return this.#serve(request) as ControlAnswer<Kind>;
  }

  #serve(request: ControlRequest): unknown {
    switch (request.kind) {
      case 'create':
        return this.#add({ ...request, kind: 'volume', sourceId: null, sourceKind: null, lineage: ++this.#lineages });
      case 'snapshot': {
        const source = this.#get(request.sourceId);
        return this.#add({ ...request, kind: 'snapshot', sourceKind: 'volume', sizeBytes: source.sizeBytes, lineage: source.lineage });
      }
      case 'clone': {
        const source = this.#get(request.sourceId);
        const sizeBytes = request.sizeBytes === 0 ? source.sizeBytes : request.sizeBytes;
        if (sizeBytes < source.sizeBytes) throw new StoreError('out-of-range', 'a clone is not smaller than its source');
        return this.#add({ ...request, kind: 'volume', sizeBytes, sourceKind: source.kind, lineage: source.lineage });
      }
      case 'revert':
        return this.#revert(request);
      case 'delete':
        this.objects.delete(request.id);
        return null;
      case 'resize': {
        const volume = this.#get(request.id);
        if (request.sizeBytes < volume.sizeBytes) throw new StoreError('out-of-range', 'a volume does not shrink');
        const object = { ...volume, sizeBytes: request.sizeBytes };
        this.objects.set(object.id, object);
        return { object, existed: true, safety: null };
      }
      case 'list':
        return [...this.objects.values()];
      case 'find':
        return this.objects.get(request.id) ?? null;
      case 'named':
        return [...this.objects.values()].find((object) => object.kind === request.objectKind && object.name === request.name) ?? null;
      case 'usage':
        this.#get(request.id);
        return { usedBytes: 65536, exclusiveBytes: 65536 };
      case 'statistics':
        throw new StoreError('failed-precondition', 'the fake engine counts nothing');
      case 'pool':
        return this.#pool();
      case 'check':
        return { objects: this.objects.size, pages: 0, slotsUsed: 0, problems: [] };
      case 'scrub-start':
        this.scrub = { ...this.scrub, running: this.scrub.running ?? request.mode };
        return this.scrub;
      case 'scrub-stop':
        this.scrub = { ...this.scrub, running: null };
        return this.scrub;
      case 'scrub-status':
        return this.scrub;
      case 'defragment-start': {
        const { id, sizeBytes } = this.#get(request.id);
        this.defragment = { ...NEVER_DEFRAGMENTED, id, sizeBytes, state: 'running', startedAtMs: 1 };
        return this.defragment;
      }
      case 'defragment-stop':
        if (this.defragment.id === request.id) this.defragment = { ...this.defragment, state: 'stopped', endedAtMs: 2 };
        return this.#defragmentOf(request.id);
      case 'defragment-status':
        return this.#defragmentOf(request.id);
      case 'damage':
        return this.damage;
      case 'checkpoint':
        return null;
    }
  }

  #defragmentOf(id: ObjectId | null): DefragmentStatus {
    return id === null || id === this.defragment.id ? this.defragment : { ...NEVER_DEFRAGMENTED, id };
  }

  #revert(request: Extract<ControlRequest, { kind: 'revert' }>): ObjectAnswer {
    const before = this.#get(request.id);
    this.#get(request.snapshotId);
    const volume = { ...before, incarnation: ++this.#sequence };
    if (request.safety === null) {
      this.objects.set(volume.id, volume);
      return { object: volume, existed: false, safety: null };
    }
    const answer = this.#add({
      ...request.safety,
      kind: 'snapshot',
      sizeBytes: volume.sizeBytes,
      sourceId: volume.id,
      sourceKind: 'volume',
      lineage: volume.lineage,
    });
    if (answer.existed) return { object: before, existed: true, safety: answer.object };
    this.objects.set(volume.id, volume);
    return { object: volume, existed: false, safety: answer.object };
  }

  #add(wanted: Omit<ObjectInfo, 'createdAtMs' | 'incarnation'>): ObjectAnswer {
    for (const object of this.objects.values()) {
      if (object.kind === wanted.kind && object.name === wanted.name) return { object, existed: true, safety: null };
    }
    const { id, kind, name, sizeBytes, sourceId, sourceKind, lineage, attributes } = wanted;
    const object: ObjectInfo = {
      id,
      kind,
      name,
      sizeBytes,
      createdAtMs: 1_700_000_000_000 + ++this.#sequence,
      incarnation: this.#sequence,
      sourceId,
      sourceKind,
      lineage,
      attributes,
    };
    this.objects.set(id, object);
    return { object, existed: false, safety: null };
  }

  #get(id: ObjectId): ObjectInfo {
    const object = this.objects.get(id);
    if (object === undefined) throw new StoreError('not-found', `there is no object ${id}`);
    return object;
  }

  #pool(): PoolInfo {
    const objects = [...this.objects.values()];
    const volumes = objects.filter((object) => object.kind === 'volume');
    const usedBytes = objects.length * 65536;
    return {
      id: this.poolId,
      chunkSizeBytes: 65536,
      sizeBytes: this.sizeBytes,
      usedBytes,
      freeBytes: this.freeBytes ?? this.sizeBytes - usedBytes,
      provisionedBytes: volumes.reduce((sum, volume) => sum + volume.sizeBytes, 0),
      volumes: volumes.length,
      snapshots: objects.length - volumes.length,
      counted: true,
      prewrittenBytes: 0,
      parkedWrites: this.parkedWrites,
      sequence: this.#sequence,
      durableSequence: this.#sequence,
    };
  }
}
