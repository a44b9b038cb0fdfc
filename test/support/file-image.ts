/**
 * Files in one small archive: golden images of pools and memory, which are mostly holes and zeros. Blocks of zeros are left
 * out, the rest is compressed by zlib.
 *
 * gzip of: the length of the index (u32, little endian), the index in JSON, then the blocks in its order.
 */
import fs from 'node:fs';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';

const BLOCK_BYTES = 4096;

export interface ImageFile {
  /** With slashes for folders. */
  readonly name: string;
  /** An open file, from its beginning to its end. */
  readonly descriptor: number;
}

interface IndexEntry {
  readonly name: string;
  readonly sizeBytes: number;
  /** Runs of blocks that hold something: number of the first one, and how many. */
  readonly runs: readonly (readonly [first: number, count: number])[];
}

export function packImage(files: readonly ImageFile[]): Uint8Array {
  const index: IndexEntry[] = [];
  const blocks: Uint8Array[] = [];
  for (const { name, descriptor } of files) {
    const sizeBytes = fs.fstatSync(descriptor).size;
    const runs: [number, number][] = [];
    for (let block = 0; block * BLOCK_BYTES < sizeBytes; block++) {
      const bytes = Buffer.alloc(BLOCK_BYTES);
      fs.readSync(descriptor, bytes, 0, BLOCK_BYTES, block * BLOCK_BYTES);
      if (bytes.every((byte) => byte === 0)) continue;
      blocks.push(bytes);
      const last = runs.at(-1);
      if (last !== undefined && last[0] + last[1] === block) last[1] += 1;
      else runs.push([block, 1]);
    }
    index.push({ name, sizeBytes, runs });
  }
  const text = Buffer.from(JSON.stringify(index));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  return gzipSync(Buffer.concat([length, text, ...blocks]), { level: 9 });
}

/** Writes the files whose names begin with `prefix`, without it, into a folder: with their sizes, and sparse. */
export function unpackImage(image: Uint8Array, options: { readonly prefix: string; readonly folder: string }): void {
  const { prefix, folder } = options;
  for (const { name, sizeBytes, blocks } of readImage(image)) {
    if (!name.startsWith(prefix)) continue;
    const file = path.join(folder, name.slice(prefix.length));
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const descriptor = fs.openSync(file, 'wx', 0o600);
    try {
      fs.ftruncateSync(descriptor, sizeBytes);
      for (const { offsetBytes, bytes } of blocks)
        fs.writeSync(descriptor, bytes, 0, Math.min(bytes.length, sizeBytes - offsetBytes), offsetBytes);
    } finally {
      fs.closeSync(descriptor);
    }
  }
}

/** The files of an image; each block has 4,096 bytes, and what no block covers is zeros. */
export function* readImage(image: Uint8Array): Generator<{
  readonly name: string;
  readonly sizeBytes: number;
  readonly blocks: readonly { readonly offsetBytes: number; readonly bytes: Uint8Array }[];
}> {
  const bytes = gunzipSync(image);
  const textBytes = bytes.readUInt32LE(0);
  const index = JSON.parse(bytes.toString('utf8', 4, 4 + textBytes)) as readonly IndexEntry[];
  let at = 4 + textBytes;
  for (const { name, sizeBytes, runs } of index) {
    const blocks: { offsetBytes: number; bytes: Uint8Array }[] = [];
    for (const [first, count] of runs) {
      for (let block = first; block < first + count; block++, at += BLOCK_BYTES)
        blocks.push({ offsetBytes: block * BLOCK_BYTES, bytes: bytes.subarray(at, at + BLOCK_BYTES) });
    }
    yield { name, sizeBytes, blocks };
  }
}
