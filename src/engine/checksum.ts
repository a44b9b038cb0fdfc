/**
 * CRC-32 (polynomial 0xEDB88320, as in zlib) over a few words without allocating; zlib's own serves large buffers. Four bytes
 * are taken in one go, each by a table of its own: a flush checks every record again that it writes down.
 */

const table = new Uint32Array(256).map((_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
const tableBefore1 = table.map(withZero);
const tableBefore2 = tableBefore1.map(withZero);
const tableBefore3 = tableBefore2.map(withZero);

/** The checksum of bytes[from, to). Equal to zlib's crc32 of the same bytes. */
export function checksum(bytes: Uint8Array, from: number, to: number): number {
  let crc = -1;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc = tableBefore3[crc & 255]! ^ tableBefore2[(crc >>> 8) & 255]! ^ tableBefore1[(crc >>> 16) & 255]! ^ table[crc >>> 24]!;
  }
  for (; at < to; at++) crc = (crc >>> 8) ^ table[(crc ^ bytes[at]!) & 255]!;
  return ~crc >>> 0;
}

/** What a remainder becomes by one more byte of zeros. */
function withZero(value: number): number {
  return (value >>> 8) ^ table[value & 255]!;
}
