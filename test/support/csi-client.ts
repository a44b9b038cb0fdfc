/** A gRPC client of the CSI services, with promises and the generated types. */
import { credentials, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import type { Controller, Identity, Node } from '../../src/csi/generated/messages.ts';
import { csiService, loadCsiPackage, type CsiServiceName, type Sendable } from '../../src/csi/proto.ts';

type Received<T> = T extends Promise<infer Answer> ? Answer : never;
/** Requests may leave fields out, and answers are whole. */
type Client<Service> = {
  readonly [Name in keyof Service]: Service[Name] extends (request: infer Request) => infer Answer
    ? (request: Sendable<Request>) => Promise<Received<Answer>>
    : never;
};

export interface CsiClient {
  readonly identity: Client<Identity>;
  readonly controller: Client<Controller>;
  readonly node: Client<Node>;
  close(): void;
}

export function connectCsi(endpoint: string): CsiClient {
  const definition = loadCsiPackage();
  const close: (() => void)[] = [];
  const connect = (name: CsiServiceName): Record<string, (request: object) => Promise<object>> => {
    const service = csiService(definition, name);
    const client = new (makeGenericClientConstructor(service, name))(endpoint, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
    close.push(() => client.close());
    return Object.fromEntries(
      Object.values(service).map((method) => [
        method.originalName!,
        (request: object) =>
          new Promise<object>((resolve, reject) => {
            const done = (error: ServiceError | null, answer?: object): void => (error === null ? resolve(answer!) : reject(error));
            client.makeUnaryRequest(
              method.path,
              method.requestSerialize,
              method.responseDeserialize,
              request,
              { deadline: Date.now() + 10_000 } as never,
              done as never,
            );
          }),
      ]),
    );
  };
  return {
    identity: connect('Identity') as unknown as CsiClient['identity'],
    controller: connect('Controller') as unknown as CsiClient['controller'],
    node: connect('Node') as unknown as CsiClient['node'],
    close: () => close.forEach((each) => each()),
  };
}
