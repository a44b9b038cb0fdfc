/**
 * Which store a new volume goes to. With a source: the source's store or none, because chunks are shared only within a
 * pool. Without: the first preferred node only, unless the class lets another be taken; where nothing is preferred, the
 * store with the most room. `no-space` (RESOURCE_EXHAUSTED) lets the scheduler choose another node; `unavailable` keeps it
 * to this one, which may have made the volume already.
 */
import type { Topology, TopologyRequirement } from '../generated/messages.ts';
import { TOPOLOGY_KEY } from '../names.ts';
import type { Store, StoreDirectory, StorePool } from '../ports.ts';
import { invalid } from '../request/fields.ts';
import { StoreError } from '../../util/errors.ts';

/** Null: anywhere. */
export interface AllowedNodes {
  readonly preferred: readonly string[];
  /** Those of `preferred` and all others that are allowed. */
  readonly all: readonly string[];
}

export interface Candidate {
  readonly store: Store;
  readonly pool: StorePool;
}

/** More would not fit into an event. */
const MOST_NODES_NAMED = 5;

export function requireAllowedNodes(requirement: TopologyRequirement | null): AllowedNodes | null {
  if (requirement === null) return null;
  const requisite = requirement.requisite.map((topology, index) => requireNode(topology, `accessibility_requirements.requisite[${index}]`));
  const preferred = requirement.preferred.map((topology, index) => requireNode(topology, `accessibility_requirements.preferred[${index}]`));
  if (requisite.length === 0 && preferred.length === 0) return null;
  // A set: a request may name any number of nodes, and nobody else is served while they are compared.
  const allowed = new Set(requisite);
  const stray = allowed.size > 0 ? preferred.find((node) => !allowed.has(node)) : undefined;
  if (stray !== undefined) throw invalid('accessibility_requirements.preferred', `has ${JSON.stringify(stray)}, which requisite has not`);
  return { preferred, all: [...new Set([...preferred, ...requisite])] };
}

/** The node that a topology names. */
export function requireNode(topology: Topology, field: string): string {
  const node = topology.segments[TOPOLOGY_KEY] ?? '';
  if (node === '') throw invalid(field, `has no segment ${TOPOLOGY_KEY}`);
  return node;
}

/** The source's store, if the volume may be there. */
export async function placeBesideSource(store: Store, nodes: AllowedNodes | null): Promise<Candidate> {
  const pool = await store.getPool();
  if (nodes !== null && !nodes.all.includes(pool.node)) {
    throw new StoreError(
      'no-space',
      `the source is on node ${pool.node}, and a volume made from it can only be there; asked for was ${listed(nodes.all)}. Let the pod run on node ${pool.node}, or make the volume without a source`,
    );
  }
  return { store, pool };
}

/** Stores to try in turn; a full one is passed over only if there is another in the list. Never empty. */
export async function placeEmpty(
  directory: StoreDirectory,
  nodes: AllowedNodes | null,
  options: { readonly anyNode: boolean },
): Promise<readonly Candidate[]> {
  if (nodes === null) return mostRoomFirst(await Promise.all((await directory.all()).map(candidate)));
  const [chosen] = nodes.preferred;
  if (chosen !== undefined && !options.anyNode) return [await requireOnNode(directory, chosen)];
  if (nodes.all.length === 1) return [await requireOnNode(directory, nodes.all[0]!)];

  const asked = await Promise.allSettled(nodes.all.map((node) => onNode(directory, node)));
  const failure = asked.find((answer) => answer.status === 'rejected');
  const candidates = asked.flatMap((answer) => (answer.status === 'fulfilled' && answer.value !== null ? [answer.value] : []));
  // Whoever takes any node need not wait for one that is away.
  if (failure !== undefined && (!options.anyNode || candidates.length === 0)) throw failure.reason;
  if (candidates.length === 0) throw new StoreError('no-space', `none of the nodes ${listed(nodes.all)} has a chunk store`);
  return nodes.preferred.length > 0 ? candidates : mostRoomFirst(candidates);
}

/** An error that says which node has no room. */
export function noRoom(pool: StorePool, error: StoreError): StoreError {
  return new StoreError('no-space', `no room on node ${pool.node}: ${error.message}`, { cause: error });
}

async function requireOnNode(directory: StoreDirectory, node: string): Promise<Candidate> {
  const found = await onNode(directory, node);
  if (found === null) throw new StoreError('no-space', `node ${node} has no chunk store, so that no volume can be made there`);
  return found;
}

async function onNode(directory: StoreDirectory, node: string): Promise<Candidate | null> {
  const store = await directory.ofNode(node);
  return store === null ? null : candidate(store);
}

async function candidate(store: Store): Promise<Candidate> {
  return { store, pool: await store.getPool() };
}

function mostRoomFirst(candidates: readonly Candidate[]): readonly Candidate[] {
  if (candidates.length === 0) throw new StoreError('no-space', 'there is no chunk store');
  return candidates.toSorted((left, right) => roomBytes(right.pool) - roomBytes(left.pool));
}

/** What is left of the provisioning budget. A pool that is down to its reserve takes nothing new, whatever its budget. */
export function roomBytes(pool: StorePool): number {
  return pool.freeBytes <= 0 || pool.freeBytes < pool.reserveBytes ? 0 : Math.max(0, pool.provisionLimitBytes - pool.provisionedBytes);
}

function listed(nodes: readonly string[]): string {
  const more = nodes.length - MOST_NODES_NAMED;
  return more <= 0 ? nodes.join(', ') : `${nodes.slice(0, MOST_NODES_NAMED).join(', ')} and ${more} more`;
}
