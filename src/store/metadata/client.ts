/**
 * The engine's MetadataStore on the data thread: every call is a message to the metadata worker, and its answer is
 * delivered by `drain`, which the thread's loop calls when the worker has signalled its eventfd. Never from inside a
 * call.
 */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import type { MetadataChange, MetadataImage, MetadataStore } from '../../engine/ports.ts';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import type { MetadataSpace } from './environment.ts';
import { packChanges, unpackRead, type MetadataReply, type MetadataRequest } from './messages.ts';

export class MetadataStoreClient implements MetadataStore {
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, (reply: MetadataReply) => void>();
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

  readPage(key: number, done: (error: Error | null, value: Uint8Array | null) => void): void {
    this.#read('pages', key, done);
  }

  readChecksums(key: number, done: (error: Error | null, value: Uint8Array | null) => void): void {
    this.#read('checksums', key, done);
  }

  #read(table: 'pages' | 'checksums', key: number, done: (error: Error | null, value: Uint8Array | null) => void): void {
    const id = this.#expect((reply) => {
      if (reply.error !== null) return done(failure(reply.error), null);
      assert('value' in reply, 'reading a row is answered with its value');
      done(null, reply.value);
    });
    this.#send({ kind: 'read', id, table, key });
  }

  commit(changes: readonly MetadataChange[], done: (error: Error | null) => void): void {
    const id = this.#expect((reply) => {
      if (reply.error !== null) return done(failure(reply.error));
      if ('space' in reply) this.#lastSpace = reply.space ?? this.#lastSpace;
      done(null);
    });
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
