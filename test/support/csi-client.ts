/**
 * Clients of the CSI services, with promises and the generated types: over gRPC, or straight to a service in this
 * process, its messages encoded and decoded all the same.
 */
import { credentials, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import type { ControllerMessages, IdentityMessages, NodeMessages } from '../../src/csi/generated/messages.ts';
import { csiService, loadCsiPackage, type CsiServiceName, type MessagePairs, type Sendable } from '../../src/csi/proto.ts';

/** Requests may leave fields out, and answers are whole. */
export type Client<Messages extends MessagePairs<Messages>> = {
  readonly [Name in keyof Messages]: (request: Sendable<Messages[Name]['request']>) => Promise<Messages[Name]['response']>;
};

export interface CsiClient {
  readonly identity: Client<IdentityMessages>;
  readonly controller: Client<ControllerMessages>;
  readonly node: Client<NodeMessages>;
  close(): void;
}

export function connectCsi(endpoint: string, options: { readonly timeoutMs?: number } = {}): CsiClient {
  const timeoutMs = options.timeoutMs ?? 10_000;
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
              { deadline: Date.now() + timeoutMs } as never,
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

/** Rejects with what the service throws. */
export function callDirectly<Messages extends MessagePairs<Messages>>(name: CsiServiceName, service: object): Client<Messages> {
  const methods = service as Readonly<Record<string, (request: object) => Promise<object>>>;
  const calls = Object.values(csiService(loadCsiPackage(), name)).map((definition) => {
    const call = async (request: object): Promise<object> => {
      const received = definition.requestDeserialize(definition.requestSerialize(request)) as object;
      const response = await methods[definition.originalName!]!(received);
      return definition.responseDeserialize(definition.responseSerialize(response)) as object;
    };
    return [definition.originalName!, call] as const;
  });
  return Object.fromEntries(calls) as unknown as Client<Messages>;
}
