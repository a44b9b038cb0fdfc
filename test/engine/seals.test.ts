import { describe, expect, test } from '@jest/globals';
import type { MetadataChange } from '../../src/engine/ports.ts';
import { decodeChecksumRow, Seals, SLOTS_A_CHECKSUM_ROW } from '../../src/engine/seals.ts';

function seal(seals: Seals, slot: number, checksum: number, row = new Uint32Array(SLOTS_A_CHECKSUM_ROW)): void {
  seals.begin(slot);
  seals.finish(slot, row, checksum);
}

function encoded(seals: Seals): MetadataChange[] {
  while (seals.encodeSome(1));
  return seals.takeCaptured();
}

function commit(seals: Seals): number[] {
  seals.capture();
  encoded(seals);
  seals.committed();
  const free: number[] = [];
  for (let some = seals.takeOff(); some !== null; some = seals.takeOff()) free.push(...some);
  return free;
}

/** What a start would take for sealed. */
function loaded(changes: readonly MetadataChange[], slots: number): (slot: number) => boolean {
  const seals = new Seals(slots);
  const rows = changes.flatMap(({ table, key, value }) => (table === 'seals' && value !== null ? [{ key, value }] : []));
  seals.load(rows, []);
  return (slot) => seals.isStored(slot) && seals.has(slot);
}

describe('seals', () => {
  test('a checkpoint stores them as they were when it began', () => {
    const seals = new Seals(20_000);
    const row = new Uint32Array(SLOTS_A_CHECKSUM_ROW);
    seal(seals, 9001, 11, row);
    seal(seals, 9002, 22, row);
    seals.capture();
    seals.leave(9001);
    seal(seals, 9003, 33, row);
    const changes = encoded(seals);
    const isSealed = loaded(changes, 20_000);
    expect([9001, 9002, 9003].map(isSealed)).toEqual([true, true, false]);
    const checksums = decodeChecksumRow(changes.find(({ table }) => table === 'checksums')!.value);
    expect([1, 2, 3].map((index) => checksums![index])).toEqual([11, 22, 0]);
    seals.committed();
    expect(seals.takeOff()).toBe(null);
    expect(commit(seals)).toEqual([9001]);
  });

  test('slots at the borders of words and rows', () => {
    for (const slots of [33, 1001, 8001, 8033, 16_001]) {
      const seals = new Seals(slots);
      const wanted = [1, 31, 32, 999, 1000, 7999, 8000, 8032, slots - 1].filter((slot) => slot < slots);
      for (const slot of wanted) seal(seals, slot, slot);
      seals.capture();
      const isSealed = loaded(encoded(seals), slots);
      const found = Array.from({ length: slots }, (_, slot) => slot).filter(isSealed);
      expect(found).toEqual([...new Set(wanted)]);
      seals.committed();
      for (const slot of new Set(wanted)) expect(seals.leave(slot)).toBe(true);
      expect(commit(seals)).toEqual([...new Set(wanted)]);
      expect(seals.leavingCount).toBe(0);
    }
  });

  test('many slots become free in slices', () => {
    const slots = 200_000;
    const one = new Seals(8000);
    for (let slot = 0; slot < 8000; slot += 1) seal(one, slot, 1);
    one.capture();
    const { value } = encoded(one).find(({ table }) => table === 'seals')!;
    const seals = new Seals(slots);
    seals.load(
      Array.from({ length: Math.ceil(slots / 8000) }, (_, key) => ({ key, value: value! })),
      [],
    );
    expect(seals.storedCount).toBe(slots);
    seals.leave(0);
    for (let slot = 1; slot < slots; slot += 1) seals.leave(slot);
    seals.capture();
    seals.committed();
    let free = 0;
    let longest = 0;
    for (let some = seals.takeOff(); some !== null; some = seals.takeOff()) {
      longest = Math.max(longest, some.length);
      free += some.length;
    }
    expect([free, longest]).toEqual([slots, 2048]);
    expect([seals.leavingCount, seals.storedCount]).toEqual([0, 0]);
  });
});
