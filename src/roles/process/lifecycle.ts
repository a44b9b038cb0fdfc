/**
 * What all role processes share: a telling title, orderly ends, and the tie to a parent (`chunkstore local`).
 *
 * On its own a role ends on SIGTERM and SIGINT. Under a parent only the parent ends it, by a message: a signal to the
 * whole process group (a terminal's Ctrl-C, systemd) must not take the store away from mounted volumes. When the parent
 * dies, the role ends too: it sees its channel close, and the kernel sends it a SIGTERM besides.
 */
import { endWithParent } from '../../linux/process.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { markAsServingIo } from './io-flusher.ts';

/** Parent to role. */
export type RoleCommand = { readonly kind: 'stop' } | { readonly kind: 'drain' };
/** Role to parent. `holders`: what is still in use, in words; empty when nothing is. */
export type RoleReport = { readonly kind: 'ready' } | { readonly kind: 'drained'; readonly holders: readonly string[] };

export interface RunningRole {
  /** When it does its work; missing: it does already. A role that can be ended before says so here. */
  readonly ready?: Promise<void>;
  /** Ends in order. Limited in time by the caller. */
  stop(): Promise<void>;
  /** How long that may take after a signal, where that is not as usual. */
  readonly stopLimitMs?: number;
  /** Gives up what is not in use; answers what is, in words. */
  drain?(): Promise<readonly string[]>;
}

/** What a role may ask of its process. */
export interface RoleProcessControl {
  /** Ends in order, as on a signal, but as a failure, so that whoever started the process starts it again. */
  endWith(error: Error): void;
}

/** Names the parent's process to its roles, because the parent may die before they look. */
export const PARENT_VARIABLE = 'CHUNKSTORE_PARENT_PID';
const STOP_LIMIT_MS = 30_000;
const ORPHAN_LIMIT_MS = 5_000;

/** Runs a role until it is told to end. Resolves never: the process exits. */
export async function runRole(options: {
  readonly name: string;
  readonly log: Logger;
  readonly start: (control: RoleProcessControl) => Promise<RunningRole>;
  /** Others' I/O waits for this process: its own memory must not wait for theirs. */
  readonly servesIo?: boolean;
}): Promise<void> {
  const { name, log } = options;
  const parentPid = Number(process.env[PARENT_VARIABLE] ?? 0);
  // A parent has seen to it before it started this process.
  if (options.servesIo === true && parentPid === 0) markAsServingIo(log);
  process.title = `chunkstore ${name}`;
  const ending = new Ending(log);
  if (parentPid > 0) tieToParent(parentPid, ending, log);
  else
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.on(signal, () => ending.begin({ why: signal, limitMs: ending.signalLimitMs }));
  try {
    const role = await options.start({ endWith: (error) => ending.begin({ why: error.message, limitMs: STOP_LIMIT_MS, status: 1 }) });
    ending.started(role);
    process.on('message', (command: RoleCommand) => void obey(command, role, ending, log));
    await role.ready;
    log.info('ready');
    report({ kind: 'ready' });
  } catch (error) {
    fail(name, log, error);
  }
}

/** Ends the process with one clear line for a person; a bug keeps its stack, in the log. */
export function fail(name: string, log: Logger, error: unknown): never {
  if (!(error instanceof StoreError)) log.fatal({ err: error }, 'ended by a bug');
  process.stderr.write(`chunkstore ${name}: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

/** Makes sure that an end begins once, and comes. */
class Ending {
  readonly #log: Logger;
  readonly #role = Promise.withResolvers<RunningRole>();
  #begun = false;
  #signalLimitMs = STOP_LIMIT_MS;

  constructor(log: Logger) {
    this.#log = log;
  }

  get signalLimitMs(): number {
    return this.#signalLimitMs;
  }

  started(role: RunningRole): void {
    this.#signalLimitMs = role.stopLimitMs ?? STOP_LIMIT_MS;
    this.#role.resolve(role);
  }

  begin(options: { readonly why: string; readonly limitMs: number; readonly status?: number }): void {
    if (this.#begun) return;
    this.#begun = true;
    const status = options.status ?? 0;
    this.#log[status === 0 ? 'info' : 'error']({ why: options.why }, 'stopping');
    setTimeout(() => {
      this.#log.error(`did not stop within ${options.limitMs} ms`);
      process.exit(1);
    }, options.limitMs);
    void this.#stop(status);
  }

  async #stop(status: number): Promise<void> {
    try {
      const role = await this.#role.promise;
      await role.stop();
      this.#log.info('stopped');
      process.exit(status);
    } catch (error) {
      this.#log.error({ err: error }, 'did not stop in order');
      process.exit(1);
    }
  }
}

function tieToParent(parentPid: number, ending: Ending, log: Logger): void {
  const orphaned = (): void => ending.begin({ why: 'the parent process died', limitMs: ORPHAN_LIMIT_MS });
  process.on('disconnect', orphaned);
  process.on('SIGTERM', () => {
    if (process.ppid !== parentPid) orphaned();
    else log.debug('SIGTERM ignored: the parent process ends this one');
  });
  process.on('SIGINT', () => {});
  process.on('SIGHUP', () => {});
  if (!endWithParent({ signal: 'SIGTERM', parentId: parentPid })) process.exit(1);
}

async function obey(command: RoleCommand, role: RunningRole, ending: Ending, log: Logger): Promise<void> {
  if (command.kind === 'stop') {
    ending.begin({ why: 'the parent process asked for it', limitMs: STOP_LIMIT_MS });
    return;
  }
  let holders: readonly string[];
  try {
    holders = (await role.drain?.()) ?? [];
  } catch (error) {
    log.warn({ err: error }, 'could not find out what is in use');
    holders = [`something: ${error instanceof Error ? error.message : String(error)}`];
  }
  report({ kind: 'drained', holders });
}

/** To the parent, if there is one. One that has just gone is noticed by the channel's end, not by what cannot be sent. */
function report(news: RoleReport): void {
  if (process.connected) process.send?.(news, undefined, undefined, () => {});
}
