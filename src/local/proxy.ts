/**
 * Passes gRPC calls on to role processes as they are: bytes in, bytes out, with metadata, deadline, cancellation and
 * status. A call that arrives while its role is away waits a bounded time; then, and when the role dies under the call,
 * it is UNAVAILABLE, and CSI's callers ask again.
 */
import {
  Client,
  credentials,
  Metadata,
  Server,
  status,
  type handleUnaryCall,
  type sendUnaryData,
  type ServiceError,
  type ServerUnaryCall,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';

import { CallLimit } from '../util/call-limit.ts';

/** Where calls of some services go. */
export interface Backend {
  readonly name: string;
  /** A gRPC target. */
  readonly target: string;
  /** Changes whenever the process behind the target is another one. */
  readonly life: number;
  whenReady(options: { readonly timeoutMs: number }): Promise<void>;
}

const same = (bytes: Buffer): Buffer => bytes;
/** As the services behind it take them. */
const MAXIMUM_REQUEST_BYTES = 4 * 1024 * 1024;
/** Listings are the longest. */
const MAXIMUM_ANSWER_BYTES = 64 * 1024 * 1024;
/** Over all connections; those that wait for their role count, too. */
const MOST_CALLS = 2_048;

export interface Route {
  readonly service: ServiceDefinition;
  readonly backend: Backend;
}

export class Proxy {
  readonly server: Server;
  readonly #waitMs: number;
  readonly #limit: CallLimit;
  readonly #connections = new Map<Backend, { readonly life: number; readonly client: Client }>();
  #refusal: string | null = null;

  /** @param options waitMs: how long a call waits for its role; mostCalls: that are passed on or wait at once */
  constructor(routes: readonly Route[], options: { readonly waitMs: number; readonly mostCalls?: number }) {
    this.#waitMs = options.waitMs;
    this.#limit = new CallLimit({ maximum: options.mostCalls ?? MOST_CALLS });
    this.server = new Server({
      'grpc.max_receive_message_length': MAXIMUM_REQUEST_BYTES,
      'grpc.max_concurrent_streams': MOST_CALLS,
    });
    for (const { service, backend } of routes) this.#add(service, backend);
  }

  /** From now on new calls are UNAVAILABLE; null: serves again. */
  refuse(reason: string | null): void {
    this.#refusal = reason;
  }

  close(): void {
    for (const { client } of this.#connections.values()) client.close();
    this.#connections.clear();
  }

  #add(service: ServiceDefinition, backend: Backend): void {
    const definition: Record<string, ServiceDefinition[string]> = {};
    const implementation: UntypedServiceImplementation = {};
    for (const [name, method] of Object.entries(service)) {
      definition[name] = {
        ...method,
        requestSerialize: same,
        requestDeserialize: same,
        responseSerialize: same,
        responseDeserialize: same,
      };
      implementation[name] = this.#handler(method.path, backend);
    }
    this.server.addService(definition, implementation);
  }

  #handler(path: string, backend: Backend): handleUnaryCall<Buffer, Buffer> {
    return (call, done) => {
      if (this.#refusal !== null) {
        done(unavailable(this.#refusal));
        return;
      }
      void this.#limit
        .run(() => this.#pass(path, backend, call, done))
        .catch((error: unknown) => done(unavailable(error instanceof Error ? error.message : String(error))));
    };
  }

  async #pass(path: string, backend: Backend, call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>): Promise<void> {
    try {
      await backend.whenReady({ timeoutMs: this.#waitMs });
    } catch (error) {
      done(unavailable(error instanceof Error ? error.message : String(error)));
      return;
    }
    if (call.cancelled) return;
    const over = Promise.withResolvers<void>();
    const upstream = this.#client(backend).makeUnaryRequest(
      path,
      same,
      same,
      call.request,
      passed(call.metadata),
      { deadline: call.getDeadline() },
      (error, answer) => {
        over.resolve();
        if (error === null) done(null, answer ?? null);
        else if (isConnectionLoss(error) && !call.cancelled) done(unavailable(`the ${backend.name} went away under the call; ask again`));
        else done({ code: error.code, details: error.details, metadata: passed(error.metadata) });
      },
    );
    call.on('cancelled', () => upstream.cancel());
    await over.promise;
  }

  /** One client a life: a new process is connected to at once, not after the back-off of a lost connection. */
  #client(backend: Backend): Client {
    const known = this.#connections.get(backend);
    if (known !== undefined && known.life === backend.life) return known.client;
    known?.client.close();
    const client = new Client(backend.target, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MAXIMUM_ANSWER_BYTES,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_http_proxy': 0,
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 500,
    });
    this.#connections.set(backend, { life: backend.life, client });
    return client;
  }
}

/** Whether the connection failed, not the service: words of grpc-js, for which it has no codes of their own. */
function isConnectionLoss(error: ServiceError): boolean {
  if (error.code === status.CANCELLED) return true;
  return (
    error.code === status.UNAVAILABLE &&
    /^(No connection established|Connection dropped|Name resolution failed|(read|write|connect) E)/.test(error.details)
  );
}

/** The caller's metadata without what belongs to the connection. */
function passed(metadata: Metadata): Metadata {
  const copy = new Metadata();
  for (const [key, values] of Object.entries(metadata.toJSON())) {
    if (key.startsWith('grpc-') || key === 'user-agent' || key === 'content-type' || key === 'te' || key === 'date') continue;
    for (const value of values) copy.add(key, value);
  }
  return copy;
}

function unavailable(details: string): { code: status; details: string } {
  return { code: status.UNAVAILABLE, details };
}
