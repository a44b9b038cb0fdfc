import { describe, expect, test } from '@jest/globals';
import {
  cutStretch,
  endOf,
  NO_LEAF_END,
  piecesIn,
  planStretches,
  segmentsOf,
  slotsToGain,
  type LeafEnd,
  type Segment,
} from '../../src/engine/defragment-plan.ts';
import { Entry } from '../../src/engine/entry.ts';
import { LeafPage } from '../../src/engine/page.ts';

const LONG = 4;

/** A leaf with one slot for each chunk, two for a pair, none for null. */
function leafOf(...chunks: (number | readonly [number, number] | null)[]): LeafPage {
  const leaf = new LeafPage(1);
  const entry = new Entry();
  for (const [index, chunk] of chunks.entries()) {
    entry.clear();
    if (typeof chunk === 'number') entry.push(chunk, 0b1111);
    else if (chunk !== null) {
      entry.push(chunk[0], 0b0101);
      entry.push(chunk[1], 0b1010);
    }
    leaf.write(index, entry);
  }
  return leaf;
}

function segments(leaf: LeafPage, options: { readonly before?: LeafEnd; readonly damaged?: number[] } = {}): Segment[] {
  const damaged = new Map((options.damaged ?? []).map((slot) => [slot, 'changed']));
  return segmentsOf(leaf, { firstChunk: 256, before: options.before ?? NO_LEAF_END, damaged });
}

/** The chunks of each stretch, from 0 on. */
function planned(leaf: LeafPage, options: Parameters<typeof segments>[1] = {}): number[][] {
  const before = options.before ?? NO_LEAF_END;
  return planStretches(segments(leaf, options), { before, longChunks: LONG }).map((stretch) =>
    stretch.segments.flatMap(({ chunks }) => chunks.map((chunk) => chunk - 256)),
  );
}

describe('segments', () => {
  test('are chunks in slots that follow each other; empty chunks part nothing', () => {
    const found = segments(leafOf(5, 6, null, 7, 20, 21, 3));
    expect(found.map(({ chunks }) => chunks)).toEqual([[256, 257, 259], [260, 261], [262]]);
    expect(piecesIn(found)).toBe(3);
    expect(endOf(found, NO_LEAF_END)).toEqual({ slot: 3, length: 1 });
  });

  test('a chunk of several layers has as many pieces as a reader meets', () => {
    const found = segments(leafOf(5, [6, 9], 7));
    expect(found.map(({ pieces }) => pieces)).toEqual([1, 4, 1]);
    expect(endOf(segments(leafOf([6, 9])), NO_LEAF_END)).toMatchObject({ slot: 0 });
  });

  test('go on from leaf to leaf', () => {
    const [first, second] = segments(leafOf(30, 31, 40), { before: { slot: 29, length: 3 } });
    expect(first).toMatchObject({ pieces: 0, length: 5 });
    expect(second).toMatchObject({ pieces: 1, length: 1 });
    expect(segments(leafOf(1), { before: NO_LEAF_END })[0]).toMatchObject({ pieces: 1 });
    expect(endOf([], { slot: 29, length: 3 })).toEqual({ slot: 29, length: 3 });
  });
});

describe('a plan', () => {
  test('moves short segments next to each other, and nothing long', () => {
    expect(planned(leafOf(50, 40, 30, 31, 10, 11, 12, 13, 60, 70))).toEqual([
      [0, 1, 2, 3],
      [8, 9],
    ]);
  });

  test('moves nothing that would be alone there, too', () => {
    expect(planned(leafOf(10, 11, 12, 13, 60, 20, 21, 22, 23))).toEqual([]);
    expect(planned(leafOf(10, 11, 12))).toEqual([]);
    expect(planned(leafOf(10, 11, 12, 13, [60, 70], 20, 21, 22, 23))).toEqual([[4]]);
  });

  test('moves nothing that is damaged, nor past it', () => {
    expect(planned(leafOf(50, 40, 30, 60), { damaged: [40] })).toEqual([[2, 3]]);
    expect(planned(leafOf(50, [40, 41], 30), { damaged: [41] })).toEqual([]);
  });

  test('leaves what goes on from the leaf before, when that is long', () => {
    expect(planned(leafOf(30, 40, 50), { before: { slot: 29, length: 3 } })).toEqual([[1, 2]]);
    expect(planned(leafOf(30, 40), { before: { slot: 29, length: 1 } })).toEqual([]);
  });

  test('says behind which slot a stretch should lie', () => {
    const before = { slot: 99, length: 9 };
    const stretches = planStretches(segments(leafOf(50, 40, 10, 11, 12, 13, 60, 70), { before }), { before, longChunks: LONG });
    expect(stretches.map(({ afterSlot }) => afterSlot)).toEqual([99, 13]);
  });
});

describe('a stretch that is longer than a run of free slots', () => {
  const stretch = planStretches(segments(leafOf(50, 51, 52, 40, 30, 31, 20)), { before: NO_LEAF_END, longChunks: LONG })[0]!;
  const cut = (slots: number): { moved: number[]; rest: number[] } => {
    const { moved, rest } = cutStretch(stretch, slots);
    const chunksOf = (some: readonly Segment[]): number[] => some.flatMap(({ chunks }) => chunks.map((chunk) => chunk - 256));
    return { moved: chunksOf(moved), rest: chunksOf(rest?.segments ?? []) };
  };

  test('is cut between segments', () => {
    expect(cut(100)).toEqual({ moved: [0, 1, 2, 3, 4, 5, 6], rest: [] });
    expect(cut(5)).toEqual({ moved: [0, 1, 2, 3], rest: [4, 5, 6] });
  });

  test('leaves what does not fit, and what would gain nothing', () => {
    expect(cut(3)).toEqual({ moved: [3, 4, 5], rest: [6] });
    expect(cut(2)).toEqual({ moved: [], rest: [] });
    expect(slotsToGain(stretch)).toBe(3);
    expect(slotsToGain({ segments: stretch.segments.slice(0, 1), afterSlot: 0 })).toBe(Infinity);
    expect(cut(0)).toEqual({ moved: [], rest: [] });
  });
});
