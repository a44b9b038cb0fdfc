/** Says in the store's log what became of defragmenting, within a minute. It asks through the store's gate. */
import type { Clock } from '../../util/clock.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { Recurring } from '../../util/recurring.ts';
import { defragmentOf } from '../wire/defragment-messages.ts';
import type { DefragmentMessage } from '../wire/messages.ts';

export interface DefragmentLogOptions {
  /** Behind the store's gate. */
  readonly calls: { getDefragment(request: { readonly id: string }): Promise<DefragmentMessage> };
  readonly clock: Clock;
  readonly log: Logger;
}

export const LOOK_MS = 60_000;
const RETRY_MS = { first: LOOK_MS, most: 10 * LOOK_MS };

export class DefragmentLog {
  readonly #options: DefragmentLogOptions;
  readonly #recurring: Recurring;
  #toldEndAtMs = 0;

  /** Begins at once. */
  constructor(options: DefragmentLogOptions) {
    this.#options = options;
    this.#recurring = new Recurring({
      clock: options.clock,
      action: async () => {
        await this.#look();
        return LOOK_MS;
      },
      onError: (error) => {
        // The pool is given up, or the store is ending.
        if (error instanceof StoreError && error.code === 'unavailable') return;
        options.log.debug({ err: error }, 'what became of defragmenting is not known');
      },
      retryMs: RETRY_MS,
    });
  }

  stop(): Promise<void> {
    return this.#recurring.stop();
  }

  async #look(): Promise<void> {
    const { calls, log } = this.#options;
    const { id, state, startedAtMs, endedAtMs, movedBytes, foundPieces, leftPieces } = defragmentOf(await calls.getDefragment({ id: '' }));
    if (endedAtMs === 0 || endedAtMs === this.#toldEndAtMs) return;
    this.#toldEndAtMs = endedAtMs;
    const figures = { volume: id, state, tookMs: endedAtMs - startedAtMs, movedBytes, foundPieces, leftPieces };
    if (state === 'out-of-space') log.warn(figures, 'defragmenting a volume ended early: the pool has too little free space');
    else log.info(figures, 'defragmenting a volume has ended');
  }
}
