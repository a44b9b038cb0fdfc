/**
 * What the main thread of the store needs from the data thread: control calls of the engine, and the FUSE connections
 * of its loop. Both are messages; the answers are durable when they come.
 */
import type { CountsOfDevice, Latency, OperationName } from '../../block/statistics.ts';
import type {
  CheckReport,
  ControlRequest,
  DamageReport,
  DefragmentStatus,
  EngineStatistics,
  ObjectAnswer,
  ObjectId,
  ObjectInfo,
  PoolInfo,
  ScrubStatus,
  Usage,
} from '../../engine/control.ts';
import type { MetadataSpace } from '../metadata/environment.ts';
import type { CallTimesByCall } from './call-times.ts';

interface Answers {
  create: ObjectAnswer;
  snapshot: ObjectAnswer;
  clone: ObjectAnswer;
  revert: ObjectAnswer;
  resize: ObjectAnswer;
  delete: null;
  list: readonly ObjectInfo[];
  find: ObjectInfo | null;
  named: ObjectInfo | null;
  usage: Usage;
  pool: PoolInfo;
  statistics: EngineStatistics;
  check: CheckReport;
  checkpoint: null;
  'scrub-start': ScrubStatus;
  'scrub-stop': ScrubStatus;
  'scrub-status': ScrubStatus;
  damage: DamageReport;
  'defragment-start': DefragmentStatus;
  'defragment-stop': DefragmentStatus;
  'defragment-status': DefragmentStatus;
}
export type ControlAnswer<Kind extends ControlRequest['kind']> = Answers[Kind];

export interface EngineControl {
  /** Fails with the engine's StoreError. */
  call<Kind extends ControlRequest['kind']>(request: Extract<ControlRequest, { kind: Kind }>): Promise<ControlAnswer<Kind>>;
}

/** A FUSE connection that the data thread is to serve. `connection` is a number from 1 to the loop's number of
 * devices; with `incarnation` it tells the requests in the shared arena apart, also after a restart. */
export interface DeviceConnection {
  readonly objectId: ObjectId;
  readonly connection: number;
  readonly incarnation: number;
  readonly fuseDescriptor: number;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
}

export interface DeviceStatistics {
  readonly devices: readonly { readonly objectId: ObjectId; readonly counts: CountsOfDevice }[];
  readonly latency: Readonly<Record<OperationName, Latency>>;
  readonly calls: CallTimesByCall;
}

/** What was done on the connections that are served, and how long it took. */
export interface DataStatistics {
  statistics(): Promise<DeviceStatistics>;
}

/** Whether the metadata have room to grow. */
export interface MetadataWatch {
  /** `fresh` waits for the metadata thread, which may be in a commit; otherwise as it was at the last one. */
  metadataSpace(options: { readonly fresh: boolean }): Promise<MetadataSpace>;
}

export interface DataDevices {
  /** The number of connections that the loop can serve. */
  readonly maximumConnections: number;
  /** Once, before any other call: serves the connections of a dead predecessor and finishes the requests that it left:
   * so many answered again, so many done again. */
  recover(devices: readonly DeviceConnection[]): Promise<{ readonly answered: number; readonly submitted: number }>;
  add(device: DeviceConnection): Promise<void>;
  /** `in-use` while the FUSE file is open. */
  remove(connection: number): Promise<void>;
  /** The connections whose FUSE file is open. */
  openConnections(): Promise<ReadonlySet<number>>;
  /** Tells a connection its object's new size. */
  resize(connection: number, sizeBytes: number): Promise<void>;
}
