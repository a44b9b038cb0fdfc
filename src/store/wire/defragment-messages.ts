/** What is told of defragmenting, as a message of proto/store.proto and back. */
import type { DefragmentState, DefragmentStatus, ObjectId } from '../../engine/control.ts';
import { StoreError } from '../../util/errors.ts';
import { wireId } from './ids.ts';
import type { DefragmentMessage, DefragmentStateMessage } from './messages.ts';

/** The same with the id as on the wire. */
export interface ClientDefragment extends Omit<DefragmentStatus, 'id'> {
  readonly id: string;
}

const STATES: Readonly<Record<DefragmentStateMessage, DefragmentState>> = {
  DEFRAGMENT_STATE_UNSPECIFIED: 'never',
  DEFRAGMENT_STATE_RUNNING: 'running',
  DEFRAGMENT_STATE_DONE: 'done',
  DEFRAGMENT_STATE_STOPPED: 'stopped',
  DEFRAGMENT_STATE_OUT_OF_SPACE: 'out-of-space',
  DEFRAGMENT_STATE_DELETED: 'deleted',
  DEFRAGMENT_STATE_FAILED: 'failed',
};

const MESSAGES: Readonly<Record<DefragmentState, DefragmentStateMessage>> = {
  never: 'DEFRAGMENT_STATE_UNSPECIFIED',
  running: 'DEFRAGMENT_STATE_RUNNING',
  done: 'DEFRAGMENT_STATE_DONE',
  stopped: 'DEFRAGMENT_STATE_STOPPED',
  'out-of-space': 'DEFRAGMENT_STATE_OUT_OF_SPACE',
  deleted: 'DEFRAGMENT_STATE_DELETED',
  failed: 'DEFRAGMENT_STATE_FAILED',
};

export function defragmentMessage(poolId: ObjectId, { id, state, ...figures }: DefragmentStatus): DefragmentMessage {
  return { ...figures, id: id === null ? '' : wireId(poolId, id), state: MESSAGES[state] };
}

/** A number of no name, from a store of another version, is `failed-precondition`. */
export function defragmentOf(message: DefragmentMessage): ClientDefragment {
  if (!Object.hasOwn(STATES, message.state))
    throw new StoreError('failed-precondition', `the store tells of a state ${message.state} that this program does not know`);
  return { ...message, state: STATES[message.state] };
}
