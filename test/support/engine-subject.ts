/** The real engine over simulated ports, as the subject of walks and of tests with their own schedule. */
import { Engine } from '../../src/engine/engine.ts';
import { engineMemoryLayout } from '../../src/engine/memory-layout.ts';
import { encodePoolHeader, formatPool } from '../../src/engine/pool-format.ts';
import type { EnginePorts } from '../../src/engine/ports.ts';
import type { SeededRandom } from './seeded-random.ts';
import { SimulatedWorld, type PortsWrapper } from './simulated-world.ts';
import { Violation } from './violation.ts';
import type { WalkSetup } from './walk-actions.ts';
import type { WalkSubject } from './walk-runner.ts';

export const parkTimeoutMs = 30_000;
const maximumGranules = 64;
const largestRingUnits = 4096;

/** What differs from pool to pool beside the sizes of WalkSetup: drawn from its seed, so that a trace needs no more. */
function tuning(
  setup: WalkSetup,
  options: EngineTestOptions,
): {
  readonly ringUnits: number;
  readonly leafLimit: number;
  readonly checkpointPages: number;
  readonly checkpointAgeMs: number;
  readonly flushesToLearn: number;
} {
  const pick = <T>(list: readonly T[], divisor: number): T => list[Math.floor(setup.seed / divisor) % list.length] as T;
  return {
    ringUnits: pick([1024, 2048, largestRingUnits], 1),
    leafLimit: pick([4, 64, 8], 3),
    checkpointPages: pick([6, 1000], 9),
    checkpointAgeMs: pick([2_000, 600_000], 18),
    // Random schedules seldom repeat themselves often enough for the engine's own 3; with 0 each write is taken for the last.
    flushesToLearn: options.flushesToLearn ?? pick([3, 0, 1], 2),
  };
}

const simulatedPoolId = 'p'.repeat(26);

export interface EngineTestOptions {
  readonly maximumRequestBytes?: number;
  /** How often a pattern of flushes must come before a sync is begun ahead of the next one. */
  readonly flushesToLearn?: number;
  /** Where a test expects the pool to fail. */
  readonly failed?: (error: Error) => void;
}

export function makeEngine(ports: EnginePorts, setup: WalkSetup, options: EngineTestOptions = {}): Engine {
  return new Engine(ports, {
    pool: { poolId: simulatedPoolId, chunkSizeBytes: setup.chunkSizeBytes },
    maximumRequests: 24,
    maximumRequestBytes: options.maximumRequestBytes ?? maximumGranules * 4096,
    parkTimeoutMs,
    prewriteAfterTicks: setup.seed % 2 === 0 ? 1 : null,
    ...tuning(setup, options),
    failed:
      options.failed ??
      ((error) => {
        throw new Violation(`the engine gave up: ${error.message}`);
      }),
  });
}

/** Writes an empty pool into a world in which nothing runs yet. */
export function formatSimulatedPool(world: SimulatedWorld, setup: WalkSetup): void {
  const poolId = simulatedPoolId;
  const ports = world.ports(() => undefined);
  ports.memory.bytes.set(encodePoolHeader({ poolId, chunkSizeBytes: setup.chunkSizeBytes }), 0);
  ports.data.write(0, 4096, 0, 0);
  world.data.finish(0);
  ports.data.sync(0);
  world.data.finish(0);
  formatPool(ports, { poolId, chunkSizeBytes: setup.chunkSizeBytes, dataBytes: setup.slots * setup.chunkSizeBytes }, (error) => {
    if (error) throw error;
  });
  world.settle();
}

export function drawSetup(seed: number, random: SeededRandom): WalkSetup {
  return {
    seed,
    chunkSizeBytes: random.pick([16_384, 65_536]),
    slots: random.pick([14, 24, 40, 80]),
    logSizeBytes: random.pick([32, 64, 256]) * 4096,
  };
}

export function engineSubject(options: { readonly wrapPorts?: PortsWrapper; readonly flushesToLearn?: number } = {}): WalkSubject {
  const { flushesToLearn } = options;
  return {
    setup: drawSetup,
    engineMemoryBytes: engineMemoryLayout({ ringUnits: largestRingUnits }).totalBytes,
    makeEngine: (ports, setup, failed) => makeEngine(ports, setup, { failed, ...(flushesToLearn === undefined ? {} : { flushesToLearn }) }),
    format: formatSimulatedPool,
    ...(options.wrapPorts ? { wrapPorts: options.wrapPorts } : {}),
    mayBeFull: true,
    mayAbort: false,
    parkTimeoutMs,
    pagesMayLeak: 0,
    layersAtRest: 2,
    maximumGranules,
  };
}
