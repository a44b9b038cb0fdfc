/**
 * A pool in files in which one bit is wrong. It is opened, read, checked, used and emptied: each time all that it says is
 * right, or it says that something is damaged. Only what lies in the data has no checksum: there just the one granule in
 * which the bit lies may read wrong, in whatever shows it, and by that bit.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { CheckReport, PoolInfo } from '../../src/engine/control.ts';
import { StoreError } from '../../src/util/errors.ts';
import { FilePool, granuleBytes, unwrittenByte } from './file-pool.ts';
import type { SeededRandom } from './seeded-random.ts';
import { Violation } from './violation.ts';

export const flipFiles = ['data', 'log', 'meta/data.mdb', 'pool.json'] as const;
export type FlipFile = (typeof flipFiles)[number];

export interface Flip {
  readonly file: FlipFile;
  readonly bit: number;
}

/** `refused`: the pool does not open; `stopped`: it only reads; `told`: check or a call says so. */
export type FlipOutcome = 'harmless' | 'refused' | 'stopped' | 'told' | 'one granule';

const shape = { id: 'f'.repeat(26), chunkSizeBytes: 16_384, dataBytes: 3 * 2 ** 20, logBytes: 32 * granuleBytes };
const volumeGranules = 3 * 1024 * 4;
/** Chunks of a volume that are written: on three leaves. */
const places = [0, 3, 17, 1024, 1030, 2050].map((chunk) => chunk * 4);

/** What a granule holds, as one number that fills it; 0: nothing. */
type Content = Map<number, number>;
interface Expected {
  readonly id: string;
  readonly kind: 'volume' | 'snapshot';
  readonly content: Content;
}

export interface FlipSubject {
  readonly files: Readonly<Record<FlipFile, Buffer>>;
  readonly objects: readonly Expected[];
}

/** Makes the pool that the flips are done to: volumes, snapshots, a clone, a checkpoint, and records after it. */
export function makeFlipSubject(folder: string): FlipSubject {
  const template = path.join(folder, 'template');
  FilePool.create(template, shape);
  const pool = FilePool.open(template);
  const objects = new Map<string, Expected>();
  let stamp = 0;
  const id = (name: string): string => name.padEnd(26, '2');
  const write = (name: string, at: number, count: number): void => {
    const bytes = new Uint8Array(count * granuleBytes);
    for (let index = 0; index < count; index += 1) {
      stamp += 1;
      const value = (stamp * 0x9e3779b1) >>> 0;
      new Uint32Array(bytes.buffer, index * granuleBytes, granuleBytes / 4).fill(value);
      objects.get(name)!.content.set(at + index, value);
    }
    if (pool.write(id(name), at, bytes) !== 0) throw new Error('the template cannot be written');
  };
  const create = (name: string): void => {
    pool.control({ kind: 'create', id: id(name), name, sizeBytes: volumeGranules * granuleBytes, attributes: {} });
    objects.set(name, { id: id(name), kind: 'volume', content: new Map() });
  };
  const share = (kind: 'snapshot' | 'clone', name: string, from: string): void => {
    const common = { id: id(name), name, sourceId: id(from), attributes: { made: name } };
    pool.control(kind === 'snapshot' ? { kind, ...common } : { kind, sizeBytes: 0, ...common });
    objects.set(name, { id: id(name), kind: kind === 'clone' ? 'volume' : 'snapshot', content: new Map(objects.get(from)!.content) });
  };
  create('a');
  create('b');
  for (const at of places) write('a', at, 5);
  for (const at of places.slice(0, 3)) write('b', at + 1, 2);
  pool.control({ kind: 'checkpoint' });
  share('snapshot', 'p', 'a');
  write('a', places[1]!, 2);
  share('clone', 'c', 'p');
  write('c', places[3]! + 1, 6);
  pool.control({ kind: 'checkpoint' });
  write('b', places[4]!, 4);
  pool.flush(id('b'));
  pool.control({ kind: 'checkpoint' });
  // What follows is in the log alone.
  write('a', places[2]!, 7);
  pool.flush(id('a'));
  share('snapshot', 'q', 'a');
  write('b', places[0]!, 1);
  write('c', places[5]!, 3);
  pool.flush(id('c'));
  write('a', places[5]!, 3);
  pool.flush(id('a'));
  pool.abandon();
  const files = Object.fromEntries(flipFiles.map((file) => [file, fs.readFileSync(path.join(template, file))])) as Record<FlipFile, Buffer>;
  return { files, objects: [...objects.values()] };
}

/** The blocks of a file that hold something, as bytes from and to. */
export function usedRanges(subject: FlipSubject, file: FlipFile): [from: number, to: number][] {
  const bytes = subject.files[file];
  const unused = file === 'data' ? unwrittenByte : 0;
  const ranges: [number, number][] = [];
  // Slot 0 has the header alone.
  for (let from = file === 'data' ? shape.chunkSizeBytes : 0; from < bytes.length; from += granuleBytes) {
    const block = bytes.subarray(from, from + granuleBytes);
    if (!block.every((byte) => byte === unused)) ranges.push([from, from + block.length]);
  }
  return ranges;
}

/** Bits all over what is used, half of them where a block of it begins: there are its heads. */
export function drawFlips(
  subject: FlipSubject,
  file: FlipFile,
  { random, count }: { readonly random: SeededRandom; readonly count: number },
): Flip[] {
  const ranges = usedRanges(subject, file);
  return Array.from({ length: count }, () => {
    const [from, to] = random.pick(ranges);
    const within = random.chance(0.5) ? random.below(Math.min(to - from, 256)) : random.below(to - from);
    return { file, bit: (from + within) * 8 + random.below(8) };
  });
}

/** Flips the bit in a fresh copy of the pool, and uses that. @throws Violation */
export function tryFlip(subject: FlipSubject, folder: string, flip: Flip): FlipOutcome {
  fs.mkdirSync(path.join(folder, 'meta'), { recursive: true });
  for (const file of flipFiles) fs.writeFileSync(path.join(folder, file), subject.files[file]);
  const bytes = Buffer.from(subject.files[flip.file]);
  bytes[flip.bit >> 3]! ^= 1 << (flip.bit & 7);
  fs.writeFileSync(path.join(folder, flip.file), bytes);
  let pool: FilePool;
  try {
    pool = FilePool.open(folder);
  } catch (error) {
    demandWords(error);
    return 'refused';
  }
  try {
    return use(pool, subject, flip);
  } finally {
    pool.abandon();
  }
}

function use(pool: FilePool, subject: FlipSubject, flip: Flip): FlipOutcome {
  const objects = subject.objects.map((object) => ({ ...object, content: new Map(object.content) }));
  try {
    let outcome: FlipOutcome = 'harmless';
    const found = pool
      .objects()
      .map((info) => `${info.kind} ${info.id}`)
      .toSorted();
    const wanted = objects.map((object) => `${object.kind} ${object.id}`).toSorted();
    if (found.join() !== wanted.join()) throw new Violation(`there are ${found.join(', ')}`);
    if (readAll(pool, objects, flip)) outcome = 'one granule';
    demandSound(pool);
    // It is used: what counts as free and is not would do harm.
    for (const object of objects.filter(({ kind }) => kind === 'volume')) {
      for (const at of [places[1]!, places[4]! + 2, 900]) {
        const value = (at * 77 + object.id.charCodeAt(0)) >>> 0;
        if (pool.write(object.id, at, new Uint8Array(new Uint32Array(granuleBytes / 4).fill(value).buffer)) === 0)
          object.content.set(at, value);
        else throw new Damage('a write failed');
      }
      if (pool.flush(object.id) !== 0) throw new Damage('a flush failed');
    }
    pool.settle();
    readAll(pool, objects, flip);
    demandSound(pool);
    pool.control({ kind: 'checkpoint' });
    for (const object of objects) {
      pool.detach(object.id);
      pool.control({ kind: 'delete', id: object.id });
    }
    pool.control({ kind: 'checkpoint' });
    pool.settle();
    const { usedBytes } = pool.control<PoolInfo>({ kind: 'pool' });
    demandSound(pool);
    if (usedBytes !== 0) throw new Violation(`everything is deleted, and ${usedBytes} bytes are used`);
    return outcome;
  } catch (error) {
    if (error instanceof Damage) return pool.failure === null ? 'told' : 'stopped';
    demandWords(error);
    return pool.failure === null ? 'told' : 'stopped';
  }
}

/** The pool says that something is damaged. */
class Damage extends Error {}

function demandSound(pool: FilePool): void {
  const { problems } = pool.control<CheckReport>({ kind: 'check' });
  if (problems.length > 0) throw new Damage(problems[0]);
}

/** True when a granule was wrong as it may be. */
function readAll(pool: FilePool, objects: readonly Expected[], flip: Flip): boolean {
  let wrong = false;
  let failed = false;
  for (const object of objects) {
    for (const at of [...places, 900]) {
      const { errno, bytes } = pool.read(object.id, at, 8);
      if (errno !== 0) {
        failed = true;
        continue;
      }
      for (let index = 0; index < 8; index += 1) {
        const granule = bytes.subarray(index * granuleBytes, (index + 1) * granuleBytes);
        const bits = differingBits(granule, object.content.get(at + index) ?? 0);
        if (bits === 0) continue;
        if (bits > 1 || flip.file !== 'data') throw new Violation(`${object.id} reads wrong at granule ${at + index}, by ${bits} bits`);
        wrong = true;
      }
    }
  }
  if (failed) throw new Damage('a read failed');
  return wrong;
}

function differingBits(granule: Uint8Array, value: number): number {
  const words = new Uint32Array(granule.slice().buffer);
  let bits = 0;
  for (const word of words) for (let rest = (word ^ value) >>> 0; rest !== 0; rest = (rest & (rest - 1)) >>> 0) bits += 1;
  return bits;
}

/** An error of the world, in words; not one of ours, and not one of the language. */
function demandWords(error: unknown): void {
  if (error instanceof Violation) throw error;
  if (!(error instanceof StoreError) || error.message.length < 10) throw new Violation(`ends with ${String((error as Error).stack)}`);
}
