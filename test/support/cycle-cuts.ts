/**
 * Random schedules of one volume whose every write is followed by a cycle, cut in the middle of cycles: what each disk keeps
 * of what was not synced is drawn for each by itself. After a cut each sector has what the last answered flush covered, or
 * something newer; after the death of the process alone, the newest.
 */
import { ScriptedPool, type Pending, type WaitingOperation } from './scripted-pool.ts';
import { SeededRandom } from './seeded-random.ts';
import type { PowerLossStyle } from './simulated-disk.ts';
import type { PortsWrapper } from './simulated-world.ts';
import { Violation } from './violation.ts';

const granules = 12;
const mostSnapshots = 3;
const weights = { write: 10, zero: 1, flush: 5, hold: 5, release: 2, checkpoint: 1, snapshot: 1, delete: 1, tick: 1, death: 1, cut: 5 };
const styles: readonly PowerLossStyle[] = ['lose', 'keep', 'draw'];

/** What is known of a granule: what an answered flush covers, and what came after that. */
interface Known {
  flushed: number;
  newer: number[];
}

export interface CycleCuts {
  cuts: number;
  /** Cuts after which something that was not flushed was gone. */
  losses: number;
}

export function cutCycles(seed: number, steps: number, wrapPorts?: PortsWrapper): CycleCuts {
  const random = new SeededRandom(seed);
  const pool = new ScriptedPool({
    usableSlots: 40,
    seed,
    flushesToLearn: 0,
    logSizeBytes: random.pick([32_768, 262_144]),
    ...(wrapPorts ? { wrapPorts } : {}),
  });
  pool.create('a', granules);
  pool.settle();
  const known: Known[] = Array.from({ length: granules }, () => ({ flushed: 0, newer: [] }));
  const tally = { cuts: 0, losses: 0 };
  let snapshots = 0;
  let value = 0;
  let underWay: Pending[] = [];

  const settled = (...requests: Pending[]): void => {
    pool.settle();
    underWay.push(...requests);
    underWay = underWay.filter(({ answered }) => !answered);
  };
  const release = (): void => {
    pool.hold = () => false;
    settled();
  };
  const flush = (): void => {
    release();
    const request = pool.flush('a');
    settled(request);
    if (!request.answered || request.errno !== 0) throw new Violation(`a flush is not answered (${request.errno})`);
    for (const one of known) if (one.newer.length > 0) [one.flushed, one.newer] = [one.newer.at(-1)!, []];
  };
  const put = (change: (granule: number) => number): void => {
    const granule = random.below(granules);
    // Two requests at once for the same granule would leave open which is the newer one.
    if (underWay.length > 0) release();
    known[granule]!.newer.push(change(granule));
  };
  /** Starts a process, as far as it comes with what is held. */
  const begin = (): void => {
    pool.world.start();
    settled();
    if (pool.world.startError !== null) throw pool.world.startError;
  };
  const verify = (how: string, isNewest: boolean): void => {
    release();
    if (!pool.world.ready) throw new Violation(`seed ${seed}: ${how}: the engine does not start`);
    let lost = false;
    let torn = false;
    known.forEach((one, granule) => {
      const newest = one.newer.at(-1) ?? one.flushed;
      const allowed = isNewest ? [newest] : [one.flushed, ...one.newer];
      const found = pool.readSectors('a', granule);
      if (found.some((sector) => !allowed.includes(sector)))
        throw new Violation(`seed ${seed}: ${how}: granule ${granule} has ${found.join(' and ')}, not one of ${allowed.join(', ')}`);
      lost ||= found[0] !== newest;
      // After a death what was under way is done anew, and that is not flushed.
      if (!isNewest) [one.flushed, one.newer] = [found[0]!, []];
      if (found.length === 1) return;
      // It was torn in place: now it gets a value again.
      torn = true;
      settled(pool.write('a', granule, found[0]!));
    });
    const problems = pool.problems();
    if (problems.length > 0) throw new Violation(`seed ${seed}: ${how}: ${problems.join('; ')}`);
    if (lost) tally.losses += 1;
    if (torn) flush();
  };
  const holdSome = (): void => {
    const held = random.pick(['data', 'log', 'both'] as const);
    pool.hold = ({ disk, kind }: WaitingOperation) => kind === 'sync' && (held === 'both' || disk === held);
  };
  const zero = (): void =>
    put((granule) => {
      settled(pool.zero('a', granule));
      return 0;
    });
  const cut = (): void => {
    const [data, log, metadata] = [random.pick(styles), random.pick(styles), random.pick(styles)] as const;
    tally.cuts += 1;
    underWay = [];
    pool.world.powerLoss({ data, log, metadata });
    if (random.chance(0.5)) holdSome();
    begin();
    // The next one may find the memory of one that never came to an end with its start.
    for (; random.chance(0.4); begin()) {
      // Records that need no slot, so that memory goes on behind the log.
      if (pool.world.ready && random.chance(0.6)) for (let count = random.between(2, 6); count > 0; count -= 1) zero();
      if (pool.world.ready && random.chance(0.5)) settled(pool.control({ kind: 'checkpoint' }));
      if (random.chance(0.3)) holdSome();
      if (random.chance(0.5)) pool.kill();
      else pool.world.powerLoss({ data: random.pick(styles), log: random.pick(styles), metadata: random.pick(styles) });
      underWay = [];
    }
    verify(`power cut, data ${data}, log ${log}, metadata ${metadata}`, false);
  };
  const quietly = (...requests: Pending[]): void => {
    release();
    settled(...requests);
  };
  const actions: Readonly<Record<keyof typeof weights, () => void>> = {
    write: () => {
      value = (value % 200) + 1;
      put((granule) => {
        settled(pool.write('a', granule, value));
        return value;
      });
    },
    zero,
    flush,
    hold: holdSome,
    release,
    checkpoint: () => quietly(pool.control({ kind: 'checkpoint' })),
    snapshot: () => {
      if (snapshots === mostSnapshots) return;
      snapshots += 1;
      quietly(pool.snapshot(`s${snapshots}`, 'a'));
      flush();
    },
    delete: () => {
      if (snapshots === 0) return;
      quietly(pool.delete(`s${snapshots}`));
      snapshots -= 1;
      flush();
    },
    tick: () => {
      pool.world.tick(100);
      settled();
    },
    death: () => {
      pool.kill();
      underWay = [];
      pool.start();
      verify('death', true);
    },
    cut,
  };
  for (let step = 0; step < steps; step += 1) actions[random.weighted(weights)]();
  return tally;
}
