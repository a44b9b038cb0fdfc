/**
 * CreateVolume: what is asked for is worked out in full first, then a store makes it or says that the name exists; then
 * what exists is compared with what was asked for. Repeating a call that succeeded succeeds.
 */
import type { CreateVolumeRequest, CreateVolumeResponse, VolumeContentSource } from '../generated/messages.ts';
import type { ClaimNotices, CreateVolume, Store, StoreDirectory, StoreSnapshot, StoreVolume } from '../ports.ts';
import type { Sendable } from '../proto.ts';
import { DEFAULT_FILE_SYSTEM, misfit, recordedUse, requireVolumeUse, type VolumeUse } from '../request/capabilities.ts';
import { invalid, missing, requireId, requireName } from '../request/fields.ts';
import { requireNoMutableParameters, requireVolumeParameters, type VolumeParameters } from '../request/parameters.ts';
import { isWithin, minimumSizeBytes, newVolumeSizeBytes, requireSizeRange, type SizeRange } from '../request/sizes.ts';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import { findEarlier } from './earlier.ts';
import { findSnapshot, findVolume, storeOf, volumeMessage } from './lookup.ts';
import { noRoom, placeBesideSource, placeEmpty, requireAllowedNodes, type AllowedNodes, type Candidate } from './placement.ts';

type Source = NonNullable<CreateVolume['source']>;

/** A checked request. */
interface Wish {
  readonly name: string;
  readonly use: VolumeUse;
  readonly parameters: VolumeParameters;
  readonly range: SizeRange;
  readonly nodes: AllowedNodes | null;
  readonly source: Source | null;
}

export interface CreationPorts {
  readonly directory: StoreDirectory;
  readonly notices: ClaimNotices;
  readonly lookupTimeoutMs: number;
}

interface Made extends Candidate {
  readonly volume: StoreVolume;
}

export async function createVolume(ports: CreationPorts, request: CreateVolumeRequest): Promise<Sendable<CreateVolumeResponse>> {
  const wish = requireWish(request);
  const { volume, pool } = wish.source === null ? await createEmpty(ports, wish) : await createFromSource(ports, wish, wish.source);
  return { volume: volumeMessage(volume, pool) };
}

function requireWish(request: CreateVolumeRequest): Wish {
  const name = requireName(request.name, 'name');
  const asked = requireVolumeUse(request.volumeCapabilities, 'volume_capabilities');
  const parameters = requireVolumeParameters(request.parameters);
  requireNoMutableParameters(request.mutableParameters);
  const use = asked.access === 'mount' ? { ...asked, fileSystem: asked.fileSystem ?? parameters.fileSystem } : asked;
  return {
    name,
    use,
    parameters,
    range: requireSizeRange(request.capacityRange, 'capacity_range'),
    nodes: requireAllowedNodes(request.accessibilityRequirements),
    source: request.volumeContentSource === null ? null : requireSource(request.volumeContentSource),
  };
}

function requireSource(content: VolumeContentSource): Source {
  if (content.snapshot !== undefined)
    return { kind: 'snapshot', id: requireId(content.snapshot.snapshotId, 'volume_content_source.snapshot.snapshot_id') };
  if (content.volume !== undefined)
    return { kind: 'volume', id: requireId(content.volume.volumeId, 'volume_content_source.volume.volume_id') };
  throw missing('volume_content_source.type');
}

async function createEmpty({ directory, notices, lookupTimeoutMs }: CreationPorts, wish: Wish): Promise<Made> {
  const use = wish.use.access === 'mount' ? { ...wish.use, fileSystem: wish.use.fileSystem ?? DEFAULT_FILE_SYSTEM } : wish.use;
  const order: CreateVolume = {
    name: wish.name,
    sizeBytes: newVolumeSizeBytes(wish.range, { minimumBytes: minimumSizeBytes(use), sourceBytes: null }),
    source: null,
    attributes: attributesOf(use, wish.parameters),
  };
  const [earlier] = await findEarlier(directory, wish.name, { nodes: wish.nodes, timeoutMs: lookupTimeoutMs });
  const candidates = earlier === undefined ? await placeEmpty(directory, wish.nodes, { anyNode: wish.parameters.anyNode }) : [earlier];
  const made = await createOnFirstWithRoom(candidates, order, wish);
  explain(notices, wish, { node: made.pool.node, why: earlier === undefined ? 'which has room' : 'where an earlier attempt has made it' });
  return made;
}

async function createOnFirstWithRoom(candidates: readonly Candidate[], order: CreateVolume, wish: Wish): Promise<Made> {
  let full: StoreError | null = null;
  for (const { store, pool } of candidates) {
    try {
      return { store, pool, volume: await createOrCompare(store, order, wish) };
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'no-space') throw error;
      full ??= noRoom(pool, error);
    }
  }
  assert(full !== null, 'there was a store to try');
  throw full;
}

async function createFromSource({ directory, notices }: CreationPorts, wish: Wish, source: Source): Promise<Made> {
  const found = await readSource(directory, source).catch(async (error: unknown) => {
    const existing = error instanceof StoreError && error.code === 'not-found' ? await findMadeEarlier(directory, wish, source) : null;
    if (existing === null) throw error;
    return existing;
  });
  if ('volume' in found) return { ...found, pool: await found.store.getPool() };

  const use = inheritedUse(found.object, wish.use, source);
  const order: CreateVolume = {
    name: wish.name,
    sizeBytes: newVolumeSizeBytes(wish.range, { minimumBytes: minimumSizeBytes(use), sourceBytes: found.object.sizeBytes }),
    source,
    attributes: attributesOf(use, wish.parameters),
  };
  const made = await createOnFirstWithRoom([await placeBesideSource(found.store, wish.nodes)], order, wish);
  explain(notices, wish, { node: made.pool.node, why: 'where its source is' });
  return made;
}

/** Tells the claim's owner about a volume that is not where the scheduler wanted it first. */
function explain(notices: ClaimNotices, wish: Wish, made: { readonly node: string; readonly why: string }): void {
  const { claim } = wish.parameters;
  const chosen = wish.nodes?.preferred[0];
  if (claim === null || chosen === undefined || chosen === made.node) return;
  notices.tell(claim, {
    reason: 'PlacedElsewhere',
    message: `the volume is on node ${made.node}, ${made.why}, and not on node ${chosen}; pods that use it run on node ${made.node}`,
  });
}

async function readSource(directory: StoreDirectory, source: Source): Promise<{ store: Store; object: StoreVolume | StoreSnapshot }> {
  if (source.kind === 'volume') {
    const { store, volume } = await findVolume(directory, source.id);
    return { store, object: volume };
  }
  const { store, snapshot } = await findSnapshot(directory, source.id);
  return { store, object: snapshot };
}

/** A repeated call whose answer was lost, and whose source has been deleted since: the volume is whole all the same. */
async function findMadeEarlier(
  directory: StoreDirectory,
  wish: Wish,
  source: Source,
): Promise<{ store: Store; volume: StoreVolume } | null> {
  const store = await storeOf(directory, source.id);
  const volume = (await store?.findVolume(wish.name)) ?? null;
  if (store === null || volume === null || !sameSource(volume.source, source) || !isWithin(volume.sizeBytes, wish.range)) return null;
  const use = recordedUse(volume.attributes);
  if (use !== null && misfit(use, wish.use) !== null) return null;
  // Asked to make it again, the store answers once it is durable.
  const { name, sizeBytes, attributes } = volume;
  return { store, volume: (await store.createVolume({ name, sizeBytes, source, attributes })).volume };
}

/** A clone is used as its source was: the file system is in the data. A snapshot may be restored as the other kind,
 * which the orchestrator guards; tools for backups do it. */
function inheritedUse(source: StoreVolume | StoreSnapshot, asked: VolumeUse, { kind, id }: Source): VolumeUse {
  const recorded = recordedUse(source.attributes);
  if (recorded === null) return asked.access === 'mount' ? { ...asked, fileSystem: asked.fileSystem ?? DEFAULT_FILE_SYSTEM } : asked;
  if (kind === 'snapshot' && recorded.access !== asked.access) {
    return asked.access === 'mount' ? { ...asked, fileSystem: asked.fileSystem ?? DEFAULT_FILE_SYSTEM } : asked;
  }
  const problem = misfit(recorded, asked);
  if (problem !== null) throw invalid('volume_capabilities', `do not fit the source ${id}: ${problem}`);
  return recorded;
}

function attributesOf(use: VolumeUse, parameters: VolumeParameters): Readonly<Record<string, string>> {
  return { ...parameters.attributes, access: use.access, ...(use.fileSystem === null ? {} : { fileSystem: use.fileSystem }) };
}

async function createOrCompare(store: Store, order: CreateVolume, wish: Wish): Promise<StoreVolume> {
  const { volume, existed } = await store.createVolume(order);
  const difference = existed ? differenceBetween(volume, order, wish) : null;
  if (difference !== null)
    throw new StoreError('already-exists', `the volume ${JSON.stringify(order.name)} exists already, but ${difference}`);
  return volume;
}

function differenceBetween(volume: StoreVolume, order: CreateVolume, wish: Wish): string | null {
  if (!sameSource(volume.source, order.source)) return 'was made from another source';
  if (!isWithin(volume.sizeBytes, wish.range)) return `has ${volume.sizeBytes} bytes`;
  const keys = new Set([...Object.keys(volume.attributes), ...Object.keys(order.attributes)]);
  for (const key of keys) {
    if (volume.attributes[key] !== order.attributes[key]) return `its ${key} is ${JSON.stringify(volume.attributes[key] ?? 'unset')}`;
  }
  return null;
}

function sameSource(left: Source | null, right: Source | null): boolean {
  return left?.kind === right?.kind && left?.id === right?.id;
}
