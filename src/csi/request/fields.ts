/** Single fields of requests: present, well-formed, within the specification's limits. Errors name the field. */
import { isAbsolute, resolve } from 'node:path';
import { StoreError } from '../../util/errors.ts';

/** CSI 1.13, "Size Limits". */
const MAXIMUM_STRING_BYTES = 128;
const MAXIMUM_MAP_BYTES = 4_096;
/** CSI 1.13, VolumeCapability.MountVolume.mount_flags. */
const MAXIMUM_LIST_BYTES = 4_096;
/** Linux, PATH_MAX less its terminator. */
const MAXIMUM_PATH_BYTES = 4_095;

const ID = /^([a-z2-7]{26})\.[a-z2-7]{26}$/;
/** CSI 1.13, CreateVolumeRequest.name: control characters other than tab, line feed and carriage return. */
// oxlint-disable-next-line no-control-regex
const BANNED_IN_NAMES = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/;

/** The name of a new volume or snapshot. */
export function requireName(name: string, field: string): string {
  if (name === '') throw missing(field);
  if (Buffer.byteLength(name) > MAXIMUM_STRING_BYTES) throw invalid(field, `is longer than ${MAXIMUM_STRING_BYTES} bytes`);
  if (BANNED_IN_NAMES.test(name)) throw invalid(field, 'has a control character');
  return name;
}

/** Any id, well-formed or not: a malformed one names nothing that exists, which is for `poolIdOf` to find. */
export function requireId(id: string, field: string): string {
  if (id === '') throw missing(field);
  return id;
}

/** The pool id within the id of a volume or snapshot; null when it has not the form of our ids, so that nothing has it. */
export function poolIdOf(id: string): string | null {
  return ID.exec(id)?.[1] ?? null;
}

/** An absolute path, without a slash at its end and without dots. */
export function requirePath(path: string, field: string): string {
  if (path === '') throw missing(field);
  if (Buffer.byteLength(path) > MAXIMUM_PATH_BYTES) throw invalid(field, `is longer than ${MAXIMUM_PATH_BYTES} bytes`);
  if (path.includes('\0')) throw invalid(field, 'has a zero byte');
  if (!isAbsolute(path)) throw invalid(field, `is not an absolute path: ${JSON.stringify(path)}`);
  return resolve(path);
}

export function requireMapSize(map: Readonly<Record<string, string>>, field: string): void {
  const bytes = Object.entries(map).reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);
  if (bytes > MAXIMUM_MAP_BYTES) throw invalid(field, `is larger than ${MAXIMUM_MAP_BYTES} bytes`);
}

export function requireListSize(list: readonly string[], field: string): void {
  const bytes = list.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes > MAXIMUM_LIST_BYTES) throw invalid(field, `is larger than ${MAXIMUM_LIST_BYTES} bytes`);
}

export function requireMaximumEntries(count: number): number {
  if (count < 0) throw invalid('max_entries', 'is negative');
  return count;
}

export function missing(field: string): StoreError {
  return new StoreError('invalid-argument', `${field} is missing`);
}

export function invalid(field: string, problem: string): StoreError {
  return new StoreError('invalid-argument', `${field} ${problem}`);
}

export function noVolume(id: string): StoreError {
  return new StoreError('not-found', `there is no volume ${JSON.stringify(id)}`);
}

export function noSnapshot(id: string): StoreError {
  return new StoreError('not-found', `there is no snapshot ${JSON.stringify(id)}`);
}
