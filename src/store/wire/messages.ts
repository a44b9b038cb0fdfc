/**
 * The messages of proto/store.proto as @grpc/proto-loader delivers them with the options below, and the one place that
 * loads that file. 64-bit numbers are JavaScript numbers: sizes stay far below 2^53.
 */
import { fileURLToPath } from 'node:url';
import { loadPackageDefinition, type ServiceClientConstructor, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { assert } from '../../util/assert.ts';

export type Attributes = Readonly<Record<string, string>>;

export interface PoolMessage {
  readonly id: string;
  readonly node: string;
  readonly chunkSizeBytes: number;
  readonly sizeBytes: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
  readonly provisionedBytes: number;
  readonly provisionLimitBytes: number;
  readonly volumes: number;
  readonly snapshots: number;
  readonly counted: boolean;
  readonly parkedWrites: number;
  readonly sequence: number;
  readonly durableSequence: number;
  readonly reserveBytes: number;
  readonly lost: boolean;
}

export interface SourceMessage {
  readonly kind: 'KIND_UNSPECIFIED' | 'KIND_VOLUME' | 'KIND_SNAPSHOT';
  readonly id: string;
}

export interface VolumeMessage {
  readonly id: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly source: SourceMessage | null;
  readonly attributes: Attributes;
  readonly attached: boolean;
  readonly lineage: number;
  readonly incarnation: number;
}

export interface SnapshotMessage {
  readonly id: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly sourceVolumeId: string;
  readonly attributes: Attributes;
  readonly attached: boolean;
  readonly lineage: number;
}

export interface UsageMessage {
  readonly id: string;
  readonly usedBytes: number;
  readonly exclusiveBytes: number;
}

export interface CheckMessage {
  readonly objects: number;
  readonly pages: number;
  readonly slotsUsed: number;
  readonly problems: readonly string[];
}

export type ScrubModeMessage = 'SCRUB_MODE_UNSPECIFIED' | 'SCRUB_MODE_VERIFY' | 'SCRUB_MODE_SEAL';

export interface ScrubMessage {
  readonly running: ScrubModeMessage;
  readonly startedAtMs: number;
  readonly positionBytes: number;
  readonly verifiedBytes: number;
  readonly sealedBytes: number;
  readonly completedAtMs: number;
  readonly completedBytes: number;
  readonly sealedAtMs: number;
  readonly protectedBytes: number;
  readonly damagedChunks: number;
}

export interface DamagedPlaceMessage {
  readonly id: string;
  readonly kind: SourceMessage['kind'];
  readonly name: string;
  readonly offsetBytes: number;
}

export interface DamagedChunkMessage {
  readonly dataOffsetBytes: number;
  readonly damage: 'DAMAGE_UNSPECIFIED' | 'DAMAGE_CHANGED' | 'DAMAGE_UNREADABLE';
  readonly places: readonly DamagedPlaceMessage[];
}

export interface DamageMessage {
  readonly chunks: readonly DamagedChunkMessage[];
  readonly more: boolean;
}

export type DefragmentStateMessage =
  | 'DEFRAGMENT_STATE_UNSPECIFIED'
  | 'DEFRAGMENT_STATE_RUNNING'
  | 'DEFRAGMENT_STATE_DONE'
  | 'DEFRAGMENT_STATE_STOPPED'
  | 'DEFRAGMENT_STATE_OUT_OF_SPACE'
  | 'DEFRAGMENT_STATE_DELETED'
  | 'DEFRAGMENT_STATE_FAILED';

export interface DefragmentMessage {
  readonly id: string;
  readonly state: DefragmentStateMessage;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly positionBytes: number;
  readonly sizeBytes: number;
  readonly movedBytes: number;
  readonly foundPieces: number;
  readonly leftPieces: number;
}

export interface AttachMessage {
  readonly keeperKey: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly attributes: Attributes;
}

export interface HandOverRequestMessage {
  readonly version: number;
  readonly poolId: string;
  readonly successor: string;
}

export type NodeAction = 'ACTION_SYNC' | 'ACTION_FREEZE' | 'ACTION_THAW';

export interface NodeRequestMessage {
  readonly requestId: number;
  readonly volumeId: string;
  readonly action: NodeAction | 'ACTION_UNSPECIFIED';
}

export interface NodeReplyMessage {
  readonly requestId: number;
  readonly error: string;
  readonly node: string;
}

/** Request and response of each unary call, by its name in JavaScript. */
export interface StoreCalls {
  getPool: { request: Record<string, never>; response: PoolMessage };
  createVolume: {
    request: { name: string; sizeBytes: number; source: SourceMessage | null; attributes: Attributes };
    response: { volume: VolumeMessage; existed: boolean };
  };
  deleteVolume: { request: { id: string }; response: Record<string, never> };
  getVolume: { request: { id: string }; response: VolumeMessage };
  findVolume: { request: { name: string }; response: { volume: VolumeMessage | null } };
  listVolumes: { request: Record<string, never>; response: { volumes: VolumeMessage[] } };
  resizeVolume: { request: { id: string; sizeBytes: number }; response: VolumeMessage };
  revertVolume: {
    request: {
      id: string;
      snapshotId: string;
      discardPresentState: boolean;
      safetyName: string;
      safetyAttributes: Attributes;
      safetyId: string;
      expectedIncarnation: number;
    };
    response: { volume: VolumeMessage; safety: SnapshotMessage | null; existed: boolean };
  };
  createSnapshot: {
    request: { name: string; sourceVolumeId: string; attributes: Attributes };
    response: { snapshot: SnapshotMessage; existed: boolean };
  };
  deleteSnapshot: { request: { id: string }; response: Record<string, never> };
  getSnapshot: { request: { id: string }; response: SnapshotMessage };
  listSnapshots: { request: Record<string, never>; response: { snapshots: SnapshotMessage[] } };
  attach: { request: { id: string }; response: AttachMessage };
  detach: { request: { id: string }; response: Record<string, never> };
  getUsage: { request: { id: string }; response: UsageMessage };
  listUsage: { request: Record<string, never>; response: { usages: UsageMessage[] } };
  check: { request: Record<string, never>; response: CheckMessage };
  startScrub: { request: { mode: ScrubModeMessage; bytesPerSecond: number }; response: ScrubMessage };
  stopScrub: { request: Record<string, never>; response: ScrubMessage };
  getScrub: { request: Record<string, never>; response: ScrubMessage };
  listDamage: { request: Record<string, never>; response: DamageMessage };
  startDefragment: { request: { id: string }; response: DefragmentMessage };
  stopDefragment: { request: { id: string }; response: DefragmentMessage };
  getDefragment: { request: { id: string }; response: DefragmentMessage };
  handOver: { request: HandOverRequestMessage; response: { keeperKeys: readonly string[] } };
}
export type StoreCallName = keyof StoreCalls;

/** The largest message either side accepts: a listing of some hundred thousand volumes. */
export const MAXIMUM_MESSAGE_BYTES = 64 * 1024 * 1024;

const PROTO_FILE = fileURLToPath(new URL('../../../proto/store.proto', import.meta.url));

export interface StoreProtocol {
  readonly service: ServiceDefinition;
  readonly Client: ServiceClientConstructor;
}

/** Loads proto/store.proto. */
export function loadStoreProtocol(): StoreProtocol {
  const definition = loadPackageDefinition(loadSync(PROTO_FILE, { longs: Number, enums: String, defaults: true, oneofs: true }));
  let node: unknown = definition;
  for (const name of ['chunkstore', 'store', 'v1', 'Store']) {
    assert(typeof node === 'object' || typeof node === 'function', `${PROTO_FILE} lacks ${name}`);
    node = (node as Record<string, unknown>)[name];
  }
  assert(typeof node === 'function', `${PROTO_FILE} has no service chunkstore.store.v1.Store`);
  const Client = node as ServiceClientConstructor;
  return { service: Client.service, Client };
}
