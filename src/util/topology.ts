/** The topology value of a node, which store, node role and controller must agree on. */
import { createHash } from 'node:crypto';

/** Kubernetes: a label's value, which a topology value becomes, has at most 63 characters; a node's name up to 253. */
const LONGEST_VALUE = 63;
const HASH_LENGTH = 10;

/** The node's name; of a longer one its beginning and a hash of all of it. */
export function topologyValue(nodeName: string): string {
  if (nodeName.length <= LONGEST_VALUE) return nodeName;
  const hash = createHash('sha256').update(nodeName).digest('hex').slice(0, HASH_LENGTH);
  return `${nodeName.slice(0, LONGEST_VALUE - HASH_LENGTH - 1)}-${hash}`;
}
