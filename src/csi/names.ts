/** Names that the outside knows us by. */

export const DRIVER_NAME = 'csi.chunkstore.dev';

/** Topology key; its value is the node that a pool is on. */
export const TOPOLOGY_KEY = 'csi.chunkstore.dev/node';

export function topologyOf(node: string): { readonly segments: Readonly<Record<string, string>> } {
  return { segments: { [TOPOLOGY_KEY]: node } };
}
