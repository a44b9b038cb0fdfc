/**
 * Ends a run that hangs, from a thread of its own, because the thread that hangs may be the one that would notice: says
 * who was about what and where in the kernel this process waits, and kills the processes that it has started. With the
 * last holder of a FUSE connection what waits for it ends with errors, so the run fails, and can clean up.
 */
import path from 'node:path';
import { Worker } from 'node:worker_threads';

export interface HangWatchData {
  readonly limitMs: number;
  /** Int32: 1 when the run is over; then the number of bytes of the text. */
  readonly state: SharedArrayBuffer;
  readonly text: SharedArrayBuffer;
}

const TEXT_BYTES = 4096;

export class HangWatch {
  readonly #doing = new Map<string, string>();
  readonly #state = new Int32Array(new SharedArrayBuffer(8));
  readonly #text = new Uint8Array(new SharedArrayBuffer(TEXT_BYTES));
  readonly #worker: Worker;

  constructor(options: { readonly limitMs: number }) {
    const workerData: HangWatchData = { limitMs: options.limitMs, state: this.#state.buffer, text: this.#text.buffer };
    this.#worker = new Worker(path.join(import.meta.dirname, 'hang-watch-thread.ts'), { workerData, execArgv: [] });
    this.#worker.unref();
  }

  /** Who is about what. */
  tell(who: string, what: string): void {
    this.#doing.set(who, what);
    const bytes = Buffer.from(this.present).subarray(0, TEXT_BYTES);
    this.#text.set(bytes);
    Atomics.store(this.#state, 1, bytes.length);
  }

  get present(): string {
    return [...this.#doing].map(([who, what]) => `${who}: ${what}`).join('; ');
  }

  async stop(): Promise<void> {
    Atomics.store(this.#state, 0, 1);
    Atomics.notify(this.#state, 0);
    await this.#worker.terminate();
  }
}
