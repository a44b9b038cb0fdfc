/**
 * A store behind proto/store.proto: what the controller, the node role and the operator commands use. It has the shape
 * of the Store port of src/csi/ports.ts, and the rest of the protocol besides.
 *
 * Every call has a deadline. Failures are StoreErrors; a store that is away or slow is `unavailable`.
 */
import { Metadata, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { StoreChannel, type ChannelTls } from './channel.ts';
import { fromStatus } from './errors.ts';
import {
  loadStoreProtocol,
  MAXIMUM_MESSAGE_BYTES,
  type AttachMessage,
  type Attributes,
  type CheckMessage,
  type HandOverRequestMessage,
  type NodeReplyMessage,
  type NodeRequestMessage,
  type PoolMessage,
  type SnapshotMessage,
  type SourceMessage,
  type StoreCallName,
  type StoreCalls,
  type UsageMessage,
  type VolumeMessage,
} from './messages.ts';
import { defragmentOf, type ClientDefragment } from './defragment-messages.ts';
import { damageOf, scrubStatusOf, type ClientDamage, type ScrubStatus } from './scrub-messages.ts';

export interface ClientSource {
  readonly kind: 'volume' | 'snapshot';
  readonly id: string;
}

export interface ClientVolume extends Omit<VolumeMessage, 'source'> {
  readonly source: ClientSource | null;
}

export interface StoreClientOptions {
  /** A gRPC target, for instance `unix:///run/chunkstore/store.sock`; with `tls` an address and port, `10.0.0.1:7443`. */
  readonly target: string;
  readonly tls?: ChannelTls;
  /** Limit of connecting, with `tls`. */
  readonly connectTimeoutMs?: number;
  /** Limit of a call that changes or reads one thing. Cuts wait up to 10 s for a node to sync, so it is larger. */
  readonly timeoutMs?: number;
  /** Limit of `check`, `listUsage` and `listDamage`, which walk every tree. */
  readonly longTimeoutMs?: number;
}

const CONNECT_TIMEOUT_MS = 5_000;
const TIMEOUT_MS = 30_000;
const LONG_TIMEOUT_MS = 15 * 60_000;
/** How soon a lost connection is tried again: the store is on this machine, or a restart away. */
const RECONNECT_MS = { first: 100, most: 2_000 };

const CHANNEL_OPTIONS = {
  'grpc.initial_reconnect_backoff_ms': RECONNECT_MS.first,
  'grpc.max_reconnect_backoff_ms': RECONNECT_MS.most,
  'grpc.max_receive_message_length': MAXIMUM_MESSAGE_BYTES,
  // One channel a client: two clients of one socket must not share a channel that one of them closes.
  'grpc.use_local_subchannel_pool': 1,
  // A proxy from the environment has no business with a store.
  'grpc.enable_http_proxy': 0,
};

type UnaryCall = (
  request: unknown,
  metadata: Metadata,
  options: { deadline: number },
  done: (error: ServiceError | null, response: unknown) => void,
) => void;

export class StoreClient {
  readonly target: string;
  readonly #channel: StoreChannel;
  readonly #timeoutMs: number;
  readonly #longTimeoutMs: number;

  constructor(options: StoreClientOptions) {
    this.target = options.target;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#longTimeoutMs = options.longTimeoutMs ?? LONG_TIMEOUT_MS;
    const { Client } = loadStoreProtocol();
    this.#channel = new StoreChannel({
      tls: options.tls ?? null,
      connectTimeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      makeClient: (credentials, channelOptions) => new Client(options.target, credentials, { ...CHANNEL_OPTIONS, ...channelOptions }),
    });
  }

  close(): void {
    this.#channel.close();
  }

  getPool(): Promise<PoolMessage> {
    return this.#call('getPool', {});
  }

  async createVolume(request: {
    readonly name: string;
    readonly sizeBytes: number;
    readonly source: ClientSource | null;
    readonly attributes: Attributes;
  }): Promise<{ volume: ClientVolume; existed: boolean }> {
    const answer = await this.#call('createVolume', { ...request, source: request.source === null ? null : sourceMessage(request.source) });
    return { volume: clientVolume(answer.volume), existed: answer.existed };
  }

  async deleteVolume(id: string): Promise<void> {
    await this.#call('deleteVolume', { id });
  }

  async getVolume(id: string): Promise<ClientVolume> {
    return clientVolume(await this.#call('getVolume', { id }));
  }

  /** The volume of that name, null when there is none. */
  async findVolume(name: string): Promise<ClientVolume | null> {
    const { volume } = await this.#call('findVolume', { name });
    return volume === null ? null : clientVolume(volume);
  }

  async listVolumes(): Promise<ClientVolume[]> {
    return (await this.#call('listVolumes', {})).volumes.map(clientVolume);
  }

  async resizeVolume(id: string, sizeBytes: number): Promise<ClientVolume> {
    return clientVolume(await this.#call('resizeVolume', { id, sizeBytes }));
  }

  /** `safety` null keeps nothing of the present state; a name of '' lets the store choose one, and so does no object id. With
   * `expectedIncarnation` it is refused when the volume has been reverted since. */
  async revertVolume(request: {
    readonly id: string;
    readonly snapshotId: string;
    readonly safety: { readonly name: string; readonly objectId?: string; readonly attributes: Attributes } | null;
    readonly expectedIncarnation?: number;
  }): Promise<{ volume: ClientVolume; safety: SnapshotMessage | null; existed: boolean }> {
    const answer = await this.#call('revertVolume', {
      id: request.id,
      snapshotId: request.snapshotId,
      discardPresentState: request.safety === null,
      safetyName: request.safety?.name ?? '',
      safetyAttributes: request.safety?.attributes ?? {},
      safetyId: request.safety?.objectId ?? '',
      expectedIncarnation: request.expectedIncarnation ?? 0,
    });
    return { volume: clientVolume(answer.volume), safety: answer.safety, existed: answer.existed };
  }

  createSnapshot(request: {
    readonly name: string;
    readonly sourceVolumeId: string;
    readonly attributes: Attributes;
  }): Promise<{ snapshot: SnapshotMessage; existed: boolean }> {
    return this.#call('createSnapshot', { ...request });
  }

  async deleteSnapshot(id: string): Promise<void> {
    await this.#call('deleteSnapshot', { id });
  }

  getSnapshot(id: string): Promise<SnapshotMessage> {
    return this.#call('getSnapshot', { id });
  }

  async listSnapshots(): Promise<SnapshotMessage[]> {
    return (await this.#call('listSnapshots', {})).snapshots;
  }

  attach(id: string): Promise<AttachMessage> {
    return this.#call('attach', { id });
  }

  async detach(id: string): Promise<void> {
    await this.#call('detach', { id });
  }

  getUsage(id: string): Promise<UsageMessage> {
    return this.#call('getUsage', { id });
  }

  async listUsage(): Promise<UsageMessage[]> {
    return (await this.#call('listUsage', {}, this.#longTimeoutMs)).usages;
  }

  check(): Promise<CheckMessage> {
    return this.#call('check', {}, this.#longTimeoutMs);
  }

  /** Begins a verifying pass over what snapshots hold, or goes on with one. `bytesPerSecond` null: the store's own rate. */
  async startScrub(options: { readonly bytesPerSecond: number | null }): Promise<ScrubStatus> {
    const request = { mode: 'SCRUB_MODE_VERIFY', bytesPerSecond: options.bytesPerSecond ?? 0 } as const;
    return scrubStatusOf(await this.#call('startScrub', request));
  }

  async stopScrub(): Promise<ScrubStatus> {
    return scrubStatusOf(await this.#call('stopScrub', {}));
  }

  async getScrub(): Promise<ScrubStatus> {
    return scrubStatusOf(await this.#call('getScrub', {}));
  }

  async listDamage(): Promise<ClientDamage> {
    return damageOf(await this.#call('listDamage', {}, this.#longTimeoutMs));
  }

  /** Begins to defragment a volume, or does nothing when that is under way. */
  async startDefragment(id: string): Promise<ClientDefragment> {
    return defragmentOf(await this.#call('startDefragment', { id }));
  }

  async stopDefragment(id: string): Promise<ClientDefragment> {
    return defragmentOf(await this.#call('stopDefragment', { id }));
  }

  async getDefragment(id: string): Promise<ClientDefragment> {
    return defragmentOf(await this.#call('getDefragment', { id }));
  }

  /** Asks the store to leave its pool to another one on its node; answers when the pool's locks are free. A store that does
   * not know the call is `failed-precondition`, like one that refuses. */
  handOver(request: HandOverRequestMessage): Promise<{ readonly keeperKeys: readonly string[] }> {
    return this.#call('handOver', request);
  }

  /** The stream over which the store asks this node to sync file systems; the caller reopens it when it ends. */
  nodeSession(): ClientDuplexStream<NodeReplyMessage, NodeRequestMessage> {
    const client = this.#channel.client() as unknown as { nodeSession(): ClientDuplexStream<NodeReplyMessage, NodeRequestMessage> };
    return client.nodeSession();
  }

  #call<Name extends StoreCallName>(
    name: Name,
    request: StoreCalls[Name]['request'],
    timeoutMs = this.#timeoutMs,
  ): Promise<StoreCalls[Name]['response']> {
    return this.#channel.call(
      (client) =>
        new Promise((resolve, reject) => {
          const method = (client as unknown as Record<string, UnaryCall>)[name]!;
          method.call(client, request, new Metadata(), { deadline: Date.now() + timeoutMs }, (error, response) => {
            if (error !== null) reject(fromStatus(error, { store: this.target }));
            else resolve(response as StoreCalls[Name]['response']);
          });
        }),
    );
  }
}

function sourceMessage(source: ClientSource): SourceMessage {
  return { kind: source.kind === 'volume' ? 'KIND_VOLUME' : 'KIND_SNAPSHOT', id: source.id };
}

function clientVolume(message: VolumeMessage): ClientVolume {
  const { source } = message;
  const known = source !== null && source.kind !== 'KIND_UNSPECIFIED';
  return { ...message, source: known ? { kind: source.kind === 'KIND_VOLUME' ? 'volume' : 'snapshot', id: source.id } : null };
}
