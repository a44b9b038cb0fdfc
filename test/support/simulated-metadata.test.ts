import { describe, expect, test } from '@jest/globals';
import { SeededRandom } from './seeded-random.ts';
import { SimulatedMetadata } from './simulated-metadata.ts';
import { Violation } from './violation.ts';

const value = (text: string): Uint8Array => Buffer.from(text);
const change = (text: string): { table: 'objects'; key: number; value: Uint8Array } => ({ table: 'objects', key: 1, value: value(text) });
const text = (bytes: Uint8Array | null): string | null => (bytes ? Buffer.from(bytes).toString() : null);

function store(seed = 1): SimulatedMetadata {
  return new SimulatedMetadata({ random: new SeededRandom(seed) });
}

/** A store whose commit of "new" over the durable "old" has become readable, and is not durable. */
function readableOnly(): SimulatedMetadata {
  for (let seed = 1; ; seed += 1) {
    const metadata = store(seed);
    metadata.open().commit([change('old')], () => undefined);
    while (metadata.pending > 0) metadata.fire(0);
    metadata.open().commit([change('new')], () => undefined);
    metadata.fire(0);
    if (metadata.pending > 0) return metadata;
  }
}

describe('a simulated metadata store', () => {
  test('a commit is readable before it is durable, and answered when it is durable', () => {
    const metadata = readableOnly();
    expect([text(metadata.row('objects', 1)), text(metadata.durableRow('objects', 1))]).toEqual(['new', 'old']);
    metadata.fire(0);
    expect(text(metadata.durableRow('objects', 1))).toBe('new');
  });

  test('a kill may leave a commit readable; a power loss afterwards may take it back', () => {
    const metadata = readableOnly();
    metadata.kill();
    expect(text(metadata.row('objects', 1))).toBe('new');
    metadata.powerLoss('lose');
    expect(text(metadata.row('objects', 1))).toBe('old');
  });

  test('a load makes durable what it shows', () => {
    const metadata = readableOnly();
    metadata.kill();
    metadata.open().load(() => undefined);
    metadata.fire(0);
    metadata.powerLoss('lose');
    expect(text(metadata.row('objects', 1))).toBe('new');
  });

  test('a kill drops commits that had not begun', () => {
    const seen = new Set<string | null>();
    for (let seed = 1; seed < 40; seed += 1) {
      const metadata = store(seed);
      metadata.open().commit([change('one')], () => undefined);
      metadata.open().commit([change('two')], () => undefined);
      metadata.kill();
      seen.add(text(metadata.row('objects', 1)));
    }
    expect(seen).toEqual(new Set([null, 'one']));
  });

  test('a transaction is there whole or not at all', () => {
    for (let seed = 1; seed < 40; seed += 1) {
      const metadata = store(seed);
      metadata.open().commit([change('a'), { table: 'pages', key: 9, value: value('a') }], () => undefined);
      metadata.powerLoss('draw');
      expect(text(metadata.row('pages', 9))).toBe(text(metadata.row('objects', 1)));
    }
  });

  test('answers calls only when picked, rows in the order of their keys', () => {
    const metadata = store();
    const keys: number[] = [];
    metadata.open().commit(
      [
        { ...change('b'), key: 7 },
        { ...change('a'), key: 3 },
      ],
      () => undefined,
    );
    while (metadata.pending > 0) metadata.fire(0);
    metadata.open().load((_error, image) => void keys.push(...image!.objects.map((row) => row.key)));
    expect(keys).toEqual([]);
    metadata.fire(0);
    expect(keys).toEqual([3, 7]);
  });

  test('a failing commit changes nothing', () => {
    const metadata = store();
    let message = '';
    metadata.failCommits(1);
    metadata.open().commit([change('x')], (error) => {
      message = error?.message ?? '';
    });
    metadata.fire(0);
    expect(message).toContain('no space');
    expect(metadata.row('objects', 1)).toBeNull();
  });

  test('notices that a value changes while its commit is under way', () => {
    const metadata = store();
    const row = change('x');
    metadata.open().commit([row], () => undefined);
    row.value[0] = 0;
    expect(() => {
      while (metadata.pending > 0) metadata.fire(0);
    }).toThrow(Violation);
  });
});
