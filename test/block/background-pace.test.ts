import { describe, expect, test } from '@jest/globals';
import { BackgroundPace } from '../../src/block/background-pace.ts';

/** Slices of this length, begun as soon as they are due, over a second in which a request comes every `everyMs`. */
function slicesIn(options: { readonly sliceMs: number; readonly everyMs: number }): number {
  const pace = new BackgroundPace();
  let slices = 0;
  let lastRequestMs = 0;
  for (let nowMs = 0; nowMs < 1000;) {
    if (nowMs - lastRequestMs >= options.everyMs) lastRequestMs = nowMs;
    if (pace.isDue(nowMs, lastRequestMs)) {
      slices++;
      pace.took(nowMs, nowMs + options.sliceMs);
      nowMs += options.sliceMs;
    } else nowMs += 0.01;
  }
  return slices;
}

describe('the pace of the background', () => {
  test('is a small share of the time while requests come', () => {
    const slices = slicesIn({ sliceMs: 0.05, everyMs: 0.1 });
    expect(slices * 0.05).toBeGreaterThan(10);
    expect(slices * 0.05).toBeLessThan(20);
  });

  test('gives long slices more rest', () => {
    const short = slicesIn({ sliceMs: 0.05, everyMs: 0.1 });
    const long = slicesIn({ sliceMs: 0.5, everyMs: 0.1 });
    expect(long).toBeGreaterThan(0);
    expect(long * 0.5).toBeLessThan(short * 0.05 * 1.5);
  });

  test('is all of the time when no request has come for a while', () => {
    expect(slicesIn({ sliceMs: 0.05, everyMs: 10_000 }) * 0.05).toBeGreaterThan(900);
  });

  test('begins at once', () => {
    expect(new BackgroundPace().isDue(0, 0)).toBe(true);
  });
});
