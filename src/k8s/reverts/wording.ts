/** Words of conditions and events. Kubernetes limits an event's note to 1,024 bytes, and people want one line. */
import type { PersistentVolumeClaim, Pod } from '../resources.ts';

const MOST_PODS_NAMED = 5;
const LONGEST_MESSAGE = 800;

/** On one line, and not too long: parts of it may come from users and stores. */
export function sentence(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length <= LONGEST_MESSAGE ? line : `${line.slice(0, LONGEST_MESSAGE - 1)}…`;
}

/** A name as a user wrote it. */
export function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 253));
}

/** The pods that may have the claim's volume attached, sorted by name: those that name it, or that it was made for. */
export function podsUsing(claimName: string, pods: readonly Pod[]): readonly string[] {
  const uses = ({ metadata, spec }: Pod): boolean =>
    (spec.volumes ?? []).some(
      ({ name, persistentVolumeClaim, ephemeral }) =>
        persistentVolumeClaim?.claimName === claimName || (ephemeral !== undefined && `${metadata.name}-${name}` === claimName),
    );
  const ended = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed';
  return pods
    .filter((pod) => uses(pod) && !ended(pod))
    .map(({ metadata }) => metadata.name)
    .toSorted();
}

/** What stands in the way of a revert while the volume is attached. `podNames` null: they could not be listed. */
export function inUse(claimName: string, podNames: readonly string[] | null): string {
  const wait = 'The revert waits until the volume is detached';
  if (podNames === null) return `the volume of the claim ${quoted(claimName)} is attached. ${wait}.`;
  if (podNames.length === 0) return `the volume of the claim ${quoted(claimName)} is still attached, but no pod uses it any more. ${wait}.`;
  const named = podNames.slice(0, MOST_PODS_NAMED).join(', ');
  const more = podNames.length > MOST_PODS_NAMED ? ` and ${podNames.length - MOST_PODS_NAMED} more` : '';
  const noun = podNames.length === 1 ? 'the pod' : 'the pods';
  return `${noun} ${named}${more} use${podNames.length === 1 ? 's' : ''} the claim ${quoted(claimName)}. ${wait}: stop ${podNames.length === 1 ? 'it' : 'them'}.`;
}

/** The claim as the object of an event, also after it was deleted. */
export function claimObject(namespace: string, name: string, uid: string): PersistentVolumeClaim {
  return { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { namespace, name, uid }, spec: {} };
}
