/** A pool as the store role shows it to its publisher; tests set what it says. */
import type { PoolFigures, PoolPhase, PoolProblem } from '../../src/k8s/pools/status.ts';
import type { PublishedPool } from '../../src/k8s/pools/publisher.ts';

const GIB = 1024 ** 3;

export const POOL_FIGURES: PoolFigures = {
  chunkSizeBytes: 65_536,
  sizeBytes: 100 * GIB - 65_536,
  usedBytes: 25 * GIB,
  freeBytes: 75 * GIB,
  reserveBytes: 1.5625 * GIB,
  provisionedBytes: 200 * GIB,
  provisionLimitBytes: 1000 * GIB,
  volumes: 3,
  snapshots: 2,
  attached: 1,
  parkedWrites: 0,
  counted: true,
  scrub: { runningPercent: null, completedAtMs: 0, protectedBytes: 5 * GIB, damagedChunks: 0, damaged: [], moreDamaged: false },
};

export class FakePublishedPool implements PublishedPool {
  readonly id: string;
  now: { phase: PoolPhase; figures: PoolFigures; problems: readonly PoolProblem[] } = {
    phase: 'serving',
    figures: POOL_FIGURES,
    problems: [],
  };
  /** Thrown instead of figures. */
  failure: Error | null = null;
  /** Thrown instead of a change of the fence. */
  diskFailure: Error | null = null;
  /** What a restart would find. */
  marker: { lost: boolean };
  /** Every change of the fence that was asked for. */
  readonly fenced: boolean[] = [];
  readonly fence: PublishedPool['fence'];

  constructor(id: string, marker = { lost: false }) {
    this.id = id;
    this.marker = marker;
    const { fenced } = this;
    this.fence = {
      get lost() {
        return marker.lost;
      },
      setLost: async (lost) => {
        await Promise.resolve();
        if (this.diskFailure !== null) throw this.diskFailure;
        fenced.push(lost);
        marker.lost = lost;
      },
    };
  }

  phase(): PoolPhase {
    return this.now.phase;
  }

  problems(): readonly PoolProblem[] {
    return this.now.problems;
  }

  async figures(): Promise<PoolFigures> {
    await Promise.resolve();
    if (this.failure !== null) throw this.failure;
    return this.now.figures;
  }
}
