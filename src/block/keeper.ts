/**
 * The keeper: holds descriptors for others, so that what they stand for (FUSE connections, shared memory) outlives the
 * process that uses them. It knows nothing of what they are, never reads from them, and keeps nothing on disk: a keeper
 * that was started again is empty, and the stores fill it again.
 *
 * Invariants: a descriptor it received is in exactly one entry, or closed. An entry lives until it is dropped or
 * replaced; the end of a client changes nothing. One keeper a socket path, by a lock beside it that ends with the process.
 *
 * Keeper and store may be told to end in the same moment. So each goes only when the other stays: the keeper when a store
 * has copies of everything and has not said that it is leaving (`isSpare`), a store when a keeper has answered that word.
 */
import fs from 'node:fs';
import { randomUUID } from 'node:crypto';
import { StoreError } from '../util/errors.ts';
import { accept, listen, receive, send, type Message } from '../linux/descriptors.ts';
import { closeDescriptor, tryLock } from '../linux/files.ts';
import type { Poller, Watch } from '../linux/poller.ts';
import { isDeviceKey } from './kept-device.ts';
import {
  decodeRequest,
  encodeMessage,
  entriesInPage,
  keeperProtocolVersion,
  type KeeperAnswer,
  type KeeperErrorCode,
  type KeeperMetadata,
  type KeeperRequest,
  type KeeperRole,
} from './keeper-protocol.ts';

export interface KeeperOptions {
  readonly socketPath: string;
  readonly poller: Poller;
  /** Told of clients that come, go and misbehave. */
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

interface Entry {
  readonly metadata: KeeperMetadata;
  readonly descriptors: readonly number[];
}

interface Client {
  readonly socket: number;
  watch: Watch | null;
  /** Known after `hello`. */
  identity: { readonly role: KeeperRole; readonly pool: string; readonly leaving: boolean } | null;
  /** Keys of entries of which it has all descriptors itself: it put them, or was given them. */
  readonly has: Set<string>;
}

interface Put {
  readonly pool: string;
  readonly request: KeeperRequest & { readonly type: 'put' };
  readonly descriptors: readonly number[];
}

type Reply = { readonly answer: KeeperAnswer; readonly descriptors?: readonly number[] };

const maximumClients = 256;
const maximumEntries = 65_536;
/** Clients served, and messages of one client, before the others get their turn. */
const messagesInTurn = 64;

export class Keeper {
  readonly #options: KeeperOptions;
  readonly #lock: number;
  readonly #listener: number;
  readonly #watch: Watch;
  readonly #instance = randomUUID();
  readonly #clients = new Set<Client>();
  /** By pool, then by key. */
  readonly #pools = new Map<string, Map<string, Entry>>();

  /** Serves at once. StoreError `in-use` when another keeper serves at this path. */
  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#lock = takeLock(options.socketPath);
    try {
      this.#listener = listen(options.socketPath, { backlog: 64 });
    } catch (error) {
      closeDescriptor(this.#lock);
      throw error;
    }
    this.#watch = options.poller.watch(this.#listener, () => this.#acceptAll());
  }

  /** How many entries it holds, of all pools. */
  get size(): number {
    let size = 0;
    for (const entries of this.#pools.values()) size += entries.size;
    return size;
  }

  get holdsDevices(): boolean {
    return [...this.#pools.values()].some(hasDevices);
  }

  /** Nothing is lost when this keeper goes: for each pool whose devices it has, a store has everything too, and stays. The
   * memory of a pool without devices is in its log and checkpoint when its store has ended in order. */
  get isSpare(): boolean {
    const hasAll = (client: Client, entries: ReadonlyMap<string, Entry>): boolean =>
      [...entries.keys()].every((key) => client.has.has(key));
    return [...this.#pools].every(
      ([pool, entries]) => !hasDevices(entries) || [...this.#clients].some((client) => stays(client, pool) && hasAll(client, entries)),
    );
  }

  /** Lets go of everything. The socket's name stays: the next keeper replaces it. */
  close(): void {
    this.#watch.stop();
    for (const client of [...this.#clients]) this.#forget(client);
    for (const entries of this.#pools.values()) for (const entry of entries.values()) closeAll(entry.descriptors);
    this.#pools.clear();
    closeDescriptor(this.#listener);
    closeDescriptor(this.#lock);
  }

  #acceptAll(): void {
    for (let turn = 0; turn < messagesInTurn; turn++) {
      const socket = accept(this.#listener);
      if (socket === null) return;
      if (this.#clients.size >= maximumClients) {
        this.#log('client refused: too many', { clients: this.#clients.size });
        closeDescriptor(socket);
        continue;
      }
      const client: Client = { socket, watch: null, identity: null, has: new Set() };
      this.#clients.add(client);
      client.watch = this.#options.poller.watch(socket, () => this.#serve(client));
    }
  }

  #serve(client: Client): void {
    for (let turn = 0; turn < messagesInTurn && this.#clients.has(client); turn++) {
      let message: Message | 'nothing' | 'closed';
      try {
        message = receive(client.socket);
      } catch (error) {
        this.#log('client dropped', { ...client.identity, error: String(error) });
        return this.#forget(client);
      }
      if (message === 'nothing') return;
      if (message === 'closed') return this.#forget(client);
      this.#reply(client, this.#answer(client, message));
    }
  }

  #reply(client: Client, reply: Reply): void {
    try {
      // A client that asks and does not read the answers is no client.
      if (send(client.socket, { bytes: encodeMessage(reply.answer), descriptors: reply.descriptors ?? [] })) return;
      this.#log('client dropped: it does not read', { ...client.identity });
    } catch (error) {
      this.#log('client dropped', { ...client.identity, error: String(error) });
    }
    this.#forget(client);
  }

  /** Owns the message's descriptors: they end up in an entry or are closed. */
  #answer(client: Client, message: Message): Reply {
    const request = decodeRequest(message.bytes);
    if (request?.type !== 'put') closeAll(message.descriptors);
    if (request === null) return refuse(0, 'invalid-argument', 'the keeper does not understand the message');
    if (request.type === 'hello') return this.#greet(client, request);
    if (client.identity === null) {
      if (request.type === 'put') closeAll(message.descriptors);
      return refuse(request.id, 'failed-precondition', 'the first message to the keeper is hello');
    }
    const { role, pool } = client.identity;
    const changes = request.type === 'put' || request.type === 'drop';
    if (changes && role !== 'store') {
      if (request.type === 'put') closeAll(message.descriptors);
      return refuse(request.id, 'failed-precondition', `a ${role} may not change what the keeper holds`);
    }
    const entries = this.#pools.get(pool) ?? new Map<string, Entry>();
    if (request.type === 'put') return this.#put(client, entries, { pool, request, descriptors: message.descriptors });
    if (request.type === 'get') {
      const reply = get(entries, request);
      if (request.places === undefined && entries.has(request.key)) client.has.add(request.key);
      return reply;
    }
    if (request.type === 'list') return list(entries, request);
    closeAll(entries.get(request.key)?.descriptors ?? []);
    entries.delete(request.key);
    if (entries.size === 0) this.#pools.delete(pool);
    return { answer: { type: 'done', id: request.id } };
  }

  #greet(client: Client, request: KeeperRequest & { type: 'hello' }): Reply {
    if (request.version !== keeperProtocolVersion) {
      const message = `the keeper speaks version ${keeperProtocolVersion} of its protocol, the ${request.role} version ${request.version}: update the older of the two`;
      return refuse(request.id, 'failed-precondition', message);
    }
    if (client.identity?.pool !== request.pool) client.has.clear();
    client.identity = { role: request.role, pool: request.pool, leaving: request.leaving === true };
    this.#log('client came', { ...client.identity });
    return { answer: { type: 'welcome', id: request.id, version: keeperProtocolVersion, instance: this.#instance } };
  }

  #put(client: Client, entries: Map<string, Entry>, put: Put): Reply {
    const { pool, request, descriptors } = put;
    const before = entries.get(request.key);
    if (before === undefined && this.size >= maximumEntries) {
      closeAll(descriptors);
      return refuse(request.id, 'no-space', `the keeper holds ${maximumEntries} entries and no more`);
    }
    entries.set(request.key, { metadata: request.metadata, descriptors });
    this.#pools.set(pool, entries);
    // What others have under this key is not what is held now.
    for (const other of this.#clients) if (other.identity?.pool === pool) other.has.delete(request.key);
    client.has.add(request.key);
    closeAll(before?.descriptors ?? []);
    return { answer: { type: 'done', id: request.id } };
  }

  #forget(client: Client): void {
    if (!this.#clients.delete(client)) return;
    client.watch?.stop();
    closeDescriptor(client.socket);
    if (client.identity !== null) this.#log('client gone', { ...client.identity });
  }

  #log(message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#options.log?.(message, fields);
  }
}

function hasDevices(entries: ReadonlyMap<string, Entry>): boolean {
  return [...entries.keys()].some(isDeviceKey);
}

/** It will give the next keeper what it has. */
function stays({ identity }: Client, pool: string): boolean {
  return identity?.role === 'store' && identity.pool === pool && !identity.leaving;
}

function get(entries: ReadonlyMap<string, Entry>, request: KeeperRequest & { type: 'get' }): Reply {
  const entry = entries.get(request.key);
  if (entry === undefined) return { answer: { type: 'held', id: request.id, metadata: null } };
  const places = request.places ?? entry.descriptors.map((_, place) => place);
  const descriptors = places.flatMap((place) => entry.descriptors[place] ?? []);
  if (descriptors.length !== places.length) {
    return refuse(request.id, 'invalid-argument', `${request.key} has ${entry.descriptors.length} descriptors, others were asked for`);
  }
  return { answer: { type: 'held', id: request.id, metadata: entry.metadata }, descriptors };
}

function list(entries: ReadonlyMap<string, Entry>, request: KeeperRequest & { type: 'list' }): Reply {
  const keys = [...entries.keys()].filter((key) => key > request.after).sort();
  const page = keys.slice(0, entriesInPage).flatMap((key) => {
    const entry = entries.get(key);
    return entry === undefined ? [] : [{ key, metadata: entry.metadata, descriptors: entry.descriptors.length }];
  });
  return { answer: { type: 'page', id: request.id, entries: page, more: keys.length > page.length } };
}

function refuse(id: number, code: KeeperErrorCode, message: string): Reply {
  return { answer: { type: 'error', id, code, message } };
}

function closeAll(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) closeDescriptor(descriptor);
}

/** The lock tells a live keeper from a dead one's socket; the kernel releases it with the process. */
function takeLock(socketPath: string): number {
  const descriptor = fs.openSync(`${socketPath}.lock`, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  if (tryLock(descriptor)) return descriptor;
  closeDescriptor(descriptor);
  throw new StoreError('in-use', `another keeper serves at ${socketPath}: stop it first, or use another path`);
}
