/**
 * Pages of a list. A token holds the last id of its page and stays good whatever comes and goes between two pages:
 * nothing that is there all the time is left out or listed twice.
 */
import { StoreError } from '../../util/errors.ts';
import { poolIdOf, requireMaximumEntries } from './fields.ts';

export interface PageRequest {
  readonly maxEntries: number;
  readonly startingToken: string;
}

/** `kind` keeps a token of one list from being taken for another's. */
export function page<Item extends { readonly id: string }>(
  items: readonly Item[],
  request: PageRequest,
  kind: 'volumes' | 'snapshots',
): { readonly items: readonly Item[]; readonly nextToken: string } {
  const limit = requireMaximumEntries(request.maxEntries);
  const after = request.startingToken === '' ? '' : decodeToken(request.startingToken, kind);
  const rest = items.filter((item) => item.id > after).toSorted((left, right) => (left.id < right.id ? -1 : 1));
  const taken = limit === 0 ? rest : rest.slice(0, limit);
  const last = taken.at(-1);
  return { items: taken, nextToken: last === undefined || taken.length === rest.length ? '' : encodeToken(last.id, kind) };
}

function encodeToken(id: string, kind: string): string {
  return Buffer.from(`1:${kind}:${id}`).toString('base64url');
}

function decodeToken(token: string, kind: string): string {
  const [version, itsKind, id, ...rest] = Buffer.from(token, 'base64url').toString().split(':');
  if (version !== '1' || itsKind !== kind || id === undefined || rest.length > 0 || poolIdOf(id) === null) {
    // `busy`, because it is the code for "start again", which is what CSI wants here (ABORTED).
    throw new StoreError('busy', 'starting_token is not one of ours; list again from the start');
  }
  return id;
}
