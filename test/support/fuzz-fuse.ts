/**
 * The FUSE codec: whatever stands where the kernel puts a request, the data thread answers it once or not at all, never
 * asks the target for a range outside of the device or one that it was not sent the bytes of, and frees every slot.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { arenaBytes, SlotState } from '../../src/block/arena.ts';
import { maximumReplyBytes, Opcode } from '../../src/block/fuse.ts';
import { Operation, type OperationCode } from '../../src/block/ports.ts';
import { planRecovery } from '../../src/block/recovery.ts';
import { Requests } from '../../src/block/requests.ts';
import { Session } from '../../src/block/session.ts';
import { SlotShares } from '../../src/block/slot-shares.ts';
import { Statistics } from '../../src/block/statistics.ts';
import { indexMask } from '../../src/block/user-data.ts';
import { SharedMemory } from '../../src/linux/memory.ts';
import type { FuzzTarget } from './fuzz.ts';
import { damaged, randomBytes } from './hostile-values.ts';
import { openArena, smallCounts } from './request-arena.ts';
import type { SeededRandom } from './seeded-random.ts';

const REQUESTS_A_ROUND = 400;
const HEADER_BYTES = 40;
const ARGUMENTS_END = 80;
const MAXIMUM_DATA_BYTES = 1 << 20;

interface Submitted {
  readonly request: number;
  readonly operation: OperationCode;
  readonly lengthBytes: number;
}

export function fuseFuzz(): FuzzTarget {
  return { testFile: 'test/block/fuse-fuzz.test.ts', round: (random) => Promise.resolve(round(random)) };
}

function round(random: SeededRandom): number {
  const bed = new FuseBed(random);
  try {
    for (let n = 0; n < REQUESTS_A_ROUND; n++) {
      if (random.chance(0.05)) bed.recover();
      else bed.send(drawRequest(random, bed.sizeBytes));
    }
    bed.settle();
    return REQUESTS_A_ROUND;
  } finally {
    bed.close();
  }
}

/** Bytes as /dev/fuse might answer them. */
function drawRequest(random: SeededRandom, sizeBytes: number): Buffer {
  const opcode = random.chance(0.9) ? random.pick(Object.values(Opcode)) : random.pick([0, 1, 4, 44, 4_096, -1, random.bits()]);
  const payloadBytes = opcode === Opcode.write && random.chance(0.8) ? 4_096 * random.between(0, 4) : random.pick([0, 0, 8, 4_096]);
  const bytes = Buffer.alloc(ARGUMENTS_END + payloadBytes);
  bytes.fill(random.between(1, 255), ARGUMENTS_END);
  bytes.writeInt32LE(opcode | 0, 4);
  bytes.writeBigUInt64LE(random.chance(0.95) ? BigInt(random.bits()) * 2n : 0n, 8);
  const offset = random.chance(0.5) ? 4_096 * random.below(sizeBytes / 4_096) : drawNumber(random, sizeBytes);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(offset)), HEADER_BYTES + 8);
  if (opcode === Opcode.allocate) {
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(drawNumber(random, sizeBytes))), HEADER_BYTES + 16);
    bytes.writeInt32LE(random.pick([0, 3, 3, 3, 0x11, 0x11, 0x11, -1, random.bits() | 0]), HEADER_BYTES + 24);
  } else {
    const length = random.chance(0.7) ? payloadBytes : drawNumber(random, sizeBytes);
    bytes.writeUInt32LE(Number(BigInt.asUintN(32, BigInt(length))), HEADER_BYTES + 16);
  }
  bytes.writeInt32LE(bytes.length, 0);
  if (random.chance(0.1)) bytes.writeInt32LE(random.pick([0, 39, 40, 79, -1, 1 << 30, random.bits() | 0]), 0);
  if (random.chance(0.1)) return damaged(random, bytes).subarray(0, ARGUMENTS_END + MAXIMUM_DATA_BYTES);
  if (random.chance(0.1)) {
    const short = bytes.subarray(0, random.below(bytes.length));
    if (short.length >= 4 && random.chance(0.7)) short.writeInt32LE(short.length, 0);
    return short;
  }
  return random.chance(0.03) ? randomBytes(random, random.below(200)) : bytes;
}

function drawNumber(random: SeededRandom, sizeBytes: number): number {
  return random.pick([
    ...[0, 1, 512, 4_095, 4_096, 8_192, -1, -4_096, sizeBytes, sizeBytes - 4_096, sizeBytes + 4_096, 1 << 20, (1 << 20) + 4_096],
    ...[2 ** 31, 2 ** 32 - 4_096, 2 ** 32, 2 ** 43, 2 ** 53, 2 ** 62, random.bits()],
  ]);
}

class FuseBed {
  readonly sizeBytes: number;
  readonly #random: SeededRandom;
  readonly #memory = SharedMemory.create({ name: 'fuzz', sizeBytes: arenaBytes(smallCounts) });
  readonly #arena = openArena(this.#memory);
  readonly #file: string;
  readonly #folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-fuse-fuzz-'));
  readonly #descriptor: number;
  readonly #scrap = Buffer.alloc(65_536);
  readonly #statistics = new Statistics({ devices: smallCounts.devices });
  #shares!: SlotShares;
  #session!: Session;
  #requests!: Requests;
  #pending: Submitted[] = [];
  #replies: number[] = [];
  /** Of the request that was sent last: what the target may be asked for by it. */
  #sent: Buffer = Buffer.alloc(0);

  constructor(random: SeededRandom) {
    this.#random = random;
    this.sizeBytes = random.pick([1 << 20, 2 ** 33, 2 ** 41]);
    this.#file = path.join(this.#folder, 'request');
    fs.writeFileSync(this.#file, '');
    this.#descriptor = fs.openSync(this.#file, 'r');
    this.#begin();
    for (let slot = 0; slot < this.#arena.slots; slot++) this.#requests.discard(slot);
  }

  #begin(): void {
    const { devices, activeSlots } = smallCounts;
    this.#shares = new SlotShares({ slots: activeSlots, devices });
    this.#shares.addDevice(0);
    this.#pending = [];
    this.#replies = [];
    this.#session = this.#newSession();
    const ring = {
      write: (_f: number, _a: number, _b: number, _c: number, _d: number, lengthBytes: number, userData: number): void => {
        const slot = userData & indexMask;
        const limit = this.#arena.repliesWithData(slot) ? 16 + MAXIMUM_DATA_BYTES : maximumReplyBytes;
        demand(lengthBytes >= 16 && lengthBytes <= limit, `a reply has ${lengthBytes} bytes`);
        this.#replies.push(slot);
      },
    };
    const arena = this.#arena;
    this.#requests = new Requests({
      arena,
      ring,
      shares: this.#shares,
      statistics: this.#statistics,
      answered: () => {},
      released: () => {},
    });
    this.#requests.setTarget({ submit: (...parameters) => this.#submitted(...parameters) });
  }

  #newSession(): Session {
    const place = { index: 0, connection: 1, incarnation: 1, device: 7 };
    return new Session({ ...place, fuseDescriptor: this.#descriptor, sizeBytes: this.sizeBytes, readOnly: this.#random.chance(0.1) });
  }

  send(bytes: Buffer): void {
    // The file is read on from where the last read ended; nothing is left of the one before.
    this.#drain();
    fs.appendFileSync(this.#file, bytes);
    this.#sent = bytes;
    this.#requests.take(this.#session);
    this.#goOn();
  }

  /** What was not taken, because no slot was free. */
  #drain(): void {
    while (fs.readSync(this.#descriptor, this.#scrap) > 0);
  }

  /** A successor takes over what stands in the arena, some of it damaged. */
  recover(): void {
    this.#sent = Buffer.alloc(0);
    this.#begin();
    const plan = planRecovery(this.#arena, (connection, incarnation) => connection === 1 && incarnation === 1);
    for (const slot of plan.discard) this.#requests.discard(slot);
    for (const slot of [...plan.answer, ...plan.submit]) this.#requests.adopt(slot, this.#session);
    for (const slot of plan.answer) this.#requests.answer(slot);
    for (const slot of plan.submit) this.#requests.serve(slot);
    this.#goOn();
  }

  /** All that is under way ends, and nothing stays behind. */
  settle(): void {
    while (this.#pending.length > 0 || this.#replies.length > 0) this.#goOn({ all: true });
    const { inFlight, parkedCount } = this.#requests;
    demand(inFlight === 0 && parkedCount === 0, `${inFlight} requests in flight and ${parkedCount} parked are left`);
    demand(this.#session.held === 0, `the session holds ${this.#session.held} slots`);
    for (let slot = 0; slot < this.#arena.slots; slot++) demand(this.#arena.state(slot) === SlotState.free, `slot ${slot} is not free`);
    const counts = Object.values(this.#statistics.ofDevice(0));
    for (const { bytes } of counts) demand(bytes >= 0, `${bytes} bytes were counted`);
  }

  close(): void {
    fs.closeSync(this.#descriptor);
    fs.rmSync(this.#folder, { recursive: true, force: true });
    this.#memory.unmap();
    fs.closeSync(this.#memory.descriptor);
  }

  #submitted(
    request: number,
    operation: OperationCode,
    device: number,
    offsetBytes: number,
    lengthBytes: number,
    memoryOffset: number,
  ): void {
    const what = `operation ${operation} at ${offsetBytes} of ${lengthBytes} bytes`;
    demand(device === 7 && request >= 0 && request < this.#arena.slots, `${what} is of a device or request that is not there`);
    demand(!this.#pending.some((other) => other.request === request), `request ${request} is submitted twice`);
    demand(Number.isSafeInteger(offsetBytes) && Number.isSafeInteger(lengthBytes), `${what}: no safe integers`);
    demand(offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes, `${what} is not inside the device`);
    demand(offsetBytes % 4_096 === 0 && lengthBytes % 4_096 === 0, `${what} is not aligned`);
    demand(this.#arena.dataOffsets.includes(memoryOffset), `${what} has its data in no slot`);
    if (operation !== Operation.zero) demand(lengthBytes <= MAXIMUM_DATA_BYTES, `${what} is larger than a slot`);
    demand(operation === Operation.read || operation === Operation.flush || !this.#session.readOnly, `${what} changes a read-only device`);
    if (operation === Operation.write && this.#sent.length > 0)
      demand(this.#sent.length >= ARGUMENTS_END + lengthBytes, `${what}, but only ${this.#sent.length - ARGUMENTS_END} bytes were sent`);
    if (this.#sent.length > 0) demand(this.#sent.length >= HEADER_BYTES, `${what} after ${this.#sent.length} bytes`);
    this.#pending.push({ request, operation, lengthBytes });
  }

  #goOn(options: { readonly all: boolean } = { all: false }): void {
    const random = this.#random;
    for (const { request, operation } of this.#pending) {
      if (operation === Operation.write && random.chance(0.2)) this.#requests.parked(request);
    }
    while (this.#pending.length > 0 && (options.all || random.chance(0.7))) {
      const [done] = this.#pending.splice(random.below(this.#pending.length), 1);
      this.#requests.completed(done!.request, random.chance(0.9) ? 0 : random.pick([5, 28]));
    }
    while (this.#replies.length > 0 && (options.all || random.chance(0.8))) {
      const [slot] = this.#replies.splice(random.below(this.#replies.length), 1);
      this.#requests.replied(slot!, random.chance(0.95) ? 16 : random.pick([-2, -11, -4, -12]));
    }
  }
}

function demand(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}
