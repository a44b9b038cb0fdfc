/**
 * The Controller service. It keeps no state: whatever it is asked, the stores know. ControllerPublishVolume is not
 * served (volumes are local), nor is ControllerModifyVolume.
 */
import type { Controller, ControllerServiceCapability_RPC_Type } from '../generated/messages.ts';
import type { ClaimNotices, StoreDirectory } from '../ports.ts';
import { getCapacity } from './capacity.ts';
import { snapshotCalls } from './snapshots.ts';
import { volumeCalls } from './volumes.ts';

const CAPABILITIES: readonly ControllerServiceCapability_RPC_Type[] = [
  'CREATE_DELETE_VOLUME',
  'LIST_VOLUMES',
  'GET_CAPACITY',
  'CREATE_DELETE_SNAPSHOT',
  'LIST_SNAPSHOTS',
  'CLONE_VOLUME',
  'EXPAND_VOLUME',
  'GET_VOLUME',
  'SINGLE_NODE_MULTI_WRITER',
  'GET_SNAPSHOT',
];

export type ServedController = Omit<
  Controller,
  | 'controllerPublishVolume'
  | 'controllerUnpublishVolume'
  | 'controllerModifyVolume'
  | 'controllerListVolumeHealth'
  | 'controllerGetVolumeHealth'
>;

export interface ControllerOptions {
  /** None, if not given. */
  readonly notices?: ClaimNotices;
  /** How long stores are waited for that are only asked whether they have a volume already. */
  readonly lookupTimeoutMs?: number;
}

const LOOKUP_TIMEOUT_MS = 2_000;

/** Without locks: src/csi/locking.ts puts them around it. */
export function createController(directory: StoreDirectory, options: ControllerOptions = {}): ServedController {
  const { notices = { tell: () => {} }, lookupTimeoutMs = LOOKUP_TIMEOUT_MS } = options;
  return {
    ...volumeCalls({ directory, notices, lookupTimeoutMs }),
    ...snapshotCalls(directory),
    getCapacity: (request) => getCapacity(directory, request),
    controllerGetCapabilities: () => Promise.resolve({ capabilities: CAPABILITIES.map((type) => ({ rpc: { type } })) }),
  };
}
