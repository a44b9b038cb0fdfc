/** What passes over the pool tell, as messages of proto/store.proto and back. */
import type { DamagedPlace, DamageReport, ObjectId, ObjectKind, ScrubMode, ScrubStatus } from '../../engine/control.ts';
import { StoreError } from '../../util/errors.ts';
import { wireId } from './ids.ts';
import type { DamagedPlaceMessage, DamageMessage, ScrubMessage, ScrubModeMessage } from './messages.ts';

export type { ScrubStatus } from '../../engine/control.ts';

/** Far below the largest message. */
const MOST_PLACES = 50_000;

const MODES: Readonly<Record<ScrubModeMessage, ScrubMode | null>> = {
  SCRUB_MODE_UNSPECIFIED: null,
  SCRUB_MODE_VERIFY: 'verify',
  SCRUB_MODE_SEAL: 'seal',
};

/** What is damaged, with ids as on the wire. */
export interface ClientDamage {
  readonly chunks: readonly {
    readonly dataOffsetBytes: number;
    readonly damage: 'changed' | 'unreadable';
    readonly places: readonly { readonly id: string; readonly kind: ObjectKind; readonly name: string; readonly offsetBytes: number }[];
  }[];
  /** The lists are not whole. */
  readonly more: boolean;
}

export function scrubMessage(status: ScrubStatus): ScrubMessage {
  return { ...status, running: modeMessage(status.running) };
}

export function scrubStatusOf(message: ScrubMessage): ScrubStatus {
  return { ...message, running: scrubModeOf(message.running) };
}

/** Null: unspecified. A number of no name, from a caller of another version, is `invalid-argument`. */
export function scrubModeOf(message: ScrubModeMessage): ScrubMode | null {
  if (!Object.hasOwn(MODES, message)) throw new StoreError('invalid-argument', `there is no scrub mode ${message}`);
  return MODES[message];
}

export function damageMessage(poolId: ObjectId, report: DamageReport): DamageMessage {
  let placesLeft = MOST_PLACES;
  let { more } = report;
  const chunks = report.chunks.map(({ dataOffsetBytes, damage, places }) => {
    const shown = places.slice(0, placesLeft);
    placesLeft -= shown.length;
    more ||= shown.length < places.length;
    return {
      dataOffsetBytes,
      damage: damage === 'changed' ? ('DAMAGE_CHANGED' as const) : ('DAMAGE_UNREADABLE' as const),
      places: shown.map((place) => placeMessage(poolId, place)),
    };
  });
  return { chunks, more };
}

export function damageOf(message: DamageMessage): ClientDamage {
  return {
    chunks: message.chunks.map(({ dataOffsetBytes, damage, places }) => ({
      dataOffsetBytes,
      damage: damage === 'DAMAGE_UNREADABLE' ? 'unreadable' : 'changed',
      places: places.map(({ id, kind, name, offsetBytes }) => ({
        id,
        kind: kind === 'KIND_VOLUME' ? 'volume' : 'snapshot',
        name,
        offsetBytes,
      })),
    })),
    more: message.more,
  };
}

function modeMessage(mode: ScrubMode | null): ScrubModeMessage {
  if (mode === null) return 'SCRUB_MODE_UNSPECIFIED';
  return mode === 'verify' ? 'SCRUB_MODE_VERIFY' : 'SCRUB_MODE_SEAL';
}

function placeMessage(poolId: ObjectId, { id, kind, name, offsetBytes }: DamagedPlace): DamagedPlaceMessage {
  return { id: wireId(poolId, id), kind: kind === 'volume' ? 'KIND_VOLUME' : 'KIND_SNAPSHOT', name, offsetBytes };
}
