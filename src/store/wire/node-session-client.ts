/**
 * The node role's side of the node session: keeps a stream open to its store and does what the store asks of a volume's
 * file system. A lost stream is opened again, sooner or later, until `close`.
 */
import type { Logger } from '../../util/log.ts';
import type { NodeAction, NodeReplyMessage, NodeRequestMessage } from './messages.ts';

/** The part of a client stream that this needs. */
export interface SessionStream {
  write(reply: NodeReplyMessage): unknown;
  on(event: 'data', listener: (request: NodeRequestMessage) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'close' | 'end', listener: () => void): unknown;
  cancel(): void;
}

export interface NodeSessionOptions {
  readonly node: string;
  readonly open: () => SessionStream;
  /** Does the action; a volume that is not mounted here is no error. Has its own time limit. */
  readonly perform: (action: NodeAction, volumeId: string) => Promise<void>;
  /** The stream is lost, or could not be opened: the store may be another one the next time. */
  readonly lost?: () => void;
  readonly log: Logger;
  readonly retryMs?: number;
}

const RETRY_MS = 500;

export class NodeSessionClient {
  readonly #options: NodeSessionOptions;
  #stream: SessionStream | null = null;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: NodeSessionOptions) {
    this.#options = options;
    this.#connect();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#stream?.cancel();
  }

  #connect(): void {
    if (this.#closed) return;
    const stream = this.#options.open();
    this.#stream = stream;
    let lost = false;
    const reconnect = (): void => {
      if (lost) return;
      lost = true;
      if (this.#closed) return;
      this.#options.lost?.();
      this.#timer = setTimeout(() => this.#connect(), this.#options.retryMs ?? RETRY_MS);
    };
    stream.on('data', (request) => void this.#serve(stream, request));
    stream.on('error', (error) => {
      if (!this.#closed) this.#options.log.debug({ reason: error.message }, 'node session lost');
      reconnect();
    });
    stream.on('end', () => {
      stream.cancel();
      reconnect();
    });
    stream.on('close', reconnect);
    stream.write({ requestId: 0, error: '', node: this.#options.node });
  }

  async #serve(stream: SessionStream, request: NodeRequestMessage): Promise<void> {
    const { requestId, volumeId, action } = request;
    const startedMs = performance.now();
    let error = '';
    try {
      if (action === 'ACTION_UNSPECIFIED') throw new Error('the store asks for something that this version does not know');
      await this.#options.perform(action, volumeId);
    } catch (reason) {
      error = reason instanceof Error ? reason.message : String(reason);
    }
    this.#options.log.info(
      { volume: volumeId, action, durationMs: Math.round(performance.now() - startedMs), error },
      'node session request',
    );
    stream.write({ requestId, error, node: this.#options.node });
  }
}
