/** The checker of cuts can fail: each of these is what a broken store would have answered. */
import { expect, test } from '@jest/globals';
import { BLOCK_BYTES, CutKeeper, faultOfCut, makeModelMemory, statesOf, WrittenModel } from './written-model.ts';

const BLOCKS = 64;

function newModel(): WrittenModel {
  return new WrittenModel(makeModelMemory({ sizeBytes: BLOCKS * BLOCK_BYTES, salt: 7 }));
}

/** Writer 0 has the blocks 0 to 3, and 16 to 19. */
function write(model: WrittenModel, block: number, options: { readonly acknowledged: boolean; readonly zeros?: boolean }): number {
  const number = model.issue(0, { block, count: 1, zeros: options.zeros ?? false });
  if (options.acknowledged) model.acknowledge(0, number);
  return number;
}

function holding(entries: Readonly<Record<number, number>>): Int32Array {
  const states = new Int32Array(BLOCKS);
  for (const [block, state] of Object.entries(entries)) states[Number(block)] = state;
  return states;
}

test('a cut holds what was acknowledged before, and of what came meanwhile a prefix', () => {
  const model = newModel();
  const cuts = new CutKeeper(model);
  write(model, 0, { acknowledged: true });
  const answered = cuts.begin();
  write(model, 1, { acknowledged: true });
  write(model, 0, { acknowledged: true, zeros: true });
  write(model, 2, { acknowledged: false });
  const cut = answered();
  write(model, 3, { acknowledged: true });

  const fine = [{ 0: 1 }, { 0: 1, 1: 2 }, { 1: 2 }, { 1: 2, 2: 4 }].map(holding);
  expect(fine.map((states) => faultOfCut(model, cut, states))).toEqual([null, null, null, null]);
  const lost = holding({});
  const withGap = holding({ 0: 1, 2: 4 });
  const fromTheFuture = holding({ 1: 2, 2: 4, 3: 5 });
  for (const states of [lost, withGap, fromTheFuture]) expect(faultOfCut(model, cut, states)).toContain('no prefix of operations');
});

test('bytes that no operation wrote there are told', () => {
  const model = newModel();
  const bytes = new Uint8Array(BLOCKS * BLOCK_BYTES);
  const words = new Uint32Array(bytes.buffer);
  model.content(5, 9, words.subarray((5 * BLOCK_BYTES) / 4, (6 * BLOCK_BYTES) / 4));
  expect(statesOf(model, bytes)).toEqual(holding({ 5: 9 }));
  bytes[5 * BLOCK_BYTES + 4000]! ^= 1;
  expect(() => statesOf(model, bytes)).toThrow('block 5 says operation 9');
  bytes[5 * BLOCK_BYTES + 4000]! ^= 1;
  // The right bytes in the wrong place.
  bytes.copyWithin(6 * BLOCK_BYTES, 5 * BLOCK_BYTES, 6 * BLOCK_BYTES);
  expect(() => statesOf(model, bytes)).toThrow('block 6');
});
