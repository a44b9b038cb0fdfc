import { crc32 } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { checksum } from '../../src/engine/checksum.ts';
import { SeededRandom } from '../support/seeded-random.ts';

describe('the checksum of a record', () => {
  test("is zlib's, of any bytes, of any length and from any place on", () => {
    const bytes = new Uint8Array(96);
    new SeededRandom(7).fill(bytes);
    for (let from = 0; from < 9; from++)
      for (let to = from; to <= bytes.length; to++) expect(checksum(bytes, from, to)).toBe(crc32(bytes.subarray(from, to)));
  });
});
