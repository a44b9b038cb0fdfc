/** What a person looks at first when something does not come about: states, events and the last words of the programs. */
import type { Api, Fields, Manifest } from './api.ts';

const eventsShown = 12;
const logLinesShown = 6;

/** The state of the pods and claims of a namespace, its events, and the ends of its pods' logs. Never fails. */
export async function explainNamespace(api: Api, namespace: string): Promise<string> {
  try {
    const [pods, claims, snapshots, events] = await Promise.all([
      api.list('Pod', { namespace }),
      api.list('PersistentVolumeClaim', { namespace }),
      api.list('VolumeSnapshot', { namespace }),
      api.list('Event', { namespace }),
    ]);
    const logs = await Promise.all(pods.map((pod) => lastLines(api, pod)));
    return [
      ...claims.map(({ metadata, status }) => `claim ${metadata.name}: ${status?.phase}`),
      ...snapshots.map(
        ({ metadata, status }) => `snapshot ${metadata.name}: ready ${status?.readyToUse}, ${status?.error?.message ?? 'no error'}`,
      ),
      ...pods.map(describePod),
      ...newestEvents(events),
      ...logs.flat(),
    ].join('\n');
  } catch (error) {
    return `(the namespace ${namespace} cannot be looked at: ${String(error)})`;
  }
}

export function describePod({ metadata, spec, status }: Manifest): string {
  const containers: Fields[] = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  const states = containers.map(({ name, ready, restartCount, state, lastState }) => {
    const [kind, detail] = Object.entries((state ?? {}) as Fields)[0] ?? ['unknown', {}];
    const ended = lastState?.terminated;
    return [
      `${name} ${kind}${detail.reason === undefined ? '' : ` (${detail.reason}${detail.message === undefined ? '' : `: ${detail.message}`})`}`,
      ready === true ? '' : ', not ready',
      restartCount > 0 ? `, ${restartCount} restarts, the last after ${ended?.reason} with status ${ended?.exitCode}` : '',
    ].join('');
  });
  const unscheduled = status?.conditions?.find(
    (condition: Fields) => condition['type'] === 'PodScheduled' && condition['status'] === 'False',
  );
  const where = spec?.nodeName ?? `no node (${unscheduled?.message ?? 'not scheduled'})`;
  return `pod ${metadata.name} on ${where}: ${status?.phase}${states.length === 0 ? '' : `; ${states.join('; ')}`}`;
}

export function newestEvents(events: readonly Manifest[]): string[] {
  const time = (event: Manifest) => String(event['lastTimestamp'] ?? event['eventTime'] ?? event.metadata['creationTimestamp']);
  return [...events]
    .sort((one, other) => time(one).localeCompare(time(other)))
    .slice(-eventsShown)
    .map((event) => {
      const { kind, name } = event['involvedObject'];
      return `event ${time(event)} ${kind} ${name}: ${event['reason']}: ${String(event['message']).trim()} (${event['count'] ?? 1} times)`;
    });
}

async function lastLines(api: Api, pod: Manifest): Promise<string[]> {
  const { name, namespace = 'default' } = pod.metadata;
  const containers: Fields[] = pod['spec'].containers;
  const logs = await Promise.all(
    containers.map(async (container) => {
      const text = await api.logs({ namespace, pod: name, container: container['name'], lines: logLinesShown });
      return text.trim() === ''
        ? []
        : text
            .trim()
            .split('\n')
            .map((line) => `log ${name}/${container['name']}: ${line}`);
    }),
  );
  return logs.flat();
}
