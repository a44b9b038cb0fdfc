/** The controller's calls on volumes that exist. */
import type { Controller } from '../generated/messages.ts';
import { misfit, recordedUse, requireVolumeUse } from '../request/capabilities.ts';
import { invalid, missing, requireId } from '../request/fields.ts';
import { page } from '../request/paging.ts';
import { requireVolumeParameters } from '../request/parameters.ts';
import { grownSizeBytes, requireSizeRange } from '../request/sizes.ts';
import { StoreError } from '../../util/errors.ts';
import { createVolume, type CreationPorts } from './creation.ts';
import { findVolume, storeOf, volumeMessage } from './lookup.ts';

type VolumeCalls = Pick<
  Controller,
  'createVolume' | 'deleteVolume' | 'validateVolumeCapabilities' | 'listVolumes' | 'controllerGetVolume' | 'controllerExpandVolume'
>;

export function volumeCalls(ports: CreationPorts): VolumeCalls {
  const { directory } = ports;
  return {
    createVolume: (request) => createVolume(ports, request),

    async deleteVolume(request) {
      const id = requireId(request.volumeId, 'volume_id');
      const store = await storeOf(directory, id);
      await store?.deleteVolume(id);
      return {};
    },

    async validateVolumeCapabilities(request) {
      const id = requireId(request.volumeId, 'volume_id');
      if (request.volumeCapabilities.length === 0) throw missing('volume_capabilities');
      const { volume } = await findVolume(directory, id);
      const problem = unsupported(() => {
        const use = requireVolumeUse(request.volumeCapabilities, 'volume_capabilities');
        requireVolumeParameters(request.parameters);
        const recorded = recordedUse(volume.attributes);
        return recorded === null ? null : misfit(recorded, use);
      });
      if (problem !== null) return { message: problem };
      const { volumeContext, volumeCapabilities, parameters } = request;
      return { confirmed: { volumeContext, volumeCapabilities, parameters } };
    },

    async listVolumes(request) {
      const stores = await directory.all();
      const lists = await Promise.all(
        stores.map(async (store) => {
          const [pool, volumes] = await Promise.all([store.getPool(), store.listVolumes()]);
          return volumes.map((volume) => ({ id: volume.id, volume, pool }));
        }),
      );
      const { items, nextToken } = page(lists.flat(), request, 'volumes');
      return { entries: items.map(({ volume, pool }) => ({ volume: volumeMessage(volume, pool), status: {} })), nextToken };
    },

    async controllerGetVolume(request) {
      const { store, volume } = await findVolume(directory, requireId(request.volumeId, 'volume_id'));
      // Where it is published is not the controller's to know: there is no ControllerPublishVolume.
      return { volume: volumeMessage(volume, await store.getPool()), status: {} };
    },

    async controllerExpandVolume(request) {
      const id = requireId(request.volumeId, 'volume_id');
      if (request.capacityRange === null) throw missing('capacity_range');
      const range = requireSizeRange(request.capacityRange, 'capacity_range');
      const use = request.volumeCapability === null ? null : requireVolumeUse([request.volumeCapability], 'volume_capability');
      const { store, volume } = await findVolume(directory, id);
      const recorded = recordedUse(volume.attributes);
      const problem = use === null || recorded === null ? null : misfit(recorded, use);
      if (problem !== null) throw invalid('volume_capability', `does not fit the volume: ${problem}`);
      const sizeBytes = grownSizeBytes(range, volume.sizeBytes);
      const grown = sizeBytes === volume.sizeBytes ? volume : await store.resizeVolume(id, sizeBytes);
      // A block volume too: its device must learn the new size.
      return { capacityBytes: grown.sizeBytes, nodeExpansionRequired: true };
    },
  };
}

/** The words of a refusal, whether returned or thrown: this call answers whether something would be refused. */
function unsupported(check: () => string | null): string | null {
  try {
    return check();
  } catch (error) {
    if (error instanceof StoreError && error.code === 'invalid-argument') return error.message;
    throw error;
  }
}
