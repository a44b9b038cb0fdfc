/** An arena in plain memory, and raw FUSE requests to put into it. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Arena, type ArenaCounts, arenaBytes } from '../../src/block/arena.ts';

export const smallCounts: ArenaCounts = { activeSlots: 4, parkingSlots: 2, devices: 3 };

export function newMemory(counts: ArenaCounts = smallCounts): { bytes: Uint8Array; address: number } {
  return { bytes: new Uint8Array(arenaBytes(counts)), address: 0x7fff_1234_5000 };
}

export function openArena(memory: { bytes: Uint8Array; address: number }, counts: ArenaCounts = smallCounts): Arena {
  return new Arena({ ...counts, memory, offsetBytes: 0, lengthBytes: memory.bytes.length });
}

export interface RawRequest {
  readonly opcode: number;
  readonly unique: bigint;
  /** 32-bit words of the operation's arguments. */
  readonly parameters?: readonly number[];
  readonly payload?: Uint8Array;
}

/** The bytes that /dev/fuse would answer. */
export function encodeRequest(request: RawRequest): Buffer {
  const bytes = Buffer.alloc(80 + (request.payload?.length ?? 0));
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(request.opcode, 4);
  bytes.writeBigUInt64LE(request.unique, 8);
  request.parameters?.forEach((word, index) => bytes.writeUInt32LE(word >>> 0, 40 + 4 * index));
  if (request.payload) bytes.set(request.payload, 80);
  return bytes;
}

/** Puts a request where the kernel would. */
export function placeRequest(arena: Arena, slot: number, request: RawRequest): void {
  const bytes = new Uint8Array(arena.words.buffer, arena.words.byteOffset);
  bytes.set(encodeRequest(request), arena.request(slot) * 4);
}

/** Arguments of READ and WRITE. */
export function dataParameters(offset: number, length: number): number[] {
  return [0, 0, offset % 2 ** 32, Math.floor(offset / 2 ** 32), length];
}

/** A descriptor from which one read answers the request, and further ones nothing. */
export function descriptorOf(request: RawRequest): number {
  return descriptorOfBytes(encodeRequest(request));
}

export function descriptorOfBytes(bytes: Uint8Array): number {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-request-'));
  const file = path.join(folder, 'request');
  fs.writeFileSync(file, bytes);
  const descriptor = fs.openSync(file, 'r');
  fs.rmSync(folder, { recursive: true });
  return descriptor;
}
