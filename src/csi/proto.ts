/**
 * Loads proto/csi.proto, and says how its messages look in JavaScript: camelCase names, 64-bit numbers as decimal strings
 * (src/csi/request/sizes.ts turns them into safe integers), enums by name, every field present except the members of a
 * oneof. src/csi/generated/messages.ts has the types of exactly that; proto/generate-types.ts makes it.
 */
import { fileURLToPath } from 'node:url';
import { loadPackageDefinition, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type Options, type PackageDefinition } from '@grpc/proto-loader';
import { assert } from '../util/assert.ts';

export const CSI_PROTO_PATH = fileURLToPath(new URL('../../proto/csi.proto', import.meta.url));

export const CSI_LOADER_OPTIONS: Readonly<Options> = { keepCase: false, longs: String, enums: String, defaults: true, oneofs: true };

export type CsiServiceName = 'Identity' | 'Controller' | 'Node';

export function loadCsiPackage(): PackageDefinition {
  return loadSync(CSI_PROTO_PATH, CSI_LOADER_OPTIONS);
}

/** The definition that a gRPC server or client is made from. */
export function csiService(definition: PackageDefinition, name: CsiServiceName): ServiceDefinition {
  const scope = (loadPackageDefinition(definition)['csi'] as Record<string, Record<string, unknown>>)['v1']!;
  const service = scope[name];
  assert(typeof service === 'function' && 'service' in service, `proto/csi.proto defines the service ${name}`);
  return service.service as ServiceDefinition;
}

/**
 * What may be sent for a received type: fields may be left out, 64-bit numbers may be numbers.
 */
export type Sendable<T> = T extends `${bigint}`
  ? T | number
  : T extends readonly (infer Element)[]
    ? readonly Sendable<Element>[]
    : T extends object
      ? { readonly [Key in keyof T]?: Sendable<T[Key]> }
      : T;

/** A service's methods, from its pairs of messages. */
export type Service<Messages extends MessagePairs<Messages>> = {
  readonly [Name in keyof Messages]: (request: Messages[Name]['request']) => Promise<Sendable<Messages[Name]['response']>>;
};

export type MessagePairs<Messages> = { readonly [Name in keyof Messages]: { readonly request: object; readonly response: object } };
