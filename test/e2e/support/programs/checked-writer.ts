/**
 * Runs in a pod: writes blocks of known content at random places of a file through the page cache, syncs now and then, and
 * reads back what it wrote, until a file "stop" appears beside it. Then it reads all of it once more from the disk.
 * Its last line is a report; any error, and any byte that is not the last one written there, ends it with status 1.
 *
 *   node checked-writer.ts FILE SIZE_MIB
 */
import { execFileSync } from 'node:child_process';
import { createCipheriv, randomInt } from 'node:crypto';
import { closeSync, existsSync, fdatasyncSync, fsyncSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export interface WriterReport {
  readonly writes: number;
  readonly longestMs: number;
  /** Steps that took long, with the time when they began (Unix time in milliseconds). */
  readonly stalls: readonly { readonly atMs: number; readonly ms: number }[];
}

const blockBytes = 16 * 1024;
const writesPerSync = 4;
const stallMs = 150;
const stallsKept = 200;
const pauseMs = 5;
const zeros = Buffer.alloc(blockBytes);

const [path = '', sizeMib = '0'] = process.argv.slice(2);
const stopFile = `${path}.stop`;
const generations = new Uint32Array((Number(sizeMib) * 1024 * 1024) / blockBytes);
const stalls: { atMs: number; ms: number }[] = [];
let longestMs = 0;

function content(block: number): Buffer {
  const vector = Buffer.alloc(16);
  vector.writeUInt32BE(block, 0);
  vector.writeUInt32BE(generations[block] ?? 0, 4);
  return createCipheriv('aes-128-ctr', zeros.subarray(0, 16), vector).update(zeros);
}

function timed(action: () => void): void {
  const atMs = Date.now();
  const start = performance.now();
  action();
  const ms = Math.round(performance.now() - start);
  longestMs = Math.max(longestMs, ms);
  if (ms >= stallMs && stalls.length < stallsKept) stalls.push({ atMs, ms });
}

function check(descriptor: number, block: number): void {
  const found = Buffer.alloc(blockBytes);
  readSync(descriptor, found, 0, blockBytes, block * blockBytes);
  if (!found.equals(content(block))) {
    const place = found.findIndex((byte, index) => byte !== content(block)[index]);
    throw new Error(`block ${block} of ${path}, generation ${generations[block]}, is wrong from its byte ${place} on`);
  }
}

let descriptor = openSync(path, 'w+');
for (const block of generations.keys()) writeSync(descriptor, content(block), 0, blockBytes, block * blockBytes);
fsyncSync(descriptor);
console.log('writing');

let writes = 0;
while (!existsSync(stopFile)) {
  timed(() => {
    for (let count = 0; count < writesPerSync; count++) {
      const block = randomInt(generations.length);
      generations[block] = (generations[block] ?? 0) + 1;
      writeSync(descriptor, content(block), 0, blockBytes, block * blockBytes);
    }
    fdatasyncSync(descriptor);
    check(descriptor, randomInt(generations.length));
  });
  writes += writesPerSync;
  await delay(pauseMs);
}

fsyncSync(descriptor);
closeSync(descriptor);
// What the page cache holds proves nothing: dd asks the kernel to forget it.
execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
descriptor = openSync(path, 'r');
for (const block of generations.keys()) check(descriptor, block);
closeSync(descriptor);
rmSync(stopFile);
console.log(JSON.stringify({ writes, longestMs, stalls } satisfies WriterReport));
