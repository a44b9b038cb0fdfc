/**
 * The disk reads that a request is made of. What lies as far apart on disk as in memory becomes one read, also across short
 * gaps: these are read too and thrown away, because a disk takes longer for one more request than for some more bytes. So a
 * chunk whose granules lie in an old and a new slot by turns takes about one read of each, and not one for each turn.
 */
import { LONGEST_GAP_BYTES, MAXIMUM_PIECES, Pieces, UNWANTED } from '../util/pieces.ts';

/** Runs that may still grow. A chunk at rest has two slots, and its neighbour may go on with one of them or with both. */
const OPEN_RUNS = 4;

interface Run {
  disk: number;
  memory: number;
  readonly pieces: Pieces;
}

export class ReadRuns {
  readonly #issue: (request: number, disk: number, pieces: Pieces) => void;
  readonly #runs: readonly Run[] = Array.from({ length: OPEN_RUNS }, () => ({ disk: 0, memory: 0, pieces: new Pieces() }));
  /** The first so many runs are open. */
  #open = 0;

  /** @param issue of one range of the disk; the pieces are not to be kept */
  constructor(issue: (request: number, disk: number, pieces: Pieces) => void) {
    this.#issue = issue;
  }

  /** Behind whatever was added before it in memory. All of one request until `finish`. */
  add(request: number, disk: number, memory: number, lengthBytes: number): void {
    for (let index = 0; index < this.#open; index++) {
      const run = this.#runs[index]!;
      if (run.disk - run.memory !== disk - memory) continue;
      const { pieces } = run;
      const gap = memory - run.memory - pieces.totalBytes;
      if (gap === 0) return pieces.growLast(lengthBytes);
      if (gap <= LONGEST_GAP_BYTES && pieces.count + 2 <= MAXIMUM_PIECES) {
        pieces.push(gap, UNWANTED);
        return pieces.push(lengthBytes, memory);
      }
      this.#issue(request, run.disk, pieces);
      return begin(run, disk, memory, lengthBytes);
    }
    if (this.#open < OPEN_RUNS) return begin(this.#runs[this.#open++]!, disk, memory, lengthBytes);
    const run = this.#runs[this.#behind()]!;
    this.#issue(request, run.disk, run.pieces);
    begin(run, disk, memory, lengthBytes);
  }

  /** Issues what was added and is not issued yet. */
  finish(request: number): void {
    const count = this.#open;
    this.#open = 0;
    for (let index = 0; index < count; index++) {
      const { disk, pieces } = this.#runs[index]!;
      this.#issue(request, disk, pieces);
    }
  }

  /** The run that ends first: the least likely to go on. */
  #behind(): number {
    let chosen = 0;
    for (let index = 1; index < OPEN_RUNS; index++) if (endOf(this.#runs[index]!) < endOf(this.#runs[chosen]!)) chosen = index;
    return chosen;
  }
}

function begin(run: Run, disk: number, memory: number, lengthBytes: number): void {
  run.disk = disk;
  run.memory = memory;
  run.pieces.clear();
  run.pieces.push(lengthBytes, memory);
}

function endOf(run: Run): number {
  return run.memory + run.pieces.totalBytes;
}
