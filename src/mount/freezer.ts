/**
 * The helper process that freezes one file system for a moment (role `freezer`). It exists so that nothing can leave a
 * volume frozen: it thaws when its standard input ends (its starter is done, or dead), on SIGTERM, and after a time
 * limit, whichever comes first, and it does not end before. It speaks in lines on standard output:
 *
 *   syncing, freezing      what it is about to do, so that its starter knows what may be left if it is killed; a freeze
 *                          cannot be called off, so it is begun only when it will be short
 *   frozen                 it is; the cut may be made until "thawed"
 *   busy                   it was frozen already, by somebody else's fsfreeze, which stays as it is
 *   abandoned              its starter went, or the limit came, before it was frozen; it is not frozen now
 *   failed: <reason>       it could not be frozen
 *   thawed, thawed early   the end of `frozen`; early: not because the starter was done, but by the limit, by a signal or by
 *                          somebody else, so a cut that the starter made meanwhile may not be clean
 */
import { freeze, syncFileSystem, thaw } from '../linux/files.ts';
import { isSystemError } from '../linux/system-error.ts';
import { setTimeout as delay } from 'node:timers/promises';

/** The descriptor of a folder on the file system, which the starter hands over. */
export const freezerDescriptor = 3;

export interface FreezerCalls {
  sync(descriptor: number): Promise<void>;
  freeze(descriptor: number): Promise<void>;
  thaw(descriptor: number): Promise<void>;
}

/** What the helper hears from outside, and the way it answers. */
export interface FreezerSurroundings {
  /** Settles when the starter is done, or gone. */
  readonly released: Promise<unknown>;
  /** Settles when somebody else asks for the end. */
  readonly stopped: Promise<unknown>;
  readonly say: (line: string) => void;
  readonly nowMs?: () => number;
}

/** Runs the helper to its end. `timeLimitMs` is how long the file system may stay frozen, 5 s by default. */
export async function runFreezer(options: { readonly timeLimitMs?: number } = {}): Promise<void> {
  const released = new Promise<void>((resolve) => {
    process.stdin
      .on('end', resolve)
      .on('close', resolve)
      .on('error', () => resolve())
      .resume();
  });
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => resolve());
  });
  // A starter that died does not read what we say.
  process.stdout.on('error', () => {});
  const surroundings = { released, stopped, say: (line: string) => void process.stdout.write(`${line}\n`) };
  await serveFreeze(freezerCalls, surroundings, { timeLimitMs: options.timeLimitMs ?? defaultTimeLimitMs });
  process.stdin.destroy();
}

/** The order of events, apart from this process: see the head of the file. */
export async function serveFreeze(
  calls: FreezerCalls,
  surroundings: FreezerSurroundings,
  options: { readonly timeLimitMs: number },
): Promise<void> {
  const { say } = surroundings;
  let endedBy: 'starter' | 'another' | null = null;
  const isReleased = (): boolean => endedBy !== null;
  const released = Promise.race([
    surroundings.released.then(() => void (endedBy ??= 'starter')),
    surroundings.stopped.then(() => void (endedBy ??= 'another')),
  ]);

  say('syncing');
  try {
    const rests = await comeToRest(() => Promise.race([calls.sync(freezerDescriptor), released]), {
      isReleased,
      nowMs: surroundings.nowMs ?? (() => performance.now()),
    });
    if (isReleased()) return say('abandoned');
    if (!rests) return say('failed: it is written to faster than its device takes it, so that a freeze would last too long');
  } catch (error) {
    say(`failed: the sync before: ${String(error)}`);
    return;
  }

  say('freezing');
  // The limit runs from here: writers wait as soon as the call begins, not when it returns.
  const limit = delay(options.timeLimitMs, undefined, { ref: false }).then(() => void (endedBy ??= 'another'));
  try {
    await calls.freeze(freezerDescriptor);
  } catch (error) {
    say(isSystemError(error, 'EBUSY') ? 'busy' : `failed: ${String(error)}`);
    return;
  }
  if (isReleased()) {
    await thawSurely(calls);
    return say('abandoned');
  }
  say('frozen');
  await Promise.race([released, limit]);
  const lasted = await thawSurely(calls);
  // Only this process knows what came first: its starter may be done while the thaw at the limit is under way.
  say(lasted && endedBy === 'starter' ? 'thawed' : 'thawed early');
}

/**
 * Syncs until so little is left to write that the freeze will be short: it syncs once more, with all writers stopped, and
 * nothing can undo it before that is over. What a sync leaves behind was written while it ran; so the next one takes
 * longer by the factor by which writers are faster than the device. False: that factor is too large.
 */
async function comeToRest(
  sync: () => Promise<unknown>,
  surroundings: { readonly isReleased: () => boolean; readonly nowMs: () => number },
): Promise<boolean> {
  let beforeMs = 0;
  for (let round = 0; round < mostSyncs && !surroundings.isReleased(); round += 1) {
    const startMs = surroundings.nowMs();
    await sync();
    const tookMs = surroundings.nowMs() - startMs;
    if (isShort({ beforeMs, tookMs })) return true;
    beforeMs = tookMs;
  }
  return false;
}

/** Whether a freeze will be short that follows a sync which took so long, and one before that. */
function isShort({ beforeMs, tookMs }: { readonly beforeMs: number; readonly tookMs: number }): boolean {
  return tookMs <= shortSyncMs && tookMs <= growthTaken * beforeMs + negligibleSyncMs;
}

/** Says whether it was still frozen. Anything but "it is not frozen" is tried again for as long as it takes. */
async function thawSurely(calls: FreezerCalls): Promise<boolean> {
  for (;;) {
    try {
      await calls.thaw(freezerDescriptor);
      return true;
    } catch (error) {
      if (isSystemError(error, 'EINVAL')) return false;
      await delay(thawRetryMs);
    }
  }
}

/** No limit of its own on a call: the process must not end while the kernel may still come to freeze. */
const noTimeLimitMs = Infinity;

const freezerCalls: FreezerCalls = {
  sync: (descriptor) => syncFileSystem(descriptor, { timeoutMs: 10_000 }),
  freeze: (descriptor) => freeze(descriptor, { timeoutMs: noTimeLimitMs }),
  thaw: (descriptor) => thaw(descriptor, { timeoutMs: noTimeLimitMs }),
};

const defaultTimeLimitMs = 5000;
const mostSyncs = 50;
const shortSyncMs = 1000;
const negligibleSyncMs = 30;
/** Two syncs of the same length never take quite the same time. */
const growthTaken = 1.5;
const thawRetryMs = 100;
