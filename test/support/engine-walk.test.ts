/**
 * The test bed on itself: over an engine that is right by its simplicity no walk may fail, over the same engine with a
 * planted bug one must.
 */
import { describe, expect, test } from '@jest/globals';
import { ReferenceEngine, type PlantedBug } from './reference-engine.ts';
import { parseTrace, printTrace } from './walk-actions.ts';
import { randomWalk, replay, shrink, type WalkSubject } from './walk-runner.ts';

function subject(bug: PlantedBug | null): WalkSubject {
  return {
    setup: (seed) => ({ seed, chunkSizeBytes: 16_384, slots: 4, logSizeBytes: 4096 }),
    engineMemoryBytes: 4096,
    makeEngine: (ports) => new ReferenceEngine(ports, bug),
    format: () => undefined,
    mayBeFull: false,
    mayAbort: true,
    parkTimeoutMs: 0,
    pagesMayLeak: 0,
    layersAtRest: 1,
    maximumGranules: 64,
  };
}

describe('random walks', () => {
  test('over the reference engine are clean', () => {
    for (let seed = 1; seed <= 60; seed += 1)
      expect({ seed, failure: randomWalk(subject(null), seed, 120).failure }).toEqual({ seed, failure: null });
  });

  test.each<PlantedBug>([
    'answersEarly',
    'forgetsDeletes',
    'tearsSnapshots',
    'losesLastGranule',
    'swapsGranules',
    'revertsHalf',
    'ignoresZero',
  ])('find the planted bug: %s', (bug) => {
    const planted = subject(bug);
    let failure = null;
    for (let seed = 1; seed <= 200 && !failure; seed += 1) failure = randomWalk(planted, seed, 120).failure;
    expect(failure).not.toBeNull();
    const shortest = shrink(planted, failure!, 5_000);
    expect(shortest.trace.actions.length).toBeLessThanOrEqual(failure!.trace.actions.length);
    const printed = parseTrace(printTrace(shortest.trace));
    expect(replay(planted, printed)?.message).toBe(shortest.error.message);
    expect(replay(subject(null), printed)).toBeNull();
  });
});
