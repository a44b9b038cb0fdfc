/**
 * One connection to a keeper: requests go out one at a time, each is answered within its limit or the connection is
 * over. A connection that is over stays over; KeeperClient makes the next one.
 */
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { connect, receive, send, type Message } from '../linux/descriptors.ts';
import { closeDescriptor } from '../linux/files.ts';
import type { Poller, Watch } from '../linux/poller.ts';
import {
  decodeAnswer,
  encodeMessage,
  keeperProtocolVersion,
  type KeeperAnswer,
  type KeeperRequest,
  type KeeperRole,
} from './keeper-protocol.ts';

export interface ConnectionOptions {
  readonly socketPath: string;
  readonly poller: Poller;
  readonly role: KeeperRole;
  readonly pool: string;
  /** For each request. */
  readonly timeoutMs: number;
  /** Called once, when the connection is over for whatever reason but `close`. */
  readonly onOver: (reason: Error) => void;
}

type WithoutId<Request> = Request extends unknown ? Omit<Request, 'id'> : never;
export type Question = WithoutId<KeeperRequest>;

export interface Answer {
  readonly answer: KeeperAnswer;
  /** They belong to whoever asked. */
  readonly descriptors: readonly number[];
}

interface Pending {
  readonly id: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

/** The connection broke while or before it was asked; the question may or may not have been heard. */
export class ConnectionOver extends Error {
  override readonly name = 'ConnectionOver';
}

export class KeeperConnection {
  readonly #options: ConnectionOptions;
  readonly #socket: number;
  readonly #watch: Watch;
  #instance = '';
  #lastId = 0;
  #pending: Pending | null = null;
  #queue: Promise<unknown> = Promise.resolve();
  #over: Error | null = null;

  private constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#socket = connect(options.socketPath);
    this.#watch = options.poller.watch(this.#socket, () => this.#receiveAll());
  }

  /** Connects and says hello. StoreError `unavailable` when nobody answers, `failed-precondition` when it is a keeper of
   * another version. */
  static async open(options: ConnectionOptions): Promise<KeeperConnection> {
    const connection = new KeeperConnection(options);
    const { role, pool } = options;
    try {
      const { answer } = await connection.ask({ type: 'hello', version: keeperProtocolVersion, role, pool }, []);
      assert(answer.type === 'welcome', 'a keeper answers hello with welcome');
      if (answer.version !== keeperProtocolVersion) throw otherVersion(answer.version);
      connection.#instance = answer.instance;
      return connection;
    } catch (error) {
      connection.close();
      if (error instanceof StoreError) throw error;
      throw new StoreError('unavailable', `the keeper at ${options.socketPath} does not answer`, { cause: error });
    }
  }

  get isOver(): boolean {
    return this.#over !== null;
  }

  /** Differs between any two keeper processes. */
  get instance(): string {
    return this.#instance;
  }

  /** Rejects with ConnectionOver, or with a StoreError when the keeper refuses. */
  ask(question: Question, descriptors: readonly number[]): Promise<Answer> {
    const asked = this.#queue.then(() => this.#askNow(question, descriptors));
    this.#queue = asked.catch(() => {});
    return asked;
  }

  /** Tells the keeper that this process is about to let go of all that it has; resolves when it knows. */
  async leave(): Promise<void> {
    const { role, pool } = this.#options;
    await this.ask({ type: 'hello', version: keeperProtocolVersion, role, pool, leaving: true }, []);
  }

  close(): void {
    if (this.#over !== null) return;
    this.#end(new ConnectionOver('the connection to the keeper was closed'));
  }

  #askNow(question: Question, descriptors: readonly number[]): Promise<Answer> {
    if (this.#over !== null) return Promise.reject(this.#over);
    const id = ++this.#lastId;
    return new Promise<Answer>((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(`no answer within ${this.#options.timeoutMs} ms`), this.#options.timeoutMs);
      const settle = (): void => {
        clearTimeout(timer);
        this.#pending = null;
      };
      this.#pending = {
        id,
        resolve: (answer) => (settle(), resolve(answer)),
        reject: (error) => (settle(), reject(error)),
      };
      try {
        const bytes = encodeMessage({ ...question, id } as KeeperRequest);
        if (!send(this.#socket, { bytes, descriptors })) this.#fail('it does not read');
      } catch (error) {
        this.#fail('it is gone', error);
      }
    });
  }

  #receiveAll(): void {
    try {
      while (this.#over === null) {
        const message = receive(this.#socket);
        if (message === 'nothing') return;
        if (message === 'closed') return this.#fail('it is gone');
        this.#received(message);
      }
    } catch (error) {
      this.#fail('it does not speak our language', error);
    }
  }

  #received(message: Message): void {
    let answer: KeeperAnswer;
    try {
      answer = decodeAnswer(message.bytes);
    } catch (error) {
      closeAll(message.descriptors);
      throw error;
    }
    const pending = this.#pending;
    if (pending === null || pending.id !== answer.id) {
      closeAll(message.descriptors);
      return this.#fail('it answered what was not asked');
    }
    if (answer.type !== 'error') return pending.resolve({ answer, descriptors: message.descriptors });
    closeAll(message.descriptors);
    pending.reject(new StoreError(answer.code, answer.message));
  }

  #fail(why: string, cause?: unknown): void {
    if (this.#over !== null) return;
    const reason = new ConnectionOver(`the connection to the keeper at ${this.#options.socketPath} broke: ${why}`, { cause });
    this.#end(reason);
    this.#options.onOver(reason);
  }

  #end(reason: Error): void {
    this.#over = reason;
    this.#watch.stop();
    closeDescriptor(this.#socket);
    this.#pending?.reject(reason);
  }
}

function otherVersion(version: number): StoreError {
  return new StoreError(
    'failed-precondition',
    `the keeper speaks version ${version} of its protocol, this program version ${keeperProtocolVersion}: update the older of the two`,
  );
}

function closeAll(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) closeDescriptor(descriptor);
}
