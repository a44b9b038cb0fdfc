/**
 * The Distinguished Encoding Rules of ASN.1 (ITU-T X.690), as far as certificates and requests need them: a writer, and a
 * reader that takes a value apart one level at a time. What is read is believed only after it was written again and
 * compared (requests.ts), so the reader is short and refuses what it does not know.
 */
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';

/** Tags, with the bit for constructed values where DER has it. */
export const TAG = {
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** `[number]`, around or instead of a value, as X.509 calls its optional parts. */
export function contextTag(number: number, form: 'primitive' | 'constructed'): number {
  return (form === 'constructed' ? 0xa0 : 0x80) | number;
}

export function encode(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  return Buffer.concat([Buffer.from([tag]), encodeLength(content.length), content]);
}

function encodeLength(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const bytes = bigEndian(length);
  return Buffer.from([0x80 | bytes.length, ...bytes]);
}

function bigEndian(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return bytes;
}

export function sequence(...contents: readonly Buffer[]): Buffer {
  return encode(TAG.sequence, ...contents);
}

/** A number that is not negative, from its bytes, most significant first. */
export function unsignedInteger(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const digits = Buffer.from(bytes.subarray(start));
  return encode(TAG.integer, ...(digits[0]! >= 0x80 ? [Buffer.from([0])] : []), digits);
}

/** From the dotted form. */
export function objectIdentifier(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split('.').map(Number);
  assert(first !== undefined && second !== undefined, `${dotted} is an object identifier`);
  return encode(TAG.objectIdentifier, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const digits = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) digits.unshift((rest % 128) | 0x80);
  return digits;
}

/** Whole octets. */
export function bitString(octets: Buffer): Buffer {
  return encode(TAG.bitString, Buffer.from([0]), octets);
}

/** RFC 5280, 4.1.2.5: two digits of the year until 2049, four from then on; no fractions of a second. */
export function time(atMs: number): Buffer {
  const text = new Date(atMs).toISOString().replace(/[-:T]|\.\d+/g, '');
  const early = new Date(atMs).getUTCFullYear() < 2050;
  return encode(early ? TAG.utcTime : TAG.generalizedTime, Buffer.from(early ? text.slice(2) : text, 'ascii'));
}

export interface Value {
  readonly tag: number;
  readonly content: Buffer;
  /** With tag and length. */
  readonly whole: Buffer;
}

/** The values that stand one after another in `bytes`. Errors: invalid-argument. */
export function decodeAll(bytes: Buffer): readonly Value[] {
  const values: Value[] = [];
  for (let offset = 0; offset < bytes.length; offset += values.at(-1)!.whole.length) values.push(decodeAt(bytes, offset));
  return values;
}

function decodeAt(bytes: Buffer, offset: number): Value {
  const tag = bytes[offset];
  const first = bytes[offset + 1];
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) throw malformed();
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  const contentAt = offset + 2 + lengthBytes;
  if (first === 0x80 || lengthBytes > 3 || contentAt > bytes.length) throw malformed();
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(offset + 2, lengthBytes);
  const end = contentAt + length;
  if (end > bytes.length) throw malformed();
  return { tag, content: bytes.subarray(contentAt, end), whole: bytes.subarray(offset, end) };
}

/** The parts of a constructed value, of which there must be `count`. Errors: invalid-argument. */
export function decodeParts(value: Value | undefined, tag: number, count: number): readonly Value[] {
  if (value?.tag !== tag) throw malformed();
  const parts = decodeAll(value.content);
  if (parts.length !== count) throw malformed();
  return parts;
}

function malformed(): StoreError {
  return new StoreError('invalid-argument', 'not DER of the expected form');
}
