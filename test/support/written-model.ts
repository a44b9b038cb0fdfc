/**
 * What writers have written to a volume and had acknowledged, told block by block, in memory that the writers (threads, see
 * volume-writer.ts) and the test share. From it follows what a snapshot may hold: everything that was acknowledged
 * before its cut was asked for, nothing that was issued after it was answered, and of each writer's operations a prefix.
 *
 * Blocks have 4 KiB. Each writer has blocks of its own, four side by side and then four of the next writer, so that all
 * of them meet in every chunk. A writer numbers its operations, one at a time, and the content of a block names the operation
 * that wrote it.
 */
export const BLOCK_BYTES = 4096;
export const WRITERS = 4;
const BLOCKS_OF_ONE = 4;
const MAXIMUM_OPERATIONS = 2 ** 20;

/** What the test wants of the writers. */
export const Wish = { run: 0, pause: 1, stop: 2 } as const;

/** What it is shared by: to be handed to the threads. */
export interface ModelMemory {
  readonly blocks: number;
  readonly salt: number;
  /** Wish, number of the loop device; then of each writer: whether it is at rest, operations issued, operations acknowledged. */
  readonly control: SharedArrayBuffer;
  /** Of each block: 0 never written, n written by operation n, -n zeroed by operation n. Its writer's, and the test's while it rests. */
  readonly states: SharedArrayBuffer;
  /** Of each writer, of each operation: first block, count; the count is negative for zeros. */
  readonly operations: SharedArrayBuffer;
}

export interface Operation {
  readonly block: number;
  readonly count: number;
  readonly zeros: boolean;
}

export function makeModelMemory(options: { readonly sizeBytes: number; readonly salt: number }): ModelMemory {
  const blocks = options.sizeBytes / BLOCK_BYTES;
  return {
    blocks,
    salt: options.salt,
    control: new SharedArrayBuffer(4 * (2 + 3 * WRITERS)),
    states: new SharedArrayBuffer(4 * blocks),
    operations: new SharedArrayBuffer(8 * WRITERS * MAXIMUM_OPERATIONS),
  };
}

export function writerOf(block: number): number {
  return Math.floor(block / BLOCKS_OF_ONE) % WRITERS;
}

export class WrittenModel {
  readonly memory: ModelMemory;
  readonly states: Int32Array;
  readonly #control: Int32Array;
  readonly #operations: Int32Array;

  constructor(memory: ModelMemory) {
    this.memory = memory;
    this.states = new Int32Array(memory.states);
    this.#control = new Int32Array(memory.control);
    this.#operations = new Int32Array(memory.operations);
  }

  get wish(): number {
    return Atomics.load(this.#control, 0);
  }

  set wish(wish: number) {
    Atomics.store(this.#control, 0, wish);
  }

  get devicePath(): string {
    return `/dev/loop${Atomics.load(this.#control, 1)}`;
  }

  set devicePath(devicePath: string) {
    Atomics.store(this.#control, 1, Number(/^\/dev\/loop(\d+)$/.exec(devicePath)![1]));
  }

  isAtRest(writer: number): boolean {
    return Atomics.load(this.#control, 2 + 3 * writer) === 1;
  }

  setAtRest(writer: number, options: { readonly atRest: boolean }): void {
    Atomics.store(this.#control, 2 + 3 * writer, options.atRest ? 1 : 0);
  }

  issued(writer: number): number {
    return Atomics.load(this.#control, 3 + 3 * writer);
  }

  acknowledged(writer: number): number {
    return Atomics.load(this.#control, 4 + 3 * writer);
  }

  /** Answers the number of the operation, or 0 when there is no room for more. */
  issue(writer: number, operation: Operation): number {
    const number = this.issued(writer) + 1;
    if (number >= MAXIMUM_OPERATIONS) return 0;
    const at = 2 * (writer * MAXIMUM_OPERATIONS + number);
    this.#operations[at] = operation.block;
    this.#operations[at + 1] = operation.zeros ? -operation.count : operation.count;
    Atomics.store(this.#control, 3 + 3 * writer, number);
    return number;
  }

  acknowledge(writer: number, number: number): void {
    this.apply(this.states, writer, number);
    Atomics.store(this.#control, 4 + 3 * writer, number);
  }

  operation(writer: number, number: number): Operation {
    const at = 2 * (writer * MAXIMUM_OPERATIONS + number);
    const count = this.#operations[at + 1]!;
    return { block: this.#operations[at]!, count: Math.abs(count), zeros: count < 0 };
  }

  apply(states: Int32Array, writer: number, number: number): void {
    const { block, count, zeros } = this.operation(writer, number);
    states.fill(zeros ? -number : number, block, block + count);
  }

  /** The content of a block in a state, into 4,096 bytes. */
  content(block: number, state: number, target: Uint32Array): void {
    if (state <= 0) {
      target.fill(0);
      return;
    }
    let mixed = Math.imul(block + 1, 0x9e3779b1) ^ Math.imul(state, 0x85ebca6b) ^ this.memory.salt;
    target[0] = state;
    target[1] = block;
    for (let index = 2; index < target.length; index++) {
      mixed ^= mixed << 13;
      mixed ^= mixed >>> 17;
      mixed ^= mixed << 5;
      target[index] = mixed;
    }
  }
}

/** What was acknowledged when a cut was asked for, and issued when it was answered. */
export interface Cut {
  readonly states: Int32Array;
  readonly acknowledged: readonly number[];
  readonly issued: readonly number[];
}

/** Follows a model through its cuts, each of which begins after the one before. */
export class CutKeeper {
  readonly #model: WrittenModel;
  readonly #states: Int32Array;
  readonly #upTo: number[];

  constructor(model: WrittenModel) {
    this.#model = model;
    this.#states = new Int32Array(model.states);
    this.#upTo = writers().map((writer) => model.acknowledged(writer));
  }

  /** Before a cut is asked for; the function it answers is called when it has been answered. */
  begin(): () => Cut {
    const acknowledged = writers().map((writer) => this.#model.acknowledged(writer));
    for (const writer of writers()) {
      while (this.#upTo[writer]! < acknowledged[writer]!) this.#model.apply(this.#states, writer, ++this.#upTo[writer]!);
    }
    const states = this.#states.slice();
    return () => ({ states, acknowledged, issued: writers().map((writer) => this.#model.issued(writer)) });
  }

  /** The volume was given another content while all writers rest. */
  replace(states: Int32Array): void {
    this.#states.set(states);
    this.#model.states.set(states);
    for (const writer of writers()) this.#upTo[writer] = this.#model.issued(writer);
  }
}

/** What a device or a copy of it holds, as states of blocks. A state of 0 stands for zeros. Throws at bytes that no operation wrote. */
export function statesOf(model: WrittenModel, bytes: Uint8Array): Int32Array {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const wordsOfBlock = BLOCK_BYTES / 4;
  const wanted = new Uint32Array(wordsOfBlock);
  return Int32Array.from({ length: bytes.length / BLOCK_BYTES }, (_, block) => {
    const found = words.subarray(block * wordsOfBlock, (block + 1) * wordsOfBlock);
    const state = found[0]! | 0;
    model.content(block, state, wanted);
    const wrong = found.findIndex((word, index) => word !== wanted[index]);
    if (wrong >= 0) throw new Error(`block ${block} says operation ${state} and is wrong from its byte ${wrong * 4} on`);
    return Math.max(0, state);
  });
}

/** What is wrong with what a cut holds; null when nothing is. */
export function faultOfCut(model: WrittenModel, cut: Cut, found: Int32Array): string | null {
  for (const writer of writers()) {
    const fault = faultOfWriter(model, cut, found, writer);
    if (fault !== null) return fault;
  }
  return null;
}

/** Some prefix of the writer's operations must have made it; of the one after the prefix a part may be there. */
function faultOfWriter(model: WrittenModel, cut: Cut, found: Int32Array, writer: number): string | null {
  const states = cut.states.slice();
  const differs = (block: number): boolean => Math.max(0, states[block]!) !== found[block]!;
  const wrong = new Set<number>();
  for (let block = 0; block < found.length; block++) if (writerOf(block) === writer && differs(block)) wrong.add(block);
  const first = cut.acknowledged[writer]!;
  const wrongAtFirst = [...wrong];
  for (let number = first; ; number++) {
    if (wrong.size === 0) return null;
    if (number === cut.issued[writer]!) break;
    const { block, count, zeros } = model.operation(writer, number + 1);
    const state = zeros ? 0 : number + 1;
    const inside = (at: number): boolean => at >= block && at < block + count;
    if ([...wrong].every((at) => inside(at) && found[at] === state)) return null;
    model.apply(states, writer, number + 1);
    for (let at = block; at < block + count; at++) {
      if (differs(at)) wrong.add(at);
      else wrong.delete(at);
    }
  }
  const block = wrongAtFirst[0] ?? [...wrong][0]!;
  return (
    `writer ${writer}: ${wrongAtFirst.length} blocks are not as acknowledged, and no prefix of operations ${first} to ` +
    `${cut.issued[writer]!} explains them; block ${block} holds operation ${found[block]!}, acknowledged was ${cut.states[block]!}`
  );
}

function writers(): number[] {
  return Array.from({ length: WRITERS }, (_, writer) => writer);
}
