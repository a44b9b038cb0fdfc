/** How defragmenting a volume is told to people. */
import type { ClientDefragment } from '../store/wire/defragment-messages.ts';
import { counted, formatBytes, formatTime, percentOf } from './output.ts';

export function defragmentLines(name: string, status: ClientDefragment): string[] {
  const { state, startedAtMs, endedAtMs } = status;
  const volume = `volume ${name}`;
  const done = `${formatBytes(status.movedBytes)} moved, ${piecesLine(status)}`;
  const ended = `at ${formatTime(endedAtMs)}, ${placeLine(status)}: ${done}`;
  switch (state) {
    case 'never':
      return [`${volume} was not defragmented since the start of the store`];
    case 'running':
      return [`${volume} is being defragmented since ${formatTime(startedAtMs)}: ${progressLine(status)}`];
    case 'done':
      return [`${volume} was defragmented by ${formatTime(endedAtMs)}, in ${formatSeconds(endedAtMs - startedAtMs)}: ${done}`];
    case 'stopped':
      return [`defragmenting ${volume} was stopped ${ended}`];
    case 'out-of-space':
      return [
        `defragmenting ${volume} ended early ${ended}`,
        'The pool would have had less than a sixteenth of its space free. Delete snapshots, or enlarge the pool; then begin it again:',
        'what was moved stays, and the rest is done.',
      ];
    case 'deleted':
      return [`${volume} was deleted while it was defragmented`];
    case 'failed':
      return [`defragmenting ${volume} ended ${ended}: the disk of the pool failed`];
  }
}

export function progressLine(status: ClientDefragment): string {
  return `${placeLine(status)}: ${formatBytes(status.movedBytes)} moved, ${piecesLine(status)}`;
}

function placeLine({ positionBytes, sizeBytes }: ClientDefragment): string {
  return `${percentOf(positionBytes, sizeBytes)} % of ${formatBytes(sizeBytes)}`;
}

function piecesLine({ foundPieces, leftPieces }: ClientDefragment): string {
  return `${counted(foundPieces, 'piece')} on the disk became ${leftPieces}`;
}

function formatSeconds(timeMs: number): string {
  return `${(timeMs / 1000).toFixed(1)} s`;
}
