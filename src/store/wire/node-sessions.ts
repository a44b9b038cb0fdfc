/**
 * The store's side of the node sessions: before a cut of a mounted volume it asks the node role to write what the file
 * system holds back. A cut never depends on it: without a node, or when the node takes longer than the limit, the cut is
 * crash consistent and holds what had reached the device.
 */
import type { Logger } from '../../util/log.ts';
import { wait } from '../../util/wait.ts';
import type { NodeAction, NodeReplyMessage, NodeRequestMessage } from './messages.ts';

/** One open stream to a node role. */
export interface NodeSessionStream {
  send(request: NodeRequestMessage): void;
  /** The store stops. */
  end(): void;
}

interface Waiting {
  readonly session: NodeSessionStream;
  readonly settle: (error: string | null) => void;
}

const LIMIT_MS = 10_000;
/** One node role a node, and for a moment its successor. More are of processes that lost count: the oldest goes. */
const MOST_SESSIONS = 16;

export class NodeSessions {
  readonly #log: Logger;
  readonly #limitMs: number;
  readonly #sessions: NodeSessionStream[] = [];
  readonly #waiting = new Map<number, Waiting>();
  readonly #expectedUntilMs: number;
  #newcomer = Promise.withResolvers<void>();
  #lastRequestId = 0;

  /** `expectedWithinMs`: after a start the node role that was connected to the predecessor comes so soon; a cut waits for
   * it until then. */
  constructor(options: { readonly log: Logger; readonly limitMs?: number; readonly expectedWithinMs?: number }) {
    this.#log = options.log;
    this.#limitMs = options.limitMs ?? LIMIT_MS;
    this.#expectedUntilMs = performance.now() + (options.expectedWithinMs ?? 0);
  }

  /** Whether a node role is there to be asked. */
  get connected(): boolean {
    return this.#sessions.length > 0;
  }

  opened(session: NodeSessionStream): void {
    this.#sessions.push(session);
    if (this.#sessions.length > MOST_SESSIONS) {
      const oldest = this.#sessions[0]!;
      this.closed(oldest);
      oldest.end();
    }
    this.#newcomer.resolve();
    this.#newcomer = Promise.withResolvers<void>();
  }

  closed(session: NodeSessionStream): void {
    const index = this.#sessions.indexOf(session);
    if (index >= 0) this.#sessions.splice(index, 1);
    for (const waiting of this.#waiting.values()) if (waiting.session === session) waiting.settle('the node role went away');
  }

  /** Ends all streams, so that the server that carries them can end. */
  close(): void {
    for (const session of [...this.#sessions]) session.end();
  }

  replied(session: NodeSessionStream, reply: NodeReplyMessage): void {
    // A reply that comes after its limit finds nobody waiting; nothing is lost by that. One session does not answer for another.
    const waiting = this.#waiting.get(reply.requestId);
    if (waiting?.session === session) waiting.settle(reply.error === '' ? null : reply.error);
  }

  /**
   * Runs `cut` after the volume's file system was synced, and frozen meanwhile if asked for. Whatever the node does or
   * fails to do, the cut is made.
   */
  async beforeCut<Result>(volumeId: string, options: { readonly freeze: boolean }, cut: () => Promise<Result>): Promise<Result> {
    const prepared = await this.#ask(volumeId, options.freeze ? 'ACTION_FREEZE' : 'ACTION_SYNC');
    if (!prepared || !options.freeze) return cut();
    try {
      return await cut();
    } finally {
      // The freezer's own timer thaws should this be lost, so the answer need not wait.
      void this.#ask(volumeId, 'ACTION_THAW');
    }
  }

  async #ask(volumeId: string, action: NodeAction): Promise<boolean> {
    // The newest stream: an older one may belong to a node role that is on its way out.
    const session = this.#sessions.at(-1) ?? (await this.#expected());
    if (session === undefined) {
      this.#log.warn({ volume: volumeId, action }, 'no node role is connected; the cut goes on without it');
      return false;
    }
    const error = await this.#request(session, volumeId, action);
    if (error !== null)
      this.#log.warn({ volume: volumeId, action, reason: error }, 'the node role could not do it; the cut goes on without it');
    return error === null;
  }

  async #expected(): Promise<NodeSessionStream | undefined> {
    const remainingMs = this.#expectedUntilMs - performance.now();
    if (remainingMs <= 0) return undefined;
    const limit = new AbortController();
    await Promise.race([this.#newcomer.promise, wait(remainingMs, limit.signal)]);
    limit.abort();
    return this.#sessions.at(-1);
  }

  #request(session: NodeSessionStream, volumeId: string, action: NodeAction): Promise<string | null> {
    const requestId = ++this.#lastRequestId;
    return new Promise((resolve) => {
      const settle = (error: string | null): void => {
        clearTimeout(timer);
        this.#waiting.delete(requestId);
        resolve(error);
      };
      const timer = setTimeout(() => settle(`no answer within ${this.#limitMs} ms`), this.#limitMs);
      this.#waiting.set(requestId, { session, settle });
      session.send({ requestId, volumeId, action });
    });
  }
}
