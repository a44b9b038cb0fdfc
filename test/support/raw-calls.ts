/** A gRPC client that sends bytes as they are, and tells how each call ended. */
import { Client, credentials, status, type ServiceDefinition } from '@grpc/grpc-js';

export interface RawOutcome {
  readonly code: status;
  readonly details: string;
  /** Null where the call failed. */
  readonly answer: Buffer | null;
}

const LIMIT_MS = 20_000;

export class RawCalls {
  readonly #client: Client;

  /** `target`: "unix:/path/of/a.sock". */
  constructor(target: string) {
    this.#client = new Client(target, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  }

  /** A call that is not answered within 20 s ends with DEADLINE_EXCEEDED, which no server of ours sends. */
  call(path: string, bytes: Buffer): Promise<RawOutcome> {
    return new Promise((resolve) => {
      this.#client.makeUnaryRequest(
        path,
        (request: Buffer) => request,
        (answer: Buffer) => answer,
        bytes,
        { deadline: Date.now() + LIMIT_MS },
        (error, answer) =>
          resolve(
            error === null
              ? { code: status.OK, details: '', answer: answer ?? null }
              : { code: error.code, details: error.details, answer: null },
          ),
      );
    });
  }

  /** Begins a call and cancels it at once. */
  cancelled(path: string, bytes: Buffer): Promise<void> {
    return new Promise((resolve) => {
      const call = this.#client.makeUnaryRequest(
        path,
        (request: Buffer) => request,
        (answer: Buffer) => answer,
        bytes,
        () => resolve(),
      );
      call.cancel();
    });
  }

  close(): void {
    this.#client.close();
  }
}

/** The methods of a service that take one message and give one. */
export function unaryMethods(
  service: ServiceDefinition,
): readonly { readonly name: string; readonly path: string; readonly type: object; readonly decode: (bytes: Buffer) => object }[] {
  return Object.entries(service)
    .filter(([, method]) => !method.requestStream && !method.responseStream)
    .map(([name, method]) => ({
      name,
      path: method.path,
      type: (method as unknown as { requestType: { type: object } }).requestType.type,
      decode: (bytes) => method.responseDeserialize(bytes) as object,
    }));
}
