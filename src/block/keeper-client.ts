/**
 * A process's side of the keeper. It remembers what was put, and when the keeper dies it connects to the next one and
 * puts everything again; so the death of either alone costs nothing.
 *
 * Invariants: what `put` resolved for is in `#registry` until `drop`; its descriptors belong to the caller, who keeps
 * them open that long. A key in `#abandoned` is not in `#registry`, and is dropped as soon as there is a keeper.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { Poller } from '../linux/poller.ts';
import { ConnectionOver, KeeperConnection, type Answer, type Question } from './keeper-connection.ts';
import type { KeeperEntry, KeeperMetadata, KeeperRole } from './keeper-protocol.ts';

export interface KeeperClientOptions {
  readonly socketPath: string;
  readonly role: KeeperRole;
  /** The pool's id. */
  readonly pool: string;
  /** Shared with others of this process; each poller occupies one thread of libuv's pool. */
  readonly poller?: Poller;
  /** For each call as a whole, waiting for a keeper included. */
  readonly timeoutMs?: number;
  /** The keeper is gone. What it held is at risk until `onRefilled`. */
  readonly onLost?: (reason: Error) => void;
  /** A keeper holds everything again. */
  readonly onRefilled?: () => void;
}

export interface Held {
  readonly metadata: KeeperMetadata;
  /** In the order in which they were put. They belong to whoever asked. */
  readonly descriptors: readonly number[];
}

interface Registered extends Held {
  /** The keeper process that has it. */
  confirmedBy: string | null;
}

const defaultTimeoutMs = 5_000;
const firstPauseMs = 10;
const longestPauseMs = 500;
const leavePollMs = 20;

export class KeeperClient {
  readonly #options: KeeperClientOptions;
  readonly #poller: Poller;
  readonly #timeoutMs: number;
  readonly #registry = new Map<string, Registered>();
  readonly #abandoned = new Set<string>();
  readonly #closed = new AbortController();
  #connection: KeeperConnection | null = null;
  /** The connection over which this process has said that it is leaving. */
  #left: KeeperConnection | null = null;
  /** Resolved when a connection is there; replaced when it is lost. */
  #connected = Promise.withResolvers<void>();
  #lastError: unknown = null;
  #maintenance: Promise<void> = Promise.resolve();

  private constructor(options: KeeperClientOptions) {
    this.#options = options;
    this.#poller = options.poller ?? new Poller();
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  }

  /** Resolves when a keeper answered. StoreError `failed-precondition` when it speaks another version, `unavailable` when
   * there is none within the time limit. */
  static async connect(options: KeeperClientOptions): Promise<KeeperClient> {
    const client = new KeeperClient(options);
    const deadline = performance.now() + client.#timeoutMs;
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      try {
        await client.#open();
        return client;
      } catch (error) {
        const final = !(error instanceof StoreError) || error.code !== 'unavailable';
        if (final || performance.now() >= deadline) {
          await client.close();
          throw error;
        }
      }
      await delay(pauseMs);
    }
  }

  /** A keeper has everything that was put. */
  get ready(): boolean {
    const instance = this.#connection?.instance;
    if (instance === undefined) return false;
    return [...this.#registry.values()].every((entry) => entry.confirmedBy === instance);
  }

  /**
   * Gives the keeper copies of the descriptors; resolves when it has them. What the key held before is replaced. The
   * caller keeps its own open until `drop`. When it rejects, the keeper does not have them, or lets go of them when it
   * is there again.
   */
  async put(key: string, metadata: KeeperMetadata, descriptors: readonly number[]): Promise<void> {
    const entry: Registered = { metadata, descriptors, confirmedBy: null };
    this.#registry.set(key, entry);
    this.#abandoned.delete(key);
    try {
      await this.#withConnection((connection) => this.#confirm(connection, key, entry));
    } catch (error) {
      if (this.#registry.get(key) === entry) {
        this.#registry.delete(key);
        this.#abandoned.add(key);
      }
      throw error;
    }
  }

  /** Copies of what is held under the key, all of it or the descriptors at `places`; null when there is no such key. A
   * keeper that was just started may not have it yet: ask again for a while. */
  async get(key: string, options: { readonly places?: readonly number[] } = {}): Promise<Held | null> {
    const question: Question = { type: 'get', key, ...(options.places === undefined ? {} : { places: options.places }) };
    const { answer, descriptors } = await this.#ask(question);
    assert(answer.type === 'held', 'a keeper answers get with held');
    return answer.metadata === null ? null : { metadata: answer.metadata, descriptors };
  }

  /** Like `get`, and answers for the key from now on, as if it had put it: for the successor of a process that died. */
  async adopt(key: string): Promise<Held | null> {
    return this.#withConnection(async (connection) => {
      const { answer, descriptors } = await connection.ask({ type: 'get', key }, []);
      assert(answer.type === 'held', 'a keeper answers get with held');
      if (answer.metadata === null) return null;
      const held: Held = { metadata: answer.metadata, descriptors };
      this.#registry.set(key, { ...held, confirmedBy: connection.instance });
      this.#abandoned.delete(key);
      return held;
    });
  }

  /** Everything that is held for this pool, in the order of the keys. */
  async list(): Promise<readonly KeeperEntry[]> {
    const entries: KeeperEntry[] = [];
    for (;;) {
      const { answer } = await this.#ask({ type: 'list', after: entries.at(-1)?.key ?? '' });
      assert(answer.type === 'page', 'a keeper answers list with a page');
      entries.push(...answer.entries);
      if (!answer.more || answer.entries.length === 0) return entries;
    }
  }

  /** The keeper lets go of the key; the caller may close its own descriptors, also when this rejects: then it is done as
   * soon as there is a keeper again. */
  async drop(key: string): Promise<void> {
    this.#registry.delete(key);
    this.#abandoned.add(key);
    await this.#withConnection((connection) => this.#release(connection, key));
  }

  /**
   * Before this process lets go of everything: resolves with true when a keeper has all of it and knows that it will get
   * nothing here any more, and so stays until somebody else has it. False when there was none in time. May be repeated,
   * for a keeper may be killed after it has answered.
   */
  async leave(options: { readonly timeoutMs: number }): Promise<boolean> {
    const deadline = performance.now() + options.timeoutMs;
    while (!this.#closed.signal.aborted) {
      const connection = this.#connection;
      if (connection !== null && this.ready) {
        try {
          if (this.#left !== connection) await connection.leave();
          this.#left = connection;
          // Nothing was put meanwhile that it lacks.
          if (this.#connection === connection && this.ready) return true;
        } catch (error) {
          // One that refuses knows nothing of leaving, and would not stay.
          if (!(error instanceof ConnectionOver)) return false;
        }
      }
      if (performance.now() >= deadline) return false;
      await delay(leavePollMs);
    }
    return false;
  }

  /** Ends the connection. What was put stays with the keeper, and the descriptors with the caller. */
  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#connection?.close();
    this.#connection = null;
    this.#connected.resolve();
    await this.#maintenance;
    if (this.#options.poller === undefined) await this.#poller.close();
  }

  async #ask(question: Question): Promise<Answer> {
    return this.#withConnection((connection) => connection.ask(question, []));
  }

  /** Runs `use`, again on the next connection when one breaks, until the time is up; so `use` must be repeatable. */
  async #withConnection<Result>(use: (connection: KeeperConnection) => Promise<Result>): Promise<Result> {
    const deadline = performance.now() + this.#timeoutMs;
    for (;;) {
      const connection = await this.#connectionBefore(deadline);
      try {
        return await use(connection);
      } catch (error) {
        if (!(error instanceof ConnectionOver)) throw error;
      }
    }
  }

  async #connectionBefore(deadline: number): Promise<KeeperConnection> {
    const remainingMs = deadline - performance.now();
    if (this.#connection === null && remainingMs > 0 && !this.#closed.signal.aborted) {
      const timer = new AbortController();
      await Promise.race([this.#connected.promise, delay(remainingMs, undefined, { signal: timer.signal }).catch(() => {})]);
      timer.abort();
    }
    if (this.#connection !== null && !this.#closed.signal.aborted) return this.#connection;
    const why = this.#closed.signal.aborted ? 'this client was closed' : `none within ${this.#timeoutMs} ms`;
    throw new StoreError('unavailable', `no keeper at ${this.#options.socketPath}: ${why}`, { cause: this.#lastError });
  }

  async #confirm(connection: KeeperConnection, key: string, entry: Registered): Promise<void> {
    await connection.ask({ type: 'put', key, metadata: entry.metadata }, entry.descriptors);
    entry.confirmedBy = connection.instance;
  }

  async #release(connection: KeeperConnection, key: string): Promise<void> {
    // It may have been put again while this waited.
    if (!this.#abandoned.has(key)) return;
    await connection.ask({ type: 'drop', key }, []);
    this.#abandoned.delete(key);
  }

  async #open(): Promise<KeeperConnection> {
    const { socketPath, role, pool } = this.#options;
    let opened: KeeperConnection | null = null;
    const connection = await KeeperConnection.open({
      socketPath,
      role,
      pool,
      poller: this.#poller,
      timeoutMs: this.#timeoutMs,
      onOver: (reason) => {
        if (opened !== null && this.#connection === opened) this.#lose(reason);
      },
    });
    if (this.#closed.signal.aborted) {
      connection.close();
      throw new StoreError('unavailable', 'this keeper client was closed');
    }
    // It may have answered and gone in the same moment, before anybody here would notice.
    if (connection.isOver) throw new StoreError('unavailable', `the keeper at ${socketPath} is gone again`);
    opened = connection;
    this.#connection = connection;
    this.#connected.resolve();
    return connection;
  }

  #lose(reason: Error): void {
    this.#connection = null;
    this.#lastError = reason;
    // Also the same keeper is given everything again: it knows by that who has what.
    for (const entry of this.#registry.values()) entry.confirmedBy = null;
    this.#connected = Promise.withResolvers<void>();
    this.#options.onLost?.(reason);
    this.#maintenance = this.#maintenance.then(() => this.#reconnect());
  }

  /** Goes on until there is a keeper that has everything, or this client is closed: without one, nothing else helps. */
  async #reconnect(): Promise<void> {
    for (let pauseMs = firstPauseMs; !this.#closed.signal.aborted; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      try {
        const connection = this.#connection ?? (await this.#open());
        await this.#refill(connection);
        this.#options.onRefilled?.();
        return;
      } catch (error) {
        this.#lastError = error;
        // The connection that broke meanwhile has started the next round.
        if (error instanceof ConnectionOver) return;
      }
      await delay(pauseMs, undefined, { signal: this.#closed.signal }).catch(() => {});
    }
  }

  async #refill(connection: KeeperConnection): Promise<void> {
    for (const key of [...this.#abandoned]) await this.#release(connection, key);
    for (const [key, entry] of [...this.#registry]) {
      if (entry.confirmedBy === connection.instance || this.#registry.get(key) !== entry) continue;
      await this.#confirm(connection, key, entry);
    }
  }
}
