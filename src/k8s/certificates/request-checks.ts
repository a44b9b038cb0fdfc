/**
 * Whether a CertificateSigningRequest may be granted. Who asks, and from which node, is said by the API server and cannot
 * be forged: the node's name comes from the token of the pod, which the server bound to the node when it issued it
 * (Kubernetes 1.30 and newer). So a store gets a certificate for its own pool, and nothing else gets any.
 */
import type { KeyObject } from 'node:crypto';
import type { CertificateSigningRequest, ChunkStorePool } from '../resources.ts';
import { readRequest, type CertificateRequest } from './requests.ts';

export const STORE_SIGNER_NAME = 'chunkstore.dev/store';
export const STORE_USAGES: readonly string[] = ['digital signature', 'server auth'];
const NODE_NAME_EXTRA = 'authentication.kubernetes.io/node-name';
const POOL_NAME = /^([a-z2-7]{26})\.pool\.chunkstore\.dev$/;

export interface Refusal {
  readonly kind: 'refusal';
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
}

/** What a well-formed request of a store asks for. */
export interface Application {
  readonly kind: 'application';
  readonly poolId: string;
  readonly dnsName: string;
  readonly publicKey: KeyObject;
  /** Where the requestor runs. */
  readonly node: string;
}

/** What can be told from the request alone. `username` is that of the stores' service account. */
export function readApplication(object: CertificateSigningRequest, options: { readonly username: string }): Application | Refusal {
  const { spec } = object;
  if (spec.username !== options.username) {
    return refuse('NotAStore', `only ${options.username} may ask for certificates of stores, not ${spec.username ?? 'somebody unknown'}`);
  }
  const nodes = spec.extra?.[NODE_NAME_EXTRA] ?? [];
  const [node] = nodes;
  if (node === undefined || nodes.length > 1) {
    return refuse(
      'NodeUnknown',
      'the API server does not say on which node the requestor runs: this takes Kubernetes 1.30 or newer and the token of a running pod',
    );
  }
  if (!sameWords(spec.usages, STORE_USAGES)) {
    return refuse('WrongUsages', `the usages must be ${STORE_USAGES.join(' and ')}, not ${spec.usages.join(', ')}`);
  }
  let request: CertificateRequest;
  try {
    request = readRequest(Buffer.from(spec.request, 'base64').toString('latin1'));
  } catch (error) {
    return refuse('WrongRequest', (error as Error).message);
  }
  const poolId = POOL_NAME.exec(request.dnsName)?.[1];
  if (poolId === undefined) return refuse('WrongName', `${JSON.stringify(request.dnsName)} is not the name of a pool`);
  return { kind: 'application', poolId, dnsName: request.dnsName, publicKey: request.publicKey, node };
}

/** What the pool's own resource says about it. */
export function refusalByPool(application: Application, pool: ChunkStorePool | null): Refusal | null {
  const { poolId, node } = application;
  if (pool === null) return refuse('NoSuchPool', `there is no ChunkStorePool ${poolId}; the store makes it and asks again`);
  if (pool.spec.lost === true) return refuse('PoolLost', `the pool ${poolId} was declared lost (spec.lost of its ChunkStorePool)`);
  if (pool.spec.node !== node) {
    return refuse(
      'WrongNode',
      `the requestor runs on node ${node}, but the pool ${poolId} is on node ${pool.spec.node}; if its disk has moved, delete the ChunkStorePool`,
    );
  }
  return null;
}

function sameWords(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.toSorted().every((word, index) => word === right.toSorted()[index]);
}

function refuse(reason: string, message: string): Refusal {
  return { kind: 'refusal', reason, message };
}
