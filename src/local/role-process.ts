/**
 * One role as a child process that is kept alive. When it dies it is started again, after a pause that doubles while it
 * keeps dying. It can be waited for, asked to give up what is not in use, and ended.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { PARENT_VARIABLE, type RoleCommand, type RoleReport } from '../roles/process/lifecycle.ts';

export interface RoleProcessOptions {
  readonly name: string;
  readonly command: readonly [program: string, ...args: string[]];
  /** Runs the spawn; a place to change what the child inherits. */
  readonly around?: (spawnIt: () => ChildProcess) => ChildProcess;
  readonly environment?: Readonly<Record<string, string>>;
  readonly log: Logger;
  readonly pauseMs?: { readonly first: number; readonly most: number };
}

/** A life as long as this makes the next pause the first one again. */
const HEALTHY_MS = 30_000;
const PAUSE_MS = { first: 50, most: 5_000 };

export class RoleProcess {
  readonly name: string;
  readonly #options: RoleProcessOptions;
  readonly #events = new EventEmitter();
  #child: ChildProcess | null = null;
  #ready = false;
  /** How often it has become ready; callers that keep a connection to it make a new one when this changes. */
  #life = 0;
  #stopping = false;
  #pauseMs: number;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: RoleProcessOptions) {
    this.name = options.name;
    this.#options = options;
    this.#pauseMs = this.#pause.first;
    this.#events.setMaxListeners(0);
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  get life(): number {
    return this.#life;
  }

  get isReady(): boolean {
    return this.#ready;
  }

  /** Starts it for the first time. `unavailable` when it ends before it is ready: it has said why on standard error. */
  async start(): Promise<void> {
    assert(this.#child === null && this.#life === 0, `role ${this.name} is started once`);
    this.#spawn();
    const [event] = (await once(this.#events, 'news')) as ['ready' | 'ended'];
    if (event === 'ended') throw new StoreError('unavailable', `the ${this.name} could not start`);
  }

  /** Resolves when it is ready; `unavailable` when that takes longer than the limit. */
  async whenReady(options: { readonly timeoutMs: number }): Promise<void> {
    const deadline = AbortSignal.timeout(options.timeoutMs);
    while (!this.#ready) {
      try {
        await once(this.#events, 'news', { signal: deadline });
      } catch (error) {
        throw new StoreError('unavailable', `the ${this.name} is not running at the moment; ask again`, { cause: error });
      }
    }
  }

  /** What is still in use there, in words. */
  async drain(options: { readonly timeoutMs: number }): Promise<readonly string[]> {
    await this.whenReady(options);
    const deadline = AbortSignal.timeout(options.timeoutMs);
    this.#send({ kind: 'drain' });
    const [report] = (await once(this.#events, 'drained', { signal: deadline })) as [{ holders: readonly string[] }];
    return report.holders;
  }

  /** Ends it in order, by force after the limit. It is not started again. */
  async stop(options: { readonly timeoutMs: number }): Promise<void> {
    this.#stopping = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const child = this.#child;
    if (child === null) return;
    const ended = once(this.#events, 'ended');
    this.#send({ kind: 'stop' });
    const timer = setTimeout(() => {
      this.#options.log.error({ role: this.name, pid: child.pid }, 'does not stop; killed');
      child.kill('SIGKILL');
    }, options.timeoutMs);
    await ended;
    clearTimeout(timer);
  }

  get #pause(): { readonly first: number; readonly most: number } {
    return this.#options.pauseMs ?? PAUSE_MS;
  }

  #spawn(): void {
    const [program, ...args] = this.#options.command;
    const env = { ...process.env, ...this.#options.environment, [PARENT_VARIABLE]: String(process.pid) };
    const spawnIt = (): ChildProcess => spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env });
    const child = this.#options.around === undefined ? spawnIt() : this.#options.around(spawnIt);
    const startedMs = performance.now();
    this.#child = child;
    child.on('message', (report: RoleReport) => this.#reported(report));
    // An error of spawning comes without an exit.
    child.on('error', (error) => {
      this.#options.log.error({ role: this.name, err: error }, 'cannot be started');
      if (child.pid === undefined) this.#ended(performance.now() - startedMs, 'not started');
    });
    child.on('exit', (code, signal) => this.#ended(performance.now() - startedMs, signal ?? `status ${code ?? '?'}`));
  }

  #reported(report: RoleReport): void {
    if (report.kind === 'ready') {
      this.#ready = true;
      this.#life += 1;
      this.#events.emit('news', 'ready');
    } else {
      this.#events.emit('drained', report);
    }
  }

  #ended(livedMs: number, why: string): void {
    this.#child = null;
    this.#ready = false;
    this.#events.emit('news', 'ended');
    this.#events.emit('ended');
    // A role that was never ready is not tried again: whoever started it learns of it.
    if (this.#stopping || this.#life === 0) return;
    this.#pauseMs = livedMs >= HEALTHY_MS ? this.#pause.first : this.#pauseMs;
    this.#options.log.error({ role: this.name, why, pauseMs: this.#pauseMs }, 'role died; it is started again');
    this.#timer = setTimeout(() => this.#spawn(), this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, this.#pause.most);
  }

  #send(command: RoleCommand): void {
    // A channel that closes meanwhile: the child's end is on its way.
    this.#child?.send(command, () => {});
  }
}
