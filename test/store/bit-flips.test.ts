/**
 * One bit of a pool's files is wrong. `make torture CAMPAIGN=bit-flips` does more of it; CHUNKSTORE_SEED chooses the flips.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { checkHeader } from '../../src/store/pool/header.ts';
import { StoreError } from '../../src/util/errors.ts';
import { drawFlips, flipFiles, makeFlipSubject, tryFlip, usedRanges, type FlipFile, type FlipSubject } from '../support/bit-flips.ts';
import { runFlips } from '../support/run-bit-flips.ts';
import { SeededRandom } from '../support/seeded-random.ts';

const seed = Number(process.env['CHUNKSTORE_SEED'] ?? Date.now() % 1_000_000_000);
/** How many of each file. */
const flips: Readonly<Record<FlipFile, number>> = { data: 60, log: 150, 'meta/data.mdb': 250, 'pool.json': 100 };

let folder: string;
let subject: FlipSubject;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-flips-'));
  subject = makeFlipSubject(path.join(folder, 'subject'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test.each(flipFiles)(
  `%s, from seed ${seed}: all that the pool says is right, or it says that it is damaged`,
  async (file) => {
    const drawn = drawFlips(subject, file, { random: new SeededRandom(seed), count: flips[file] });
    const results = await runFlips(fs.mkdtempSync(path.join(folder, 'run-')), drawn);
    const bad = results.filter(({ outcome }) => outcome === 'violation' || outcome === 'hang' || outcome === 'crash');
    expect(bad).toEqual([]);
    expect(results.length).toBe(flips[file]);
    const tally = Object.entries(Object.groupBy(results, ({ outcome }) => outcome)).map(([outcome, list]) => `${list.length} ${outcome}`);
    process.stdout.write(`bit flips of ${file}: ${tally.join(', ')}\n`);
  },
  120_000,
);

test('the header: each bit', () => {
  const pool = path.join(folder, 'header');
  fs.mkdirSync(pool);
  const header = subject.files.data.subarray(0, 4096);
  const identity = { folder: pool, id: 'f'.repeat(26), chunkSizeBytes: 16_384 };
  fs.writeFileSync(path.join(pool, 'data'), header);
  expect(() => checkHeader(identity)).not.toThrow();
  const file = fs.openSync(path.join(pool, 'data'), 'r+');
  try {
    for (let bit = 0; bit < header.length * 8; bit += 1) {
      const byte = header[bit >> 3]!;
      fs.writeSync(file, Uint8Array.of(byte ^ (1 << (bit & 7))), 0, 1, bit >> 3);
      if (!isRefused(identity)) throw new Error(`bit ${bit} is not noticed`);
      fs.writeSync(file, Uint8Array.of(byte), 0, 1, bit >> 3);
    }
  } finally {
    fs.closeSync(file);
  }
}, 60_000);

function isRefused(identity: Parameters<typeof checkHeader>[0]): boolean {
  try {
    checkHeader(identity);
    return false;
  } catch (error) {
    return error instanceof StoreError;
  }
}

describe('the checks find', () => {
  test('a second bit that is wrong in a granule', () => {
    const [from] = usedRanges(subject, 'data')[0]!;
    const both = { ...subject, files: { ...subject.files, data: Buffer.from(subject.files.data) } };
    both.files.data[from + 100]! ^= 1;
    expect(() => tryFlip(both, path.join(folder, 'second'), { file: 'data', bit: from * 8 })).toThrow(/reads wrong/);
  });

  test('a record that is gone with the end of the log', () => {
    const [from, to] = usedRanges(subject, 'log').at(-1)!;
    const cut = { ...subject, files: { ...subject.files, log: Buffer.from(subject.files.log).fill(0, from, to) } };
    expect(() => tryFlip(cut, path.join(folder, 'cut'), { file: 'data', bit: 5000 * 8 })).toThrow(/reads wrong/);
  });
});
