/** What is told of defragmenting, as a message of proto/store.proto and back. */
import type { DefragmentState, DefragmentStatus, ObjectId } from '../../engine/control.ts';
import { StoreError } from '../../util/errors.ts';
import { wireId } from './ids.ts';
import type { DefragmentMessage, DefragmentStateMessage } from './messages.ts';

/** The same with the id as on the wire. */
export interface ClientDefragment extends Omit<DefragmentStatus, 'id'> {
  readonly id: string;
}

const MESSAGES: Readonly<Record<DefragmentState, DefragmentStateMessage>> = {
  never: 'DEFRAGMENT_STATE_UNSPECIFIED',
  running: 'DEFRAGMENT_STATE_RUNNING',
  done: 'DEFRAGMENT_STATE_DONE',
  stopped: 'DEFRAGMENT_STATE_STOPPED',
  'out-of-space': 'DEFRAGMENT_STATE_OUT_OF_SPACE',
  deleted: 'DEFRAGMENT_STATE_DELETED',
  failed: 'DEFRAGMENT_STATE_FAILED',
};

const STATES = new Map(Object.entries(MESSAGES).map(([state, message]) => [message, state as DefragmentState]));

export function defragmentMessage(poolId: ObjectId, { id, state, ...figures }: DefragmentStatus): DefragmentMessage {
  return { ...figures, id: id === null ? '' : wireId(poolId, id), state: MESSAGES[state] };
}

/** A number of no name, from a store of another version, is `failed-precondition`. */
export function defragmentOf(message: DefragmentMessage): ClientDefragment {
  const state = STATES.get(message.state);
  if (state === undefined)
    throw new StoreError('failed-precondition', `the store tells of a state ${message.state} that this program does not know`);
  return { ...message, state };
}
