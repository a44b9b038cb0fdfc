/** How a scrub and what it found are told to people. */
import type { ClientDamage, ScrubStatus } from '../store/wire/scrub-messages.ts';
import { counted, formatBytes, formatTable, formatTime, percentOf } from './output.ts';

export interface ScrubReport {
  readonly status: ScrubStatus;
  readonly damage: ClientDamage;
  readonly pool: { readonly sizeBytes: number; readonly chunkSizeBytes: number };
}

export function scrubLines({ status, damage, pool }: ScrubReport): string[] {
  const { completedAtMs, completedBytes, protectedBytes } = status;
  return [
    presentLine(status, pool.sizeBytes),
    completedAtMs === 0
      ? 'no verifying pass has come to its end yet'
      : `the last verifying pass ended at ${formatTime(completedAtMs)}; it compared ${formatBytes(completedBytes)}`,
    `${formatBytes(protectedBytes)} have a checksum: what snapshots hold, as far as it was read once`,
    ...damageLines(status, damage, pool.chunkSizeBytes),
  ];
}

/** How far the verifying pass came, as long as it runs. */
export function progressLine(status: ScrubStatus, poolSizeBytes: number): string {
  const compared = `${formatBytes(status.verifiedBytes)} compared, ${formatBytes(status.sealedBytes)} given a checksum`;
  return `${percentOf(status.positionBytes, poolSizeBytes)} % of the pool: ${compared}`;
}

function presentLine(status: ScrubStatus, poolSizeBytes: number): string {
  const { running, startedAtMs } = status;
  const progress = progressLine(status, poolSizeBytes);
  if (running === 'verify') return `a verifying pass is under way since ${formatTime(startedAtMs)}: ${progress}`;
  const stopped = startedAtMs === 0 ? '' : `a verifying pass was stopped at ${progress}`;
  if (running === 'seal') return `a pass gives checksums to what is new${stopped === '' ? '' : `; ${stopped}`}`;
  return stopped === '' ? 'no pass is under way' : stopped;
}

function damageLines({ damagedChunks }: ScrubStatus, damage: ClientDamage, chunkSizeBytes: number): string[] {
  if (damagedChunks === 0) return ['no damage is known'];
  const rows = damage.chunks.flatMap((chunk) => chunk.places.map((place) => ({ ...place, damage: chunk.damage })));
  const table = formatTable(rows, [
    { title: 'NAME', text: ({ name }) => name },
    { title: 'KIND', text: ({ kind }) => kind },
    { title: 'OFFSET', text: ({ offsetBytes }) => String(offsetBytes), right: true },
    { title: 'LENGTH', text: () => String(chunkSizeBytes), right: true },
    { title: 'DAMAGE', text: (row) => row.damage },
    { title: 'ID', text: ({ id }) => id },
  ]);
  return [
    `${counted(damagedChunks, 'chunk')} of the pool ${damagedChunks === 1 ? 'is' : 'are'} damaged, in these places (in bytes):`,
    '',
    ...(rows.length === 0 ? ['of no volume or snapshot any more: it goes away by itself'] : table),
    ...(damage.more ? ['and more'] : []),
    '',
    ...(rows.length === 0 ? [] : REMEDIES),
  ];
}

const REMEDIES = [
  'The pool has no second copy of them. In a volume, write the file that lies there anew, from a backup or from a clone of a',
  'snapshot that is not in the list. A snapshot cannot be mended: delete it when you can do without. Damage that nothing',
  "refers to any more is forgotten. Then look at the disk (the kernel's log, smartctl), and replace it when there is more.",
];
