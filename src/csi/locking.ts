/**
 * Locks around the services: a second call on the same volume, snapshot or name while one runs is `busy` (ABORTED), as
 * CSI wants it. Sources are shared: many snapshots and clones of one volume may be made at once, but not while it is
 * deleted or grown. These locks spare work; that nothing happens twice is up to the stores, since several controllers may run.
 */
import type { ServedController } from './controller/controller.ts';
import type { Node } from './generated/messages.ts';
import type { ServedNode } from './node/node.ts';
import type { BusyLocks } from '../util/busy-locks.ts';

export function lockedController(service: ServedController, locks: BusyLocks): ServedController {
  return {
    ...service,
    createVolume: (request) => {
      const source = request.volumeContentSource;
      const shared = [...keys('volume', source?.volume?.volumeId), ...keys('snapshot', source?.snapshot?.snapshotId)];
      return locks.with({ exclusive: keys('volume named', request.name), shared }, () => service.createVolume(request));
    },
    deleteVolume: (request) => locks.with({ exclusive: keys('volume', request.volumeId) }, () => service.deleteVolume(request)),
    controllerExpandVolume: (request) =>
      locks.with({ exclusive: keys('volume', request.volumeId) }, () => service.controllerExpandVolume(request)),
    createSnapshot: (request) =>
      locks.with({ exclusive: keys('snapshot named', request.name), shared: keys('volume', request.sourceVolumeId) }, () =>
        service.createSnapshot(request),
      ),
    deleteSnapshot: (request) => locks.with({ exclusive: keys('snapshot', request.snapshotId) }, () => service.deleteSnapshot(request)),
  };
}

export function lockedNode(service: ServedNode, locks: BusyLocks): ServedNode {
  type VolumeCall = 'nodeStageVolume' | 'nodeUnstageVolume' | 'nodePublishVolume' | 'nodeUnpublishVolume' | 'nodeExpandVolume';
  const locked = <Name extends VolumeCall>(name: Name): Node[Name] => {
    const call = service[name] as (request: { readonly volumeId: string }) => Promise<object>;
    const around = (request: { readonly volumeId: string }): Promise<object> =>
      locks.with({ exclusive: keys('volume', request.volumeId) }, () => call(request));
    return around as Node[Name];
  };
  return {
    ...service,
    nodeStageVolume: locked('nodeStageVolume'),
    nodeUnstageVolume: locked('nodeUnstageVolume'),
    nodePublishVolume: locked('nodePublishVolume'),
    nodeUnpublishVolume: locked('nodeUnpublishVolume'),
    nodeExpandVolume: locked('nodeExpandVolume'),
  };
}

/** A request that names nothing is not locked: it will be refused, and must not be in another's way. */
function keys(kind: string, name: string | undefined): readonly string[] {
  return name === undefined || name === '' ? [] : [`${kind} ${JSON.stringify(name)}`];
}
