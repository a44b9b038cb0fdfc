/**
 * Tells when descriptors can be read, for those that Node's own event loop does not know (SEQPACKET sockets). One
 * ppoll(2) for all of them waits on one thread of libuv's pool, for as long as anything is watched; Node's timers,
 * signals and streams go on meanwhile.
 *
 * The end of a process waits for libuv's threads, so `process.exit` wakes the one that waits here.
 *
 * Invariant: `#round` is the promise of the loop while it runs, and the loop runs while something is watched.
 */
import { assert } from '../util/assert.ts';
import { closeDescriptor } from './files.ts';
import { createEventDescriptor, signalEvent, takeEvents } from './eventfd.ts';
import { systemCallAsync } from './libc.ts';
import { Structure } from './structure.ts';
import { isSystemError, storeErrorOf } from './system-error.ts';

export interface Watch {
  /** No callback comes after this. The descriptor may be closed at once. */
  stop(): void;
}

interface ActiveWatch extends Watch {
  readonly descriptor: number;
  readonly ready: () => void;
}

export class Poller {
  readonly #wake = createEventDescriptor({ blocking: false });
  readonly #watches = new Set<ActiveWatch>();
  #loop: Promise<void> | null = null;
  #failure: Error | null = null;
  #closed = false;
  readonly #atExit = (): void => signalEvent(this.#wake);

  constructor() {
    process.on('exit', this.#atExit);
  }

  /** Calls `ready` whenever the descriptor can be read or its other side is gone, until stopped; `ready` reads all there is, or
   * it is called again. It must not throw. */
  watch(descriptor: number, ready: () => void): Watch {
    assert(!this.#closed, 'a closed poller watches nothing');
    if (this.#failure !== null) throw this.#failure;
    const watch: ActiveWatch = {
      descriptor,
      ready,
      stop: () => {
        // The wait in progress holds the file open; waking it lets go of that.
        if (this.#watches.delete(watch)) signalEvent(this.#wake);
      },
    };
    this.#watches.add(watch);
    if (this.#loop === null) this.#loop = this.#run();
    else signalEvent(this.#wake);
    return watch;
  }

  /** Stops all watches and gives the thread back. The poller must not be used afterwards. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#watches.clear();
    signalEvent(this.#wake);
    await this.#loop;
    process.off('exit', this.#atExit);
    closeDescriptor(this.#wake);
  }

  async #run(): Promise<void> {
    try {
      while (this.#watches.size > 0) await this.#wait();
    } catch (error) {
      this.#failure = storeErrorOf(error, 'cannot wait for messages');
      throw error;
    } finally {
      this.#loop = null;
    }
  }

  async #wait(): Promise<void> {
    const watches = [...this.#watches];
    const entries = new Structure((watches.length + 1) * entryBytes);
    for (const [index, descriptor] of [this.#wake, ...watches.map((watch) => watch.descriptor)].entries()) {
      entries.view.setInt32(index * entryBytes, descriptor, true);
      entries.view.setInt16(index * entryBytes + 4, readable, true);
    }
    try {
      const options = { purpose: 'wait for messages', timeoutMs: Infinity, memory: entries, essential: true };
      await systemCallAsync('ppoll', [entries.address, watches.length + 1, 0, 0, 0], options);
    } catch (error) {
      if (!isSystemError(error, 'EINTR')) throw error;
      return;
    }
    if (entries.view.getInt16(6, true) !== 0) takeEvents(this.#wake);
    for (const [index, watch] of watches.entries()) {
      const events = entries.view.getInt16((index + 1) * entryBytes + 6, true);
      if (events !== 0 && this.#watches.has(watch)) watch.ready();
    }
  }
}

const entryBytes = 8; // struct pollfd
const readable = 1; // POLLIN; hang-up and error are reported without being asked for
