/**
 * The one place that knows the gRPC codes of CSI calls. A StoreError's message is written for the caller and is passed
 * on; anything else is a bug or a surprise of ours, of which the caller learns only where to look.
 */
import { status } from '@grpc/grpc-js';
import { StoreError, type ErrorCode } from '../util/errors.ts';
import { oneLine } from '../util/one-line.ts';

export interface CallStatus {
  readonly code: status;
  readonly details: string;
}

export interface CallIdentity {
  /** "CreateVolume": the name in the specification. */
  readonly method: string;
  readonly requestId: string;
}

/** CSI 1.13, "Error Scheme": the codes are the same for all calls, but for the exceptions below. */
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

const EXCEPTIONS: Readonly<Record<string, Partial<Readonly<Record<ErrorCode, status>>>>> = {
  // The snapshotter takes RESOURCE_EXHAUSTED for an attempt that may still succeed, and then never lets the
  // VolumeSnapshot be deleted. A full pool is final until somebody makes room.
  CreateSnapshot: { 'no-space': status.FAILED_PRECONDITION },
  // So does the resizer (v2.3): it would insist on the size that it asked for, whatever smaller one the claim asks for
  // since. After OUT_OF_RANGE it takes the claim at its word, and otherwise tries again at its slowest pace.
  ControllerExpandVolume: { 'no-space': status.OUT_OF_RANGE },
};

/** gRPC puts the message into a header, which clients limit to some KiB. */
const MAXIMUM_DETAILS_LENGTH = 1_024;

export function toStatus(error: unknown, call: CallIdentity): CallStatus {
  if (!(error instanceof StoreError)) {
    return { code: status.INTERNAL, details: `internal error in ${call.method}; the driver's log has it under request ${call.requestId}` };
  }
  const code = EXCEPTIONS[call.method]?.[error.code] ?? STATUS_OF[error.code];
  // One line: whatever a program printed behind its first line is for the log.
  return { code, details: oneLine(error.message, { maximumLength: MAXIMUM_DETAILS_LENGTH }) };
}

/** For the log: "OK", "NOT_FOUND". */
export function codeName(code: status): string {
  return status[code];
}
