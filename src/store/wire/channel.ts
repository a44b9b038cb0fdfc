/**
 * The connection of a store's client: a gRPC channel that is replaced when it would not do any more.
 *
 * - When the TLS identity changes. Calls under way end on the former channel, new ones begin with the new certificate.
 * - When connecting takes too long. gRPC has no limit of its own, and a connection to a node that is down keeps trying at
 *   the kernel's pace, for minutes, also when the node has come back.
 */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import {
  credentials as grpcCredentials,
  connectivityState,
  type ChannelCredentials,
  type ChannelOptions,
  type Client,
} from '@grpc/grpc-js';
import { StoreError } from '../../util/errors.ts';
import type { TlsIdentity } from '../../util/tls-identity.ts';
import { contextOptionsOf } from './tls-context.ts';

/** How a client shows who it is, and whom it expects. */
export interface ChannelTls {
  readonly identity: TlsIdentity;
  /** The one DNS name that the server's certificate must have. */
  readonly serverName: string;
}

export interface ChannelSettings {
  /** Null: a unix socket, whose permissions protect it, and which is there or not. */
  readonly tls: ChannelTls | null;
  /** With TLS. */
  readonly connectTimeoutMs: number;
  readonly makeClient: (credentials: ChannelCredentials, options: ChannelOptions) => Client;
}

/**
 * Also an idle connection is probed, so that a node that died is noticed within this time and the next call is the first
 * of a new connection.
 */
const KEEPALIVE_MS = { interval: 5_000, timeout: 5_000 };

interface Connection {
  readonly client: Client;
  calls: number;
  /** Closed with its last call. */
  retired: boolean;
  /** Runs while it may be connecting. */
  limit: NodeJS.Timeout | null;
}

export class StoreChannel {
  readonly #settings: ChannelSettings;
  readonly #endOfChanges: () => void;
  #connection: Connection | null = null;
  #closed = false;

  constructor(settings: ChannelSettings) {
    this.#settings = settings;
    this.#endOfChanges = settings.tls?.identity.onChange(() => this.#retire(this.#connection)) ?? (() => {});
  }

  /** Runs one call on the present connection. Errors: unavailable while there is no certificate to connect with. */
  async call<Result>(action: (client: Client) => Promise<Result>): Promise<Result> {
    const connection = (this.#connection ??= this.#connect());
    connection.calls++;
    try {
      const answer = action(connection.client);
      this.#limitConnecting(connection);
      return await answer;
    } finally {
      connection.calls--;
      if (connection.retired && connection.calls === 0) end(connection);
    }
  }

  /** For streams, which end with their connection. */
  client(): Client {
    return (this.#connection ??= this.#connect()).client;
  }

  close(): void {
    this.#closed = true;
    this.#endOfChanges();
    if (this.#connection !== null) end(this.#connection);
    this.#connection = null;
  }

  #connect(): Connection {
    const { tls, makeClient } = this.#settings;
    if (this.#closed) throw new StoreError('unavailable', 'this client of a store was closed');
    const client = tls === null ? makeClient(grpcCredentials.createInsecure(), {}) : makeClient(credentialsOf(tls), optionsOf(tls));
    return { client, calls: 0, retired: false, limit: null };
  }

  #limitConnecting(connection: Connection): void {
    if (this.#settings.tls === null || connection.limit !== null || stateOf(connection) === connectivityState.READY) return;
    connection.limit = setTimeout(() => {
      connection.limit = null;
      // After a refusal gRPC tries again by itself, and calls are answered at once.
      if (stateOf(connection) !== connectivityState.CONNECTING) return;
      if (this.#connection === connection) this.#connection = null;
      // Calls that wait for it are told so.
      end(connection);
    }, this.#settings.connectTimeoutMs).unref();
  }

  #retire(connection: Connection | null): void {
    if (connection === null) return;
    this.#connection = null;
    connection.retired = true;
    if (connection.calls === 0) end(connection);
  }
}

function stateOf({ client }: Connection): connectivityState {
  return client.getChannel().getConnectivityState(false);
}

function end(connection: Connection): void {
  if (connection.limit !== null) clearTimeout(connection.limit);
  connection.client.close();
}

function credentialsOf({ identity, serverName }: ChannelTls): ChannelCredentials {
  const material = identity.current();
  if (material === null) {
    throw new StoreError('unavailable', 'this process has no certificate yet to call a store with; it is being made');
  }
  return grpcCredentials.createFromSecureContext(createSecureContext(contextOptionsOf(material)), {
    checkServerIdentity: (_host, peer) => {
      const name = new X509Certificate(peer.raw).subjectAltName;
      if (name === `DNS:${serverName}`) return undefined;
      return new Error(`its certificate is for ${name ?? 'nobody'}, not for ${serverName}`);
    },
  });
}

function optionsOf({ serverName }: ChannelTls): ChannelOptions {
  return {
    'grpc.ssl_target_name_override': serverName,
    'grpc.keepalive_time_ms': KEEPALIVE_MS.interval,
    'grpc.keepalive_timeout_ms': KEEPALIVE_MS.timeout,
    'grpc.keepalive_permit_without_calls': 1,
  };
}
