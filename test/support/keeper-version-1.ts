/**
 * A keeper as it was when version 1 of its protocol came into being, for stores of today and later: a keeper outlives the
 * stores. It is written from docs/format.md, shares nothing with src/block, and is never brought up to date. Fields that it
 * does not know (`leaving` among them) it ignores; requests that it does not know it refuses.
 *
 * As a program: node keeper-version-1.ts SOCKET; prints "ready", and ends with its input.
 */
import { randomUUID } from 'node:crypto';
import { accept, listen, receive, send } from '../../src/linux/descriptors.ts';
import { closeDescriptor } from '../../src/linux/files.ts';
import { Poller } from '../../src/linux/poller.ts';

interface Entry {
  readonly metadata: unknown;
  readonly descriptors: readonly number[];
}
type Fields = Readonly<Record<string, unknown>>;
interface Client {
  pool: string | null;
  role: string;
}

export class KeeperVersion1 {
  readonly #poller = new Poller();
  readonly #pools = new Map<string, Map<string, Entry>>();
  readonly #sockets = new Set<number>();
  readonly #listener: number;
  readonly #instance: string;
  /** What came in and went out, in turn. */
  readonly packets: { readonly from: 'client' | 'keeper'; readonly text: string; readonly descriptors: number }[] = [];

  constructor(socketPath: string, options: { readonly instance?: string } = {}) {
    this.#instance = options.instance ?? randomUUID();
    this.#listener = listen(socketPath, { backlog: 64 });
    this.#poller.watch(this.#listener, () => this.#accept());
  }

  async close(): Promise<void> {
    await this.#poller.close();
    for (const socket of this.#sockets) closeDescriptor(socket);
    closeDescriptor(this.#listener);
    for (const entries of this.#pools.values()) for (const entry of entries.values()) closeAll(entry.descriptors);
  }

  #accept(): void {
    for (let socket = accept(this.#listener); socket !== null; socket = accept(this.#listener)) {
      const own = socket;
      const client: Client = { pool: null, role: '' };
      this.#sockets.add(own);
      const watch = this.#poller.watch(own, () => {
        for (let message = receive(own); message !== 'nothing'; message = receive(own)) {
          if (message === 'closed') {
            watch.stop();
            this.#sockets.delete(own);
            closeDescriptor(own);
            return;
          }
          const text = Buffer.from(message.bytes).toString('utf8');
          this.packets.push({ from: 'client', text, descriptors: message.descriptors.length });
          const answer = this.#answer(client, text, message.descriptors);
          const reply = JSON.stringify(answer.fields);
          this.packets.push({ from: 'keeper', text: reply, descriptors: answer.descriptors.length });
          send(own, { bytes: Buffer.from(reply), descriptors: answer.descriptors });
        }
      });
    }
  }

  #answer(
    client: Client,
    text: string,
    descriptors: readonly number[],
  ): { readonly fields: Fields; readonly descriptors: readonly number[] } {
    const plain = (fields: Fields, copies: readonly number[] = []) => ({ fields, descriptors: copies });
    const refuse = (id: number, code: string, message: string) => {
      closeAll(descriptors);
      return plain({ type: 'error', id, code, message });
    };
    let request: Fields;
    try {
      request = JSON.parse(text) as Fields;
    } catch {
      return refuse(0, 'invalid-argument', 'the keeper does not understand the message');
    }
    const id = Number(request['id']);
    const key = String(request['key']);
    if (!['hello', 'put', 'get', 'list', 'drop'].includes(String(request['type'])))
      return refuse(0, 'invalid-argument', 'the keeper does not understand the message');
    if (request['type'] === 'hello') {
      if (request['version'] !== 1) {
        const words = `the keeper speaks version 1 of its protocol, the ${String(request['role'])} version ${String(request['version'])}: update the older of the two`;
        return refuse(id, 'failed-precondition', words);
      }
      client.pool = String(request['pool']);
      client.role = String(request['role']);
      return plain({ type: 'welcome', id, version: 1, instance: this.#instance });
    }
    if (client.pool === null) return refuse(id, 'failed-precondition', 'the first message to the keeper is hello');
    const entries = this.#pools.get(client.pool) ?? new Map<string, Entry>();
    this.#pools.set(client.pool, entries);
    const changes = request['type'] === 'put' || request['type'] === 'drop';
    if (changes && client.role !== 'store')
      return refuse(id, 'failed-precondition', `a ${client.role} may not change what the keeper holds`);
    const held = entries.get(key);
    switch (request['type']) {
      case 'put':
        entries.set(key, { metadata: request['metadata'], descriptors });
        closeAll(held?.descriptors ?? []);
        return plain({ type: 'done', id });
      case 'drop':
        entries.delete(key);
        closeAll(held?.descriptors ?? []);
        return plain({ type: 'done', id });
      case 'get': {
        if (held === undefined) return plain({ type: 'held', id, metadata: null });
        const places = (request['places'] as readonly number[] | undefined) ?? held.descriptors.map((_, place) => place);
        return plain(
          { type: 'held', id, metadata: held.metadata },
          places.map((place) => held.descriptors[place]!),
        );
      }
      default: {
        const keys = [...entries.keys()]
          .filter((each) => each > String(request['after']))
          .toSorted((left, right) => (left < right ? -1 : 1));
        const page = keys.slice(0, 12).map((each) => {
          const { metadata, descriptors: kept } = entries.get(each)!;
          return { key: each, metadata, descriptors: kept.length };
        });
        return plain({ type: 'page', id, entries: page, more: keys.length > page.length });
      }
    }
  }
}

function closeAll(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) closeDescriptor(descriptor);
}

if (process.argv[1] === import.meta.filename) {
  const keeper = new KeeperVersion1(process.argv[2] ?? '');
  process.stdin.resume().on('end', () => void keeper.close());
  console.log('ready');
}
