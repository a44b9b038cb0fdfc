/**
 * A program that sets up drivers, mounts and devices on this machine, and takes all of it down again whatever happens:
 * at the end, after a failure, on Ctrl-C, SIGTERM or SIGHUP, and when it takes too long.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LocalDriver, unmountAll, type DriverOptions } from './local-driver.ts';

export interface Guarded {
  /** Empty at first, and removed at the end. */
  readonly folder: string;
  /** Aborted when it is to end. */
  readonly signal: AbortSignal;
  /** In a folder of its own in `folder`. The driver is stopped at the end, if it was not stopped before. */
  startDriver(options: Omit<DriverOptions, 'folder'> & { readonly name: string }): Promise<LocalDriver>;
  /** Stops a driver before the end; what was not in order goes to the answer of `runGuarded`. */
  stopDriver(driver: LocalDriver): Promise<void>;
  /** Done at the end, the latest first, and before drivers are stopped. */
  atEnd(action: () => Promise<void>): void;
}

export interface GuardedOptions {
  /** Of the folder, before what makes it unique. */
  readonly prefix: string;
  /** Where the folder is made. */
  readonly parent: string;
  readonly limitMs: number;
}

/** After an interruption, the step under way may end by itself. */
const settleLimitMs = 15_000;

/** Runs `body`; answers in words what went wrong, in it or in the taking down. Nothing: all is well, and nothing is left. */
export async function runGuarded(options: GuardedOptions, body: (guarded: Guarded) => Promise<void>): Promise<readonly string[]> {
  const interrupt = new AbortController();
  const { signal } = interrupt;
  const seconds = Math.round(options.limitMs / 1000);
  const timer = setTimeout(() => interrupt.abort(`it was not over within ${seconds} s`), options.limitMs);
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!signal.aborted) console.error(`\n${name}: cleaning up`);
      interrupt.abort(`interrupted by ${name}`);
    });
  }
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(options.parent), options.prefix));
  const problems: string[] = [];
  const drivers = new Set<LocalDriver>();
  const ends: (() => Promise<void>)[] = [];
  const stopDriver = async (driver: LocalDriver): Promise<void> => {
    drivers.delete(driver);
    problems.push(...(await driver.stop()));
  };
  const running = body({
    folder,
    signal,
    startDriver: async ({ name, ...rest }) => {
      signal.throwIfAborted();
      const driver = await LocalDriver.start({ ...rest, folder: path.join(folder, name) });
      drivers.add(driver);
      return driver;
    },
    stopDriver,
    atEnd: (action) => ends.unshift(action),
  });
  try {
    await Promise.race([running, interruption(signal)]);
  } catch (error) {
    problems.push(signal.aborted ? String(signal.reason) : (error as Error).message);
    for (const driver of drivers) problems.push(...driver.log.map((line) => `  driver: ${line}`));
  }
  clearTimeout(timer);
  for (const end of ends) await end().catch((error: Error) => problems.push(error.message));
  for (const driver of drivers) await stopDriver(driver);
  problems.push(...(await unmountAll(folder)));
  fs.rmSync(folder, { recursive: true, force: true });
  return problems;
}

/** Fails some time after the signal, so that the step under way can end. */
async function interruption(signal: AbortSignal): Promise<never> {
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  await delay(settleLimitMs, undefined, { ref: false });
  throw new Error('the step under way did not end');
}
