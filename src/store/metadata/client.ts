/**
 * The engine's MetadataStore on the data thread: every call is a message to the metadata worker, and its answer is
 * delivered by `drain`, which the thread's loop calls when the worker has signalled its eventfd. Never from inside a
 * call.
 *
 * Reads that come while others are under way go together in one message: the count after a start reads every page, and a
 * message costs more than what is in it. A commit goes after all reads that came before it, and before those after it.
 */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import type { MetadataChange, MetadataImage, MetadataStore } from '../../engine/ports.ts';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import type { MetadataSpace } from './environment.ts';
import { READS_A_MESSAGE } from './packed-rows.ts';
import { packChanges, unpackRead, unpackRows, type MetadataReply, type MetadataRequest, type ReadableTable } from './messages.ts';

type RowTaker = (error: Error | null, value: Uint8Array | null) => void;

interface WaitingRead {
  readonly table: ReadableTable;
  readonly key: number;
  readonly done: RowTaker;
}

/** The worker always has the next message at hand when it has answered one. */
const READ_MESSAGES_AT_ONCE = 2;

export class MetadataStoreClient implements MetadataStore {
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, (reply: MetadataReply) => void>();
  /** Reads that are in no message yet, and messages of reads without an answer. */
  readonly #reads: WaitingRead[] = [];
  #readMessages = 0;
  /** What answers came in goes back with later questions: what one thread makes and another drops stays for long. */
  readonly #spareMemory: ArrayBuffer[] = [];
  #lastId = 0;
  #lastSpace: MetadataSpace | null = null;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  load(done: (error: Error | null, image: MetadataImage | null) => void): void {
    const id = this.#expect((reply) => {
      if (reply.error !== null) return done(failure(reply.error), null);
      assert('objects' in reply, 'a load is answered with rows');
      done(null, {
        pool: reply.pool,
        objects: unpackRead(reply.objects),
        seals: unpackRead(reply.seals),
        erasures: unpackRead(reply.erasures),
      });
    });
    this.#send({ kind: 'load', id });
  }

  readPage(key: number, done: RowTaker): void {
    this.#read({ table: 'pages', key, done });
  }

  readChecksums(key: number, done: RowTaker): void {
    this.#read({ table: 'checksums', key, done });
  }

  #read(read: WaitingRead): void {
    this.#reads.push(read);
    if (this.#readMessages < READ_MESSAGES_AT_ONCE) this.#sendReads();
  }

  /** One message, of the reads of one table that came first. */
  #sendReads(): void {
    const table = this.#reads[0]?.table;
    if (table === undefined) return;
    const other = this.#reads.findIndex((read) => read.table !== table);
    const batch = this.#reads.splice(0, Math.min(READS_A_MESSAGE, other < 0 ? READS_A_MESSAGE : other));
    this.#readMessages += 1;
    const id = this.#expect((reply) => {
      this.#readMessages -= 1;
      // The worker goes on while these are taken.
      this.#sendReads();
      if (reply.error !== null) {
        for (const { done } of batch) done(failure(reply.error), null);
        return;
      }
      assert('rows' in reply, 'a read is answered with rows');
      const rows = unpackRows(reply.rows);
      assert(rows.length === batch.length, 'every row that was asked for is answered');
      for (const [index, { done }] of batch.entries()) done(null, rows[index]!.value);
      if (this.#spareMemory.length < READ_MESSAGES_AT_ONCE) this.#spareMemory.push(reply.rows.bytes.buffer);
    });
    const memory = this.#spareMemory.pop() ?? null;
    this.#send({ kind: 'read', id, table, keys: batch.map(({ key }) => key), memory }, memory === null ? [] : [memory]);
  }

  commit(changes: readonly MetadataChange[], done: (error: Error | null) => void): void {
    const id = this.#expect((reply) => {
      if (reply.error !== null) return done(failure(reply.error));
      if ('space' in reply) this.#lastSpace = reply.space ?? this.#lastSpace;
      done(null);
    });
    // In the order of the calls: a read never finds what was committed after it was asked for.
    while (this.#reads.length > 0) this.#sendReads();
    const { tables, rows } = packChanges(changes);
    this.#send({ kind: 'commit', id, tables, rows }, [rows.bytes.buffer]);
  }

  /** As it was at the last commit or question; null before either. */
  get lastSpace(): MetadataSpace | null {
    return this.#lastSpace;
  }

  /** Looks what room there is, and reserves more if there should be. */
  space(done: (error: Error | null, space: MetadataSpace | null) => void): void {
    const id = this.#expect((reply) => {
      if (reply.error !== null) return done(failure(reply.error), null);
      assert('space' in reply, 'a question for space is answered with it');
      this.#lastSpace = reply.space ?? this.#lastSpace;
      done(null, reply.space);
    });
    this.#send({ kind: 'space', id });
  }

  /** Closes the environment; the worker ends afterwards. */
  close(done: (error: Error | null) => void): void {
    const id = this.#expect((reply) => done(reply.error === null ? null : failure(reply.error)));
    this.#send({ kind: 'close', id });
  }

  /** Runs the callbacks of the answers that are there. */
  drain(): void {
    for (let received = receiveMessageOnPort(this.#port); received !== undefined; received = receiveMessageOnPort(this.#port)) {
      const reply = received.message as MetadataReply;
      const deliver = this.#waiting.get(reply.id);
      assert(deliver !== undefined, 'every metadata reply has a request');
      this.#waiting.delete(reply.id);
      deliver(reply);
    }
  }

  #expect(deliver: (reply: MetadataReply) => void): number {
    this.#lastId += 1;
    this.#waiting.set(this.#lastId, deliver);
    return this.#lastId;
  }

  #send(request: MetadataRequest, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(request, transfer);
  }
}

function failure(message: string): StoreError {
  return new StoreError('unavailable', message);
}
