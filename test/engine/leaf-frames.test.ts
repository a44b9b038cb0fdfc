import { describe, expect, test } from '@jest/globals';
import { Entry } from '../../src/engine/entry.ts';
import { FANOUT } from '../../src/engine/geometry.ts';
import { LeafFrames, LEAST_ROOM } from '../../src/engine/leaf-frames.ts';
import { decodePage, encodePage, LeafPage } from '../../src/engine/page.ts';

function layer(slot: number, mask: number): Entry {
  const entry = new Entry();
  entry.push(slot, mask);
  return entry;
}

function full(number: number, frames: LeafFrames): LeafPage {
  const page = new LeafPage(number, frames);
  for (let index = 0; index < FANOUT; index++) page.write(index, layer(index + 1, 0xffff));
  return page;
}

describe('frames of leaves', () => {
  test('are used again, and a leaf finds nothing in one of what was there before', () => {
    const frames = new LeafFrames();
    const frame = frames.take(LEAST_ROOM);
    frames.give(frame);
    const page = full(1, frames);
    page.release();
    expect(frames.take(LEAST_ROOM)).toBe(frame);
    frames.give(frame);

    const empty = new LeafPage(3, frames);
    expect(encodePage(empty)).toEqual(encodePage(new LeafPage(3)));
  });

  test('do not overlap, of however many leaves', () => {
    const frames = new LeafFrames();
    const pages = Array.from({ length: 600 }, (_, number) => {
      const page = new LeafPage(number + 1, frames);
      for (let index = 0; index < FANOUT; index++) page.write(index, layer(number + 1, number + 1));
      return page;
    });
    const entry = new Entry();
    for (const page of pages) {
      for (const index of [0, FANOUT - 1]) {
        page.read(index, entry);
        expect([page.number, entry.count, entry.slots[0], entry.masks[0]]).toEqual([page.number, 1, page.number, page.number]);
      }
    }
  });

  test('follow a leaf whose entries get more layers, and fewer again', () => {
    const frames = new LeafFrames();
    for (let turn = 0; turn < 600; turn++) {
      const page = full(1, frames);
      const long = new Entry();
      for (let granule = 0; granule < 16; granule++) long.push(1000 + granule, 1 << granule);
      page.write(7, long);
      const copy = page.copyTo(2);
      page.release();
      copy.write(7, layer(8, 0xffff));
      copy.fit();
      const other = full(2, frames);
      expect(encodePage(copy)).toEqual(encodePage(other));
      copy.release();
      other.release();
    }
  });

  test('serve stored leaves too, whatever a frame was used for before', () => {
    const frames = new LeafFrames();
    full(1, frames).release();
    const page = new LeafPage(7);
    page.write(9, layer(5, 3));
    const stored = decodePage(7, encodePage(page), frames);
    expect(encodePage(stored)).toEqual(encodePage(page));
  });

  test('that a leaf gave back are out of its reach', () => {
    const page = full(1, new LeafFrames());
    page.release();
    const uses = [
      () => page.read(0, new Entry()),
      () => page.write(0, layer(1, 1)),
      () => page.layersAt(0),
      () => page.slotsInto(new Uint32Array(1)),
      () => encodePage(page),
    ];
    for (const use of uses) expect(use).toThrow('while it is in memory');
    expect(() => page.release()).toThrow('given back once');
  });
});
