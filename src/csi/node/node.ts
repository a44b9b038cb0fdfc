/** The Node service. */
import type { Node, NodeServiceCapability_RPC_Type } from '../generated/messages.ts';
import { topologyOf } from '../names.ts';
import type { NodeContext } from './context.ts';
import { expandVolume, volumeStats } from './inspection.ts';
import { publishVolume, unpublishVolume } from './publish.ts';
import { stageVolume, unstageVolume } from './stage.ts';

const CAPABILITIES: readonly NodeServiceCapability_RPC_Type[] = [
  'STAGE_UNSTAGE_VOLUME',
  'GET_VOLUME_STATS',
  'EXPAND_VOLUME',
  'SINGLE_NODE_MULTI_WRITER',
];

export interface NodeOptions extends NodeContext {
  readonly nodeId: string;
  /** The topology value: the `node` of the pool on this machine. */
  readonly topologyNode: string;
  /** How many volumes can be devices here at a time, for the scheduler. */
  readonly maximumVolumes: number;
}

export type ServedNode = Omit<Node, 'nodeGetVolumeHealth' | 'nodeGetStorageHealth'>;

/** Without locks: src/csi/locking.ts puts them around it. */
export function createNode(options: NodeOptions): ServedNode {
  return {
    async nodeStageVolume(request) {
      await stageVolume(options, request);
      return {};
    },
    async nodeUnstageVolume(request) {
      await unstageVolume(options, request);
      return {};
    },
    async nodePublishVolume(request) {
      await publishVolume(options, request);
      return {};
    },
    async nodeUnpublishVolume(request) {
      await unpublishVolume(options, request);
      return {};
    },
    async nodeGetVolumeStats(request) {
      return { usage: await volumeStats(options, request) };
    },
    async nodeExpandVolume(request) {
      return { capacityBytes: await expandVolume(options, request) };
    },
    nodeGetCapabilities: () => Promise.resolve({ capabilities: CAPABILITIES.map((type) => ({ rpc: { type } })) }),
    nodeGetInfo: () => {
      const { nodeId, topologyNode, maximumVolumes } = options;
      return Promise.resolve({ nodeId, maxVolumesPerNode: maximumVolumes, accessibleTopology: topologyOf(topologyNode) });
    },
  };
}
