/**
 * The language between the keeper and its clients: one JSON message, with descriptors, a packet on a SOCK_SEQPACKET
 * socket. The client asks, one request at a time; the keeper answers each with the same `id`. The first request is
 * `hello`; a keeper of another version answers it with an error that says so.
 *
 * The keeper outlives many versions of the store, so what changes incompatibly raises the version, and unknown fields
 * are ignored.
 */
import { StoreError } from '../util/errors.ts';

export const keeperProtocolVersion = 1;

/** `store` puts, gets and drops; `node` and `operator` only look and get. */
export type KeeperRole = 'store' | 'node' | 'operator';

/** What the owner wants to remember of what it put: strings and numbers, a few. */
export type KeeperMetadata = Readonly<Record<string, string | number | boolean>>;

export type KeeperRequest =
  /** `pool` is the pool's id: keys of different pools never meet. Said again with `leaving` by a store that is about to let
   * go of all that it has: from the answer on the keeper knows that no other keeper will get it from there. */
  | {
      readonly type: 'hello';
      readonly id: number;
      readonly version: number;
      readonly role: KeeperRole;
      readonly pool: string;
      readonly leaving?: boolean;
    }
  /** Carries the descriptors. What the key held before is replaced. */
  | { readonly type: 'put'; readonly id: number; readonly key: string; readonly metadata: KeeperMetadata }
  /** Answered with the descriptors at these places of what was put; all of them when `places` is missing. */
  | { readonly type: 'get'; readonly id: number; readonly key: string; readonly places?: readonly number[] }
  /** Keys after `after` in order, a page at a time. */
  | { readonly type: 'list'; readonly id: number; readonly after: string }
  /** Done also when there is no such key. */
  | { readonly type: 'drop'; readonly id: number; readonly key: string };

export interface KeeperEntry {
  readonly key: string;
  readonly metadata: KeeperMetadata;
  readonly descriptors: number;
}

export type KeeperAnswer =
  /** `instance` differs between any two keeper processes. */
  | { readonly type: 'welcome'; readonly id: number; readonly version: number; readonly instance: string }
  | { readonly type: 'done'; readonly id: number }
  /** To `get`; metadata null when there is no such key. */
  | { readonly type: 'held'; readonly id: number; readonly metadata: KeeperMetadata | null }
  | { readonly type: 'page'; readonly id: number; readonly entries: readonly KeeperEntry[]; readonly more: boolean }
  | { readonly type: 'error'; readonly id: number; readonly code: KeeperErrorCode; readonly message: string };

export type KeeperErrorCode = 'invalid-argument' | 'failed-precondition' | 'no-space';

export const maximumKeyBytes = 128;
/** A pool's id has 26. */
export const maximumPoolBytes = 128;
export const maximumMetadataBytes = 4096;
export const entriesInPage = 12; // twelve entries of the largest metadata fit a message

export function encodeMessage(message: KeeperRequest | KeeperAnswer): Uint8Array {
  return Buffer.from(JSON.stringify(message), 'utf8');
}

/** Null when the bytes are no request. */
export function decodeRequest(bytes: Uint8Array): KeeperRequest | null {
  const value = decodeObject(bytes);
  if (value === null) return null;
  const { type } = value;
  const isKey = typeof value['key'] === 'string' && value['key'] !== '' && Buffer.byteLength(value['key']) <= maximumKeyBytes;
  const valid =
    (type === 'hello' &&
      typeof value['version'] === 'number' &&
      typeof value['role'] === 'string' &&
      typeof value['pool'] === 'string' &&
      Buffer.byteLength(value['pool']) <= maximumPoolBytes &&
      isFlag(value['leaving'])) ||
    (type === 'put' && isKey && isMetadata(value['metadata'])) ||
    (type === 'get' && isKey && (value['places'] === undefined || isPlaces(value['places']))) ||
    (type === 'list' && typeof value['after'] === 'string') ||
    (type === 'drop' && isKey);
  return valid ? (value as unknown as KeeperRequest) : null;
}

/** Throws a StoreError when the bytes are no answer: then something else listens on the keeper's socket. */
export function decodeAnswer(bytes: Uint8Array): KeeperAnswer {
  const value = decodeObject(bytes);
  const types: readonly unknown[] = ['welcome', 'done', 'held', 'page', 'error'];
  if (value === null || !types.includes(value.type)) {
    throw new StoreError('failed-precondition', "what listens on the keeper's socket is no keeper");
  }
  return value as unknown as KeeperAnswer;
}

interface AnyMessage extends Record<string, unknown> {
  readonly type: string;
  readonly id: number;
}

function decodeObject(bytes: Uint8Array): AnyMessage | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof value !== 'object' || value === null) return null;
    const message = value as Record<string, unknown>;
    return typeof message['type'] === 'string' && typeof message['id'] === 'number' ? (message as AnyMessage) : null;
  } catch {
    return null;
  }
}

function isMetadata(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  if (Buffer.byteLength(JSON.stringify(value)) > maximumMetadataBytes) return false;
  return Object.values(value).every((field) => ['string', 'number', 'boolean'].includes(typeof field));
}

function isFlag(value: unknown): boolean {
  return value === undefined || typeof value === 'boolean';
}

function isPlaces(value: unknown): boolean {
  return Array.isArray(value) && value.every((place) => Number.isInteger(place) && place >= 0);
}
