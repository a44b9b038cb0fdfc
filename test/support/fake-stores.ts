/**
 * Stores in memory for tests of the CSI services: they keep the promises of src/csi/ports.ts, and fail or wait where a
 * test wants it.
 */
import type { CreateSnapshot, CreateVolume, Store, StoreDirectory, StorePool, StoreSnapshot, StoreVolume } from '../../src/csi/ports.ts';
import { StoreError } from '../../src/util/errors.ts';

const MIB = 1 << 20;

export interface FakeStoreOptions {
  readonly node?: string;
  readonly poolId?: string;
  readonly sizeBytes?: number;
  readonly ratio?: number;
}

export class FakeStore implements Store {
  readonly poolId: string;
  readonly node: string;
  sizeBytes: number;
  freeBytes: number;
  /** Refuses what takes a slot, as a full pool does. */
  full = false;
  readonly volumes = new Map<string, StoreVolume>();
  readonly snapshots = new Map<string, StoreSnapshot>();
  /** Called before each call; may throw or wait. */
  before: (call: string) => void | Promise<void> = () => {};
  /** Called when data is to be shared. */
  onClone: (from: string, to: string) => void = () => {};
  nowMs = 1_700_000_000_123;
  readonly #ratio: number;
  #objects = 0;

  constructor(options: FakeStoreOptions = {}) {
    this.node = options.node ?? 'node-a';
    this.poolId = options.poolId ?? fakeId('pool');
    this.sizeBytes = options.sizeBytes ?? 100 * 1024 * MIB;
    this.freeBytes = this.sizeBytes;
    this.#ratio = options.ratio ?? 10;
  }

  async getPool(): Promise<StorePool> {
    await this.before('getPool');
    const provisionedBytes = [...this.volumes.values()].reduce((sum, volume) => sum + volume.sizeBytes, 0);
    const { poolId: id, node, sizeBytes, freeBytes } = this;
    return {
      id,
      node,
      freeBytes,
      reserveBytes: Math.floor(sizeBytes / 64),
      provisionedBytes,
      provisionLimitBytes: this.#ratio * sizeBytes,
    };
  }

  async createVolume(request: CreateVolume): Promise<{ volume: StoreVolume; existed: boolean }> {
    await this.before('createVolume');
    const present = [...this.volumes.values()].find(({ name }) => name === request.name);
    if (present !== undefined) return { volume: present, existed: true };
    await this.#requireBudget(request.sizeBytes);
    const source = request.source === null ? null : await this.#source(request.source);
    if (source !== null && request.sizeBytes < source.sizeBytes) throw new StoreError('out-of-range', 'smaller than the source');
    const volume: StoreVolume = {
      id: this.#newId(),
      name: request.name,
      sizeBytes: request.sizeBytes,
      createdAtMs: this.nowMs,
      source: request.source,
      attributes: request.attributes,
      attached: false,
    };
    this.volumes.set(volume.id, volume);
    if (request.source !== null) this.onClone(request.source.id, volume.id);
    return { volume, existed: false };
  }

  async deleteVolume(id: string): Promise<void> {
    await this.before('deleteVolume');
    if (this.volumes.get(id)?.attached === true) throw new StoreError('in-use', `volume ${id} is attached`);
    this.volumes.delete(id);
  }

  async getVolume(id: string): Promise<StoreVolume> {
    await this.before('getVolume');
    const volume = this.volumes.get(id);
    if (volume === undefined) throw new StoreError('not-found', `there is no volume ${id}`);
    return volume;
  }

  async findVolume(wanted: string): Promise<StoreVolume | null> {
    await this.before('findVolume');
    return [...this.volumes.values()].find(({ name }) => name === wanted) ?? null;
  }

  async listVolumes(): Promise<StoreVolume[]> {
    await this.before('listVolumes');
    return [...this.volumes.values()];
  }

  async resizeVolume(id: string, sizeBytes: number): Promise<StoreVolume> {
    await this.before('resizeVolume');
    const volume = await this.getVolume(id);
    if (sizeBytes < volume.sizeBytes) throw new StoreError('out-of-range', 'volumes do not shrink');
    await this.#requireBudget(sizeBytes - volume.sizeBytes);
    const grown = { ...volume, sizeBytes };
    this.volumes.set(id, grown);
    return grown;
  }

  async createSnapshot(request: CreateSnapshot): Promise<{ snapshot: StoreSnapshot; existed: boolean }> {
    await this.before('createSnapshot');
    const present = [...this.snapshots.values()].find(({ name }) => name === request.name);
    if (present !== undefined) return { snapshot: present, existed: true };
    if (this.full) throw new StoreError('no-space', 'the pool is full');
    const { sizeBytes } = await this.getVolume(request.sourceVolumeId);
    const snapshot: StoreSnapshot = { id: this.#newId(), sizeBytes, createdAtMs: this.nowMs, ...request };
    this.snapshots.set(snapshot.id, snapshot);
    this.onClone(request.sourceVolumeId, snapshot.id);
    return { snapshot, existed: false };
  }

  async deleteSnapshot(id: string): Promise<void> {
    await this.before('deleteSnapshot');
    this.snapshots.delete(id);
  }

  async getSnapshot(id: string): Promise<StoreSnapshot> {
    await this.before('getSnapshot');
    const snapshot = this.snapshots.get(id);
    if (snapshot === undefined) throw new StoreError('not-found', `there is no snapshot ${id}`);
    return snapshot;
  }

  async listSnapshots(): Promise<StoreSnapshot[]> {
    await this.before('listSnapshots');
    return [...this.snapshots.values()];
  }

  setAttached(id: string, attached: boolean): void {
    const volume = this.volumes.get(id);
    if (volume !== undefined) this.volumes.set(id, { ...volume, attached });
  }

  #source({ kind, id }: NonNullable<CreateVolume['source']>): Promise<StoreVolume | StoreSnapshot> {
    return kind === 'volume' ? this.getVolume(id) : this.getSnapshot(id);
  }

  async #requireBudget(bytes: number): Promise<void> {
    const pool = await this.getPool();
    if (bytes > pool.provisionLimitBytes) throw new StoreError('out-of-range', `no volume of ${bytes} bytes fits this pool`);
    if (this.full || pool.provisionedBytes + bytes > pool.provisionLimitBytes)
      throw new StoreError('no-space', 'the provisioning budget is used up');
  }

  #newId(): string {
    this.#objects += 1;
    return `${this.poolId}.${fakeId(`object${this.#objects}`)}`;
  }
}

export class FakeDirectory implements StoreDirectory {
  readonly #stores: readonly FakeStore[];
  /** Stores that do not answer. */
  readonly away = new Set<FakeStore>();
  /** Stores whose pools were declared lost. */
  readonly lost = new Set<FakeStore>();

  constructor(stores: readonly FakeStore[]) {
    this.#stores = stores;
  }

  all(): Promise<readonly Store[]> {
    return this.#answer(this.#stores.filter((store) => !this.lost.has(store)));
  }

  known(): Promise<readonly Store[]> {
    return Promise.resolve(this.#stores.filter((store) => !this.lost.has(store)).map((store) => (this.away.has(store) ? SILENT : store)));
  }

  ofPool(poolId: string): Promise<Store | null> {
    return this.#one((store) => store.poolId === poolId);
  }

  ofNode(node: string): Promise<Store | null> {
    return this.#one((store) => store.node === node);
  }

  async #one(matches: (store: FakeStore) => boolean): Promise<Store | null> {
    const store = this.#stores.find(matches);
    if (store === undefined || this.lost.has(store)) return null;
    await this.#answer([store]);
    return store;
  }

  #answer(stores: FakeStore[]): Promise<FakeStore[]> {
    const silent = stores.find((store) => this.away.has(store));
    if (silent !== undefined) return Promise.reject(new StoreError('unavailable', `the store on ${silent.node} cannot be reached`));
    return Promise.resolve(stores);
  }
}

/** Fails every call as a store does that cannot be reached. */
const SILENT = new Proxy({} as Store, {
  get: (_, name) => (name === 'then' ? undefined : () => Promise.reject(new StoreError('unavailable', 'the store cannot be reached'))),
});

/** A well-formed id that reads a little like the text. */
export function fakeId(text: string): string {
  return Array.from(text.toLowerCase())
    .map((character) =>
      /[a-z2-7]/.test(character)
        ? character
        : character === '0'
          ? 'o'
          : character === '1'
            ? 'i'
            : character === '8'
              ? 'b'
              : character === '9'
                ? 'g'
                : 'x',
    )
    .join('')
    .padEnd(26, 'a')
    .slice(0, 26);
}
