/**
 * A thread that writes to a block device with O_DIRECT, one operation at a time, says in the model (written-model.ts) what
 * it issued and what was acknowledged, and reads back what it wrote. It ends with a message: null, or what went wrong.
 */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { Allocation, allocate, openDirect } from '../../src/linux/files.ts';
import { Structure } from '../../src/linux/structure.ts';
import { SeededRandom } from './seeded-random.ts';
import { MAXIMUM_STALLS, STALL_MS, type VolumeWriterData } from './volume-writer-data.ts';
import { BLOCK_BYTES, Wish, WrittenModel, writerOf } from './written-model.ts';

const MAXIMUM_BLOCKS = 4;
/** Pause between operations: the load is to leave the machine some room. */
const PAUSE_MS = 1;
const CALL_LIMIT_MS = 120_000;

const { memory, writer, seed, stalls } = workerData as VolumeWriterData;
const model = new WrittenModel(memory);
const random = new SeededRandom(seed);
const slots = new Float64Array(stalls);
const structure = new Structure(MAXIMUM_BLOCKS * BLOCK_BYTES, { alignmentBytes: BLOCK_BYTES });
const words = new Uint32Array(structure.bytes.buffer, structure.bytes.byteOffset, structure.bytes.length / 4);
const wanted = new Uint32Array(BLOCK_BYTES / 4);

function wordsOf(index: number): Uint32Array {
  return words.subarray((index * BLOCK_BYTES) / 4, ((index + 1) * BLOCK_BYTES) / 4);
}

/** Blocks of this writer's, side by side. */
function chooseBlocks(): { readonly block: number; readonly count: number } {
  for (;;) {
    const block = random.below(memory.blocks);
    if (writerOf(block) !== writer) continue;
    let count = 1 + random.below(MAXIMUM_BLOCKS);
    while (writerOf(block + count - 1) !== writer || block + count > memory.blocks) count--;
    return { block, count };
  }
}

function write(descriptor: number): void {
  const { block, count } = chooseBlocks();
  const number = model.issue(writer, { block, count, zeros: false });
  if (number === 0) throw new Error('the model is full: let it run for a shorter time');
  for (let index = 0; index < count; index++) model.content(block + index, number, wordsOf(index));
  const written = fs.writeSync(descriptor, structure.bytes, 0, count * BLOCK_BYTES, block * BLOCK_BYTES);
  if (written !== count * BLOCK_BYTES) throw new Error(`only ${written} bytes written at block ${block}`);
  model.acknowledge(writer, number);
}

async function zero(descriptor: number): Promise<void> {
  const { block, count } = chooseBlocks();
  const number = model.issue(writer, { block, count, zeros: true });
  if (number === 0) throw new Error('the model is full: let it run for a shorter time');
  const mode = random.chance(0.5) ? Allocation.punchHole : Allocation.zeroRangeKeepSize;
  await allocate(descriptor, { mode, offsetBytes: block * BLOCK_BYTES, lengthBytes: count * BLOCK_BYTES, timeoutMs: CALL_LIMIT_MS });
  model.acknowledge(writer, number);
}

function readBack(descriptor: number): void {
  const { block, count } = chooseBlocks();
  const read = fs.readSync(descriptor, structure.bytes, 0, count * BLOCK_BYTES, block * BLOCK_BYTES);
  if (read !== count * BLOCK_BYTES) throw new Error(`only ${read} bytes read at block ${block}`);
  for (let index = 0; index < count; index++) {
    const state = model.states[block + index]!;
    model.content(block + index, state, wanted);
    const found = wordsOf(index);
    const wrong = found.findIndex((word, at) => word !== wanted[at]);
    if (wrong < 0) continue;
    throw new Error(
      `block ${block + index} of writer ${writer} should be of operation ${state}, is wrong from its byte ${wrong * 4} on and says operation ${found[0]!}`,
    );
  }
}

async function step(descriptor: number): Promise<void> {
  const kind = random.weighted({ write: 75, read: 15, zero: 6, sync: 4 });
  const atMs = Date.now();
  const began = performance.now();
  if (kind === 'write') write(descriptor);
  else if (kind === 'read') readBack(descriptor);
  else if (kind === 'zero') await zero(descriptor);
  else fs.fdatasyncSync(descriptor);
  const tookMs = performance.now() - began;
  if (tookMs < STALL_MS || slots[0]! >= MAXIMUM_STALLS) return;
  slots[0]!++;
  slots[slots[0]! * 2] = atMs;
  slots[slots[0]! * 2 + 1] = tookMs;
}

let descriptor: number | null = null;
let fault: string | null = null;
try {
  while (model.wish !== Wish.stop) {
    if (model.wish === Wish.pause) {
      if (descriptor !== null) fs.closeSync(descriptor);
      descriptor = null;
      model.setAtRest(writer, { atRest: true });
    } else {
      if (descriptor === null) {
        model.setAtRest(writer, { atRest: false });
        // Between the two the wish may have changed.
        if (model.wish !== Wish.run) continue;
        descriptor = openDirect(model.devicePath, { readOnly: false });
      }
      await step(descriptor);
    }
    await delay(PAUSE_MS);
  }
} catch (error) {
  fault = error instanceof Error ? (error.stack ?? error.message) : String(error);
}
if (descriptor !== null) fs.closeSync(descriptor);
model.setAtRest(writer, { atRest: true });
parentPort?.postMessage(fault);
