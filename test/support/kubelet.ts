/** The kubelet's part of a plugin's registration, for one socket. */
import path from 'node:path';
import { credentials, loadPackageDefinition, type Client, type ServiceClientConstructor } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const PROTO = path.join(import.meta.dirname, '../../proto/pluginregistration.proto');
const LIMIT_MS = 5_000;

export interface FakeKubelet {
  getInfo(): Promise<object>;
  notify(status: { readonly pluginRegistered: boolean; readonly error: string }): Promise<object>;
  close(): void;
}

export function callAsKubelet(socket: string): FakeKubelet {
  const definition = loadPackageDefinition(loadSync(PROTO));
  const { Registration: Service } = definition['pluginregistration'] as unknown as { Registration: ServiceClientConstructor };
  const client = new Service(`unix:${socket}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  const call = (name: string, request: object): Promise<object> =>
    new Promise((resolve, reject) => {
      const method = (client as unknown as Record<string, (...rest: unknown[]) => void>)[name]!;
      method.call(client, request, { deadline: Date.now() + LIMIT_MS }, (error: Error | null, answer: object) =>
        error === null ? resolve(answer) : reject(error),
      );
    });
  return {
    getInfo: () => call('getInfo', {}),
    notify: (status) => call('notifyRegistrationStatus', status),
    close: () => (client as Client).close(),
  };
}
