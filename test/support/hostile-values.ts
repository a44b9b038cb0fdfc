/** Text, numbers and bytes as somebody sends them who means no good, or whose memory is damaged. */
import type { SeededRandom } from './seeded-random.ts';

/** Bytes of a protobuf string: not always valid UTF-8. */
export function hostileText(random: SeededRandom): Buffer {
  switch (random.below(12)) {
    case 0:
      return Buffer.alloc(random.pick([127, 128, 129, 255, 256, 257, 4_095, 4_096, 65_536]), random.pick(['a', '/', '.', '0']));
    case 1:
      return Buffer.from(
        random.pick(['../../../etc/passwd', '..', '.', '/', '//', '~', '/proc/self/mem', 'file:///etc', 'C:\\x', 'a/../b']),
      );
    case 2:
      return Buffer.from(
        random.pick(['a\0b', '\0', 'line\nfeed', '\r\n\r\n', '\t', '\u007f', '\u009f', '\u001b[31m', '"quoted"', "'", '\\']),
      );
    case 3:
      // An odd number before, so that whoever cuts at a power of two cuts a surrogate pair.
      return Buffer.from('x'.repeat(random.below(4)) + '😀'.repeat(random.between(1, 1_500)));
    case 4:
      return Buffer.from(
        random.pick(['ü'.repeat(64), 'é', '\u202egnp.exe', '\ufeff', '\uffff', 'ﷺ'.repeat(50), 'a\u0300'.repeat(64), 'ß İ ı']),
      );
    case 5:
      // Surrogates and bytes that no UTF-8 has.
      return random.pick([
        Buffer.from([0xed, 0xa0, 0x80]),
        Buffer.from([0xff, 0xfe]),
        Buffer.from([0xc0, 0x80]),
        Buffer.from([0xf0, 0x9f]),
      ]);
    case 6:
      return Buffer.from(random.pick(['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'null', 'undefined', 'NaN', 'true']));
    case 7:
      return Buffer.from(random.pick(['-rf', '--help', '-o', '$(id)', '`id`', ';id', '|id', '&', '%s%n%x', '*', "' OR 1=1 --", '{{7*7}}']));
    case 8:
      return Buffer.from(`${'a'.repeat(26)}.${'b'.repeat(random.pick([25, 26, 27]))}${random.pick(['', '.', '/', '\n', '.c'])}`);
    case 9:
      return Buffer.from(random.pick(['-1', '0', '1e400', '9223372036854775808', '0x10', ' 1', '１']));
    default:
      return randomBytes(random, random.below(40));
  }
}

const TELLING_INTEGERS: readonly bigint[] = [
  ...[0n, 1n, -1n, 4_095n, 4_096n, 4_097n, 65_536n, 1n << 20n, (1n << 20n) + 1n, 16n << 20n, 1n << 30n],
  ...[(1n << 31n) - 1n, 1n << 31n, 1n << 32n, 1n << 40n, (1n << 53n) - (1n << 20n) - 1n, (1n << 53n) - 1n, 1n << 53n],
  ...[(1n << 63n) - 1n, -(1n << 63n), -4_096n, -(1n << 31n)],
];

export function hostileInteger(random: SeededRandom): bigint {
  if (random.chance(0.8)) return random.pick(TELLING_INTEGERS);
  return BigInt.asIntN(64, (BigInt(random.bits()) << 32n) | BigInt(random.bits()));
}

export function randomBytes(random: SeededRandom, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  random.fill(bytes);
  return bytes;
}

/** A copy with a flipped bit, a changed byte, a missing end, a repeated or a removed piece; or something else altogether. */
export function damaged(random: SeededRandom, bytes: Uint8Array): Buffer {
  const copy = Buffer.from(bytes);
  if (copy.length === 0) return randomBytes(random, random.below(80));
  const at = random.below(copy.length);
  switch (random.below(8)) {
    case 0:
    case 1:
      copy[at]! ^= 1 << random.below(8);
      return copy;
    case 2:
      copy[at] = random.pick([0, 1, 0x7f, 0x80, 0xff]);
      return copy;
    case 3:
      return copy.subarray(0, at);
    case 4:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(random.below(copy.length))]);
    case 5:
      random.fill(copy.subarray(at, Math.min(copy.length, at + random.between(1, 64))));
      return copy;
    case 6:
      copy.fill(random.pick([0, 0xff]), at, Math.min(copy.length, at + random.between(1, 512)));
      return copy;
    default:
      return randomBytes(random, random.below(2 * copy.length + 2));
  }
}
