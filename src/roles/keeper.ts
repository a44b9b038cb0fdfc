/**
 * The keeper role: as small as possible, because whatever it is, everybody's devices depend on it. With --linger it lets
 * nobody down at its end: it stays until what it holds is with a store that stays, as far as the time allows.
 */
import fs from 'node:fs';
import path from 'node:path';
import { Keeper, type KeeperOptions } from '../block/keeper.ts';
import { Poller } from '../linux/poller.ts';
import type { Config } from '../config.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { wait } from '../util/wait.ts';
import type { RunningRole } from './process/lifecycle.ts';

const POLL_MS = 50;
/**
 * For so long a store must have had everything. Who ends this keeper often ends its store in the same moment, and a store
 * that has just got everything has not opened its pool yet, and may still fail.
 */
const SETTLE_MS = 2_000;
/** For what comes after lingering. */
const END_MS = 5_000;

export async function startKeeper(config: Config, log: Logger): Promise<RunningRole> {
  const { flags } = config;
  const socketPath = flags.text('socket');
  fs.mkdirSync(path.dirname(socketPath), { recursive: true, mode: 0o700 });
  const options: KeeperOptions = { socketPath, poller: new Poller(), log: (message, fields) => log.debug(fields, message) };
  if (!flags.has('linger')) {
    const keeper = new Keeper(options);
    return { stop: async () => keeper.close() };
  }
  const lingerMs = flags.number('linger') * 1000;
  const stopping = new AbortController();
  const serving = succeed(options, { log, stopping: stopping.signal });
  return {
    ready: serving.then(() => {}),
    stopLimitMs: lingerMs + END_MS,
    stop: async () => {
      stopping.abort();
      const keeper = await serving;
      if (keeper === null) return;
      await linger(keeper, { lingerMs, log });
      // In the same turn as the last look: what a store has said since is not answered, and so not relied upon.
      keeper.close();
    },
  };
}

/** A predecessor may linger on the same socket; its successor would only be started again. Null: it is to end. */
async function succeed(options: KeeperOptions, process: { readonly log: Logger; readonly stopping: AbortSignal }): Promise<Keeper | null> {
  const { log, stopping } = process;
  for (let told = false; !stopping.aborted; told = true) {
    try {
      return new Keeper(options);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'in-use') throw error;
      if (!told) log.info({ reason: error.message }, 'waiting for the end of the keeper before this one');
    }
    await wait(POLL_MS, stopping);
  }
  return null;
}

async function linger(keeper: Keeper, options: { readonly lingerMs: number; readonly log: Logger }): Promise<void> {
  const { lingerMs, log } = options;
  const deadlineMs = performance.now() + lingerMs;
  let spareSinceMs: number | null = null;
  for (let told = false; keeper.holdsDevices; await wait(POLL_MS)) {
    const nowMs = performance.now();
    if (!keeper.isSpare) spareSinceMs = null;
    else if (nowMs - (spareSinceMs ??= nowMs) >= SETTLE_MS) return;
    if (nowMs >= deadlineMs) break;
    if (keeper.isSpare || told) continue;
    told = true;
    log.warn('no store that stays has the devices: waiting for one before the end');
  }
  if (!keeper.isSpare) log.error('no store has come: the devices in use on this node end with this keeper');
}
