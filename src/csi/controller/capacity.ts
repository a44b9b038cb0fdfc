/**
 * GetCapacity: what is left of the provisioning budget, since the scheduler compares it with the full size of a claim,
 * also of a clone that takes no space.
 */
import type { GetCapacityRequest, GetCapacityResponse, Topology } from '../generated/messages.ts';
import type { Store, StoreDirectory } from '../ports.ts';
import type { Sendable } from '../proto.ts';
import { requireVolumeUse, type VolumeUse } from '../request/capabilities.ts';
import { requireVolumeParameters } from '../request/parameters.ts';
import { minimumSizeBytes, roundDown } from '../request/sizes.ts';
import { requireNode, roomBytes } from './placement.ts';

export async function getCapacity(directory: StoreDirectory, request: GetCapacityRequest): Promise<Sendable<GetCapacityResponse>> {
  const { fileSystem } = requireVolumeParameters(request.parameters);
  const asked: VolumeUse =
    request.volumeCapabilities.length === 0
      ? { access: 'mount', fileSystem: null }
      : requireVolumeUse(request.volumeCapabilities, 'volume_capabilities');
  const minimumBytes = minimumSizeBytes({ ...asked, fileSystem: asked.fileSystem ?? fileSystem });

  const stores = await storesWithin(directory, request.accessibleTopology);
  const pools = await Promise.all(stores.map((store) => store.getPool()));
  const rooms = pools.map((pool) => roundDown(roomBytes(pool))).filter((room) => room >= minimumBytes);
  return {
    availableCapacity: rooms.reduce((sum, room) => sum + room, 0),
    // A volume does not span pools.
    maximumVolumeSize: { value: Math.max(0, ...rooms) },
    minimumVolumeSize: { value: minimumBytes },
  };
}

async function storesWithin(directory: StoreDirectory, topology: Topology | null): Promise<readonly Store[]> {
  if (topology === null || Object.keys(topology.segments).length === 0) return directory.all();
  const store = await directory.ofNode(requireNode(topology, 'accessible_topology'));
  return store === null ? [] : [store];
}
