/**
 * The one place that knows gRPC status codes at the edge of proto/store.proto. A StoreError crosses the wire as a status
 * and, because several codes share one status, with its own code in the trailing metadata.
 */
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { StoreError, type ErrorCode } from '../../util/errors.ts';
import { oneLine } from '../../util/one-line.ts';

const METADATA_KEY = 'chunkstore-code';
/** gRPC puts the message into a header, which clients limit to some KiB: a longer one would end the connection. */
const MAXIMUM_DETAILS_LENGTH = 1_024;

const STATUS_OF: Readonly<Record<ErrorCode, status>> = {
  'invalid-argument': status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  'already-exists': status.ALREADY_EXISTS,
  'in-use': status.FAILED_PRECONDITION,
  busy: status.ABORTED,
  'out-of-range': status.OUT_OF_RANGE,
  'no-space': status.RESOURCE_EXHAUSTED,
  'failed-precondition': status.FAILED_PRECONDITION,
  unavailable: status.UNAVAILABLE,
  'data-loss': status.DATA_LOSS,
};

/** What a gRPC handler gives to its callback. */
export interface StatusError {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

/** The status of an error. Anything but a StoreError is a bug of ours: the caller learns no more than that. */
export function toStatus(error: unknown): StatusError {
  const metadata = new Metadata();
  if (!(error instanceof StoreError)) {
    return { code: status.INTERNAL, details: 'internal error in the store; its log says more', metadata };
  }
  metadata.set(METADATA_KEY, error.code);
  return { code: STATUS_OF[error.code], details: oneLine(error.message, { maximumLength: MAXIMUM_DETAILS_LENGTH }), metadata };
}

/** The StoreError that a call's failure stands for. A store that does not answer is `unavailable`; a status that no
 * store of ours sends is returned as it is. */
export function fromStatus(error: ServiceError, options: { readonly store: string }): Error {
  const code = error.metadata?.get(METADATA_KEY)[0];
  if (typeof code === 'string' && Object.hasOwn(STATUS_OF, code)) return new StoreError(code as ErrorCode, error.details, { cause: error });
  switch (error.code) {
    case status.UNAVAILABLE:
      return new StoreError(
        'unavailable',
        `the store at ${options.store} cannot be reached; it is starting or has stopped${lastErrorOf(error.details)}`,
        { cause: error },
      );
    case status.DEADLINE_EXCEEDED:
      return new StoreError('unavailable', `the store at ${options.store} did not answer in time`, { cause: error });
    case status.CANCELLED:
      return new StoreError('unavailable', `the call to the store at ${options.store} was cancelled`, { cause: error });
    case status.UNIMPLEMENTED:
      return new StoreError('failed-precondition', `the store at ${options.store} is of another version and does not know this call`, {
        cause: error,
      });
    default:
      return new Error(`store at ${options.store}: ${error.details}`, { cause: error });
  }
}

/**
 * What gRPC says of the last attempt to connect, for instance that a certificate is wrong; '' when it says nothing. Without
 * the time that it adds: these words end up in conditions and events, which are written anew whenever they change.
 */
function lastErrorOf(details: string): string {
  const reason = /Last error: (?:Error: )?(.*?)(?:\. Resolution note: .*)?$/s.exec(details)?.[1] ?? '';
  const lasting = reason.replace(/ \(\d{4}-\d\d-\d\dT[\d:.]+Z\)$/, '');
  return lasting === '' ? '' : ` (${lasting})`;
}
