/**
 * The front-end's part of the shared memory: where the kernel puts each request, and what has become of it. It outlives
 * the process, so that a successor can finish what this one began.
 *
 * The section begins at a multiple of 4,096. All integers are little endian; what is not named is zero.
 *
 *   0        head, 4,096 bytes
 *              0  u32 magic 0x41534b43 ("CKSA"), written last
 *              4  u32 version 1
 *              8  u32 active slots          12  u32 parking slots
 *             16  u32 devices               20  u32 data bytes a slot (1,048,576)
 *   4,096    device table, 128 bytes a device, rounded up to 4,096
 *              0  u32 connection, 0: free    4  u32 incarnation
 *              8  30 x u32 handles of opened files, 0: none (open-handles.ts)
 *   then     slots, 4,096 + 1,048,576 bytes each: the active ones, then the parking ones
 *              0  u32 state: 0 free, 1 posted, 2 read, 3 done
 *              4  u32 connection             8  u32 incarnation
 *             12  u32 errno of the reply    16  u32 1: the reply is at 4,080, with data; 0: it is at 64
 *             64  reply, 128 bytes
 *          4,016  request: FUSE header and arguments, 80 bytes
 *          4,080  reply header of a READ that succeeded: over the last 16 bytes of the request, which no operation of
 *                 ours reads, so that header and data are one piece of memory
 *          4,096  data: a write's payload or a read's bytes
 *
 * Order of writing. The request's unique id is zeroed and connection and incarnation are set before the state is
 * `posted`, and that before the read is submitted; so a posted slot with an id holds a request. The reply is whole
 * before the state is `done`, and that before the reply is submitted; so what is done may be answered again, and what is
 * read and not done was never answered.
 */
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { clearUnique, maximumDataBytes, uniqueHigh, uniqueLow } from './fuse.ts';

export const SlotState = { free: 0, posted: 1, read: 2, done: 3 } as const;

export interface ArenaCounts {
  readonly activeSlots: number;
  readonly parkingSlots: number;
  readonly devices: number;
}

export interface ArenaOptions extends ArenaCounts {
  readonly memory: { readonly bytes: Uint8Array; readonly address: number };
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** The bytes that an arena of these counts takes. */
export function arenaBytes(counts: ArenaCounts): number {
  return slotsOffset(counts.devices) + (counts.activeSlots + counts.parkingSlots) * slotBytes;
}

/** The counts of the arena at the start of the bytes; null where none was made yet, or where there is something else. */
export function arenaCountsIn(bytes: Uint8Array): ArenaCounts | null {
  if (bytes.length < headBytes) return null;
  const [found, , activeSlots, parkingSlots, devices] = new Int32Array(bytes.buffer, bytes.byteOffset, headBytes / 4);
  return found === magic ? { activeSlots: activeSlots!, parkingSlots: parkingSlots!, devices: devices! } : null;
}

/** Words of a device's entry and of a slot, counted from their beginnings. */
export const deviceHandleWord = 2;
export const deviceHandles = 30;
const deviceWords = 32;
const stateWord = 0;
const connectionWord = 1;
const incarnationWord = 2;
const errnoWord = 3;
const withDataWord = 4;
const replyWord = 16;
const requestWord = 1004;
const dataReplyWord = 1020;

const magic = 0x41534b43;
const version = 1;
const headBytes = 4096;
const pageBytes = 4096;
const slotBytes = pageBytes + maximumDataBytes;
const slotWords = slotBytes / 4;

export class Arena {
  readonly activeSlots: number;
  readonly parkingSlots: number;
  readonly slots: number;
  readonly devices: number;
  /** The section's words. */
  readonly words: Int32Array;
  /** Where each slot's data lies, counted from the start of the shared memory. */
  readonly dataOffsets: Float64Array;
  /** Address of each slot's request, behind a null: so V8 keeps the numbers boxed, and passing one on allocates nothing. */
  readonly requestAddresses: (number | null)[] = [null];
  /** Addresses of each slot's reply and reply with data, in two words. */
  readonly replyLow: Int32Array;
  readonly replyHigh: Int32Array;
  readonly dataReplyLow: Int32Array;
  readonly dataReplyHigh: Int32Array;

  readonly #bytes: Uint8Array;
  readonly #firstSlotWord: number;
  readonly #offsetBytes: number;

  /** Makes an arena in zeroed memory, or opens the one that is there. Throws `failed-precondition` when that has another
   * version or other counts. */
  constructor(options: ArenaOptions) {
    const { memory, offsetBytes, activeSlots, parkingSlots, devices } = options;
    assert(offsetBytes % pageBytes === 0, `arena at ${offsetBytes}: not at a page`);
    assert(options.lengthBytes >= arenaBytes(options), `arena of ${options.lengthBytes} bytes: too small`);
    this.activeSlots = activeSlots;
    this.parkingSlots = parkingSlots;
    this.slots = activeSlots + parkingSlots;
    this.devices = devices;
    this.words = new Int32Array(memory.bytes.buffer, memory.bytes.byteOffset + offsetBytes, arenaBytes(options) / 4);
    this.#bytes = memory.bytes;
    this.#offsetBytes = offsetBytes;
    this.#firstSlotWord = slotsOffset(devices) / 4;
    this.dataOffsets = new Float64Array(this.slots);
    this.replyLow = new Int32Array(this.slots);
    this.replyHigh = new Int32Array(this.slots);
    this.dataReplyLow = new Int32Array(this.slots);
    this.dataReplyHigh = new Int32Array(this.slots);
    for (let slot = 0; slot < this.slots; slot++) {
      const offset = offsetBytes + this.slot(slot) * 4;
      this.dataOffsets[slot] = offset + pageBytes;
      this.requestAddresses.push(memory.address + offset + requestWord * 4);
      setAddress(this.replyLow, this.replyHigh, slot, memory.address + offset + replyWord * 4);
      setAddress(this.dataReplyLow, this.dataReplyHigh, slot, memory.address + offset + dataReplyWord * 4);
    }
    this.#open();
  }

  /** The part that the kernel copies into while requests run: to be prefaulted, locked and registered. From the start of
   * the shared memory. */
  get activeRange(): { readonly offsetBytes: number; readonly lengthBytes: number } {
    return { offsetBytes: this.#offsetBytes + this.#firstSlotWord * 4, lengthBytes: this.activeSlots * slotBytes };
  }

  /** Head and device table: small, and to be prefaulted too. */
  get tableRange(): { readonly offsetBytes: number; readonly lengthBytes: number } {
    return { offsetBytes: this.#offsetBytes, lengthBytes: this.#firstSlotWord * 4 };
  }

  /** First word of a device's entry. */
  device(index: number): number {
    return headBytes / 4 + index * deviceWords;
  }

  /** Takes the entry of this connection and incarnation, with what it holds, or a free one; -1 when all are taken. */
  claimDevice(connection: number, incarnation: number): number {
    let free = -1;
    for (let index = 0; index < this.devices; index++) {
      const entry = this.device(index);
      if (this.words[entry] === connection && this.words[entry + 1] === incarnation) return index;
      if (this.words[entry] === 0 && free < 0) free = index;
    }
    if (free < 0) return -1;
    this.releaseDevice(free);
    this.words[this.device(free) + 1] = incarnation;
    Atomics.store(this.words, this.device(free), connection);
    return free;
  }

  releaseDevice(index: number): void {
    const entry = this.device(index);
    Atomics.store(this.words, entry, 0);
    this.words.fill(0, entry, entry + deviceWords);
  }

  /** First word of a slot. */
  slot(slot: number): number {
    return this.#firstSlotWord + slot * slotWords;
  }

  /** First word of the slot's request. */
  request(slot: number): number {
    return this.#firstSlotWord + slot * slotWords + requestWord;
  }

  /** First word of the slot's reply without data. */
  reply(slot: number): number {
    return this.#firstSlotWord + slot * slotWords + replyWord;
  }

  /** First word of the slot's reply with data. */
  dataReply(slot: number): number {
    return this.#firstSlotWord + slot * slotWords + dataReplyWord;
  }

  state(slot: number): number {
    return this.words[this.slot(slot) + stateWord]!;
  }

  connection(slot: number): number {
    return this.words[this.slot(slot) + connectionWord]!;
  }

  incarnation(slot: number): number {
    return this.words[this.slot(slot) + incarnationWord]!;
  }

  /** Whether the reply of a done slot is the one with data. */
  repliesWithData(slot: number): boolean {
    return this.words[this.slot(slot) + withDataWord] === 1;
  }

  /** Whether the slot holds a request that was read and not answered. */
  holdsRequest(slot: number): boolean {
    const state = this.state(slot);
    if (state === SlotState.read) return true;
    const at = this.request(slot);
    return state === SlotState.posted && (uniqueLow(this.words, at) !== 0 || uniqueHigh(this.words, at) !== 0);
  }

  markPosted(slot: number, connection: number, incarnation: number): void {
    const first = this.slot(slot);
    clearUnique(this.words, first + requestWord);
    this.words[first + connectionWord] = connection;
    this.words[first + incarnationWord] = incarnation;
    Atomics.store(this.words, first + stateWord, SlotState.posted);
  }

  markRead(slot: number): void {
    Atomics.store(this.words, this.slot(slot) + stateWord, SlotState.read);
  }

  /** The reply must be whole. */
  markDone(slot: number, errno: number, reply: { readonly withData: boolean }): void {
    const first = this.slot(slot);
    this.words[first + errnoWord] = errno;
    this.words[first + withDataWord] = reply.withData ? 1 : 0;
    Atomics.store(this.words, first + stateWord, SlotState.done);
  }

  markFree(slot: number): void {
    Atomics.store(this.words, this.slot(slot) + stateWord, SlotState.free);
  }

  /** Copies a request and `payloadBytes` of data to another slot, marks that read, and only then frees the first: a
   * process that dies between leaves two of them, and never none. */
  move(from: number, to: number, payloadBytes: number): void {
    const source = this.slot(from);
    const target = this.slot(to);
    const data = this.dataOffsets[from]!;
    this.#bytes.copyWithin(this.dataOffsets[to]!, data, data + payloadBytes);
    this.words.copyWithin(target + requestWord, source + requestWord, source + dataReplyWord + 4);
    this.words[target + connectionWord] = this.words[source + connectionWord]!;
    this.words[target + incarnationWord] = this.words[source + incarnationWord]!;
    this.markRead(to);
    this.markFree(from);
  }

  #open(): void {
    const head = this.words;
    if (head[0] === 0) {
      head[1] = version;
      head[2] = this.activeSlots;
      head[3] = this.parkingSlots;
      head[4] = this.devices;
      head[5] = maximumDataBytes;
      Atomics.store(head, 0, magic);
      return;
    }
    if (head[0] !== magic) throw new StoreError('failed-precondition', 'the shared memory holds no request arena');
    const found = `version ${head[1]}, ${head[2]} active and ${head[3]} parking slots of ${head[5]} bytes, ${head[4]} devices`;
    const expected = `version ${version}, ${this.activeSlots} active and ${this.parkingSlots} parking slots of ${maximumDataBytes} bytes, ${this.devices} devices`;
    if (found === expected) return;
    throw new StoreError(
      'failed-precondition',
      `the request arena is of another kind: ${found}; this program wants ${expected}: detach all volumes first`,
    );
  }
}

function slotsOffset(devices: number): number {
  return headBytes + Math.ceil((devices * deviceWords * 4) / pageBytes) * pageBytes;
}

function setAddress(low: Int32Array, high: Int32Array, index: number, address: number): void {
  low[index] = address | 0;
  high[index] = Math.floor(address / 4294967296);
}
