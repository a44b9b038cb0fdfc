/** The check of LMDB's file: it passes over whatever LMDB itself writes, and over nothing that would lead LMDB astray. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { MetadataChange } from '../../../src/engine/ports.ts';
import { MetadataEnvironment } from '../../../src/store/metadata/environment.ts';
import { checkMetadataFile } from '../../../src/store/metadata/file-check.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const pageBytes = 4096;

let folder: string;
let file: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-file-check-'));
  file = path.join(folder, 'data.mdb');
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

function drawChanges(random: SeededRandom, keys: number): MetadataChange[] {
  const changes = Array.from({ length: random.between(1, random.pick([5, 20, 300])) }, (): MetadataChange => {
    const value = random.chance(0.3) ? null : new Uint8Array(random.below(random.pick([300, 6_000]))).fill(random.below(256));
    return { table: random.chance(0.2) ? 'objects' : 'pages', key: random.below(keys), value };
  });
  if (random.chance(0.3)) changes.push({ table: 'pool', key: 0, value: new Uint8Array(random.between(200, 40_000)) });
  return changes;
}

/** An environment with a past. Calls `each` after every transaction. */
async function live(seed: number, each: () => void, transactions = 60): Promise<void> {
  const random = new SeededRandom(seed);
  const keys = random.pick([50, 400, 20_000]);
  let environment = new MetadataEnvironment(folder);
  for (let count = 0; count < transactions; count += 1) {
    environment.commit(drawChanges(random, keys));
    if (random.chance(0.1)) environment.reserve(random.below(100_000));
    if (random.chance(0.05)) {
      await environment.close();
      environment = new MetadataEnvironment(folder);
    }
    each();
  }
  await environment.close();
}

test.each([1, 2, 3, 4])('what LMDB writes is sound after each transaction (seed %i)', async (seed) => {
  let checks = 0;
  await live(seed, () => {
    checkMetadataFile(file);
    checks += 1;
  });
  expect(checks).toBe(60);
});

describe('a damaged file', () => {
  const damaged = expect.objectContaining({ name: 'StoreError', code: 'data-loss' });

  test('is refused or read as it is, whatever bit is wrong, and never ends in anything else', async () => {
    await live(5, () => undefined, 8);
    const sound = fs.readFileSync(file);
    // LMDB's file is longer than what is in it.
    const usedPages = Math.ceil(sound.findLastIndex((byte) => byte !== 0) / pageBytes);
    const random = new SeededRandom(5);
    const descriptor = fs.openSync(file, 'r+');
    let refused = 0;
    try {
      for (let count = 0; count < 3_000; count += 1) {
        // Where pages begin there is most to go wrong.
        const at = random.below(usedPages) * pageBytes + random.below(random.pick([48, 200, pageBytes]));
        fs.writeSync(descriptor, Uint8Array.of(sound[at]! ^ (1 << random.below(8))), 0, 1, at);
        try {
          checkMetadataFile(file);
        } catch (error) {
          expect(error).toEqual(damaged);
          refused += 1;
        }
        fs.writeSync(descriptor, sound.subarray(at, at + 1), 0, 1, at);
      }
    } finally {
      fs.closeSync(descriptor);
    }
    expect(refused).toBeGreaterThan(100);
    checkMetadataFile(file);
  });

  test.each<[string, number, RegExp]>([
    ['the transaction of a head page', 152 + 3, /transactions apart|one of its head pages is none/],
    ['the root of the list of free pages', 48 + 40, /is damaged/],
    ['the root of the tables', 96 + 40, /is damaged/],
    ['the entries of the tables', 96 + 32, /entries, and counts/],
    ['the address of the mapping', 32, /do not agree/],
  ])('%s', async (_, offset, words) => {
    await live(6, () => undefined, 8);
    const bytes = fs.readFileSync(file);
    const [first, second] = [0, pageBytes].map((head) => bytes.readBigUInt64LE(head + 152));
    const newest = first! > second! ? 0 : pageBytes;
    bytes[newest + offset]! ^= 2;
    fs.writeFileSync(file, bytes);
    expect(() => checkMetadataFile(file)).toThrow(words);
  });
});
