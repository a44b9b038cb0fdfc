/**
 * One name, one volume: before a volume is made, every store that answers is asked for its name, because an earlier
 * attempt may have made it on another node and its answer been lost. What this leaves open, and who closes it:
 *
 * - The store that has it is away. To wait for every store would let one dead node stop all claims of a cluster, so it is
 *   made again elsewhere. Back again, the store holds a volume that was never attached and that no PersistentVolume names,
 *   because the claim's names the other one: the collector of orphans deletes it (src/k8s/orphans.ts).
 * - Two controllers make the same name at once, because a provisioner lost its lease while its call ran. Both look, then
 *   both make. The PersistentVolume's name is made from the claim, so only one of the two answers becomes one; the other
 *   volume is an orphan as above. Within one controller the lock on the name (src/csi/locking.ts) excludes this.
 * - Deleting the other one here would be wrong, however sure it looks: its id may be on its way in an answer.
 * - What is found may not be durable yet, or may be deleted a moment later. So it is not the finding that is answered: its
 *   store is asked to make the volume, and says that the name exists once that is durable.
 * - It is found where the caller does not allow it (any more). Then it is made where it is allowed, and the first one is an
 *   orphan as above.
 * - The caller allows several stores and the name is in two of them: the one that comes first for the caller is taken, each
 *   time, so that repeated calls have one answer.
 *
 * A volume with a source needs none of this: there is one store only where it can be.
 */
import type { Store, StoreDirectory } from '../ports.ts';
import { withinTime } from '../../util/time-limit.ts';
import type { AllowedNodes, Candidate } from './placement.ts';

/** Where volumes of this name are that the caller would accept, in the caller's order. A store that does not answer within
 * the limit is left out; `unavailable` when one that has it falls silent. */
export async function findEarlier(
  directory: StoreDirectory,
  name: string,
  options: { readonly nodes: AllowedNodes | null; readonly timeoutMs: number },
): Promise<readonly Candidate[]> {
  const { nodes, timeoutMs } = options;
  const found = await Promise.all((await directory.known()).map((store) => ask(store, name, timeoutMs)));
  const candidates = found.filter((candidate) => candidate !== null);
  const rank = ({ pool }: Candidate): number => (nodes === null ? 0 : nodes.all.indexOf(pool.node));
  return candidates
    .filter((candidate) => rank(candidate) >= 0)
    .toSorted((left, right) => rank(left) - rank(right) || (left.pool.id < right.pool.id ? -1 : 1));
}

async function ask(store: Store, name: string, timeoutMs: number): Promise<Candidate | null> {
  const limit = { timeoutMs, what: 'a store' };
  const volume = await withinTime(store.findVolume(name), limit).catch(() => null);
  // Known to be there, it must not be made elsewhere, whatever happens now.
  return volume === null ? null : { store, pool: await withinTime(store.getPool(), limit) };
}
