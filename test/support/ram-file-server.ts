/**
 * Serves one file from memory over a FUSE descriptor that it inherits as number 3: the smallest server under which the
 * mount and loop code can be proven without the engine. Synchronous: one request at a time, no event loop.
 *
 * Arguments: the size in bytes; how long attributes last, in seconds. Each request is a line on standard output. Lines on
 * standard input change it: {"sizeBytes": n} makes the file larger, {"stop": true} makes it stop answering.
 */
import fs from 'node:fs';
import { systemCall } from '../../src/linux/libc.ts';
import { Structure } from '../../src/linux/structure.ts';

const fuse = 3;
const commands = 0;
const headerBytes = 40;
const granuleBytes = 4096;
const maximumWriteBytes = 1 << 20;
const errorNumber = { ENOSYS: 38, EOPNOTSUPP: 95 };
const names: Readonly<Record<number, string>> = {
  2: 'FORGET',
  3: 'GETATTR',
  4: 'SETATTR',
  14: 'OPEN',
  15: 'READ',
  16: 'WRITE',
  17: 'STATFS',
  18: 'RELEASE',
  20: 'FSYNC',
  22: 'GETXATTR',
  25: 'FLUSH',
  26: 'INIT',
  36: 'INTERRUPT',
  38: 'DESTROY',
  43: 'FALLOCATE',
  46: 'LSEEK',
  52: 'STATX',
};

let content = Buffer.alloc(Number(process.argv[2]));
const attributeSeconds = BigInt(process.argv[3] ?? '0');
const input = Buffer.alloc(maximumWriteBytes + 4096);
let stopped = false;

for (;;) {
  const ready = waitForInput();
  if (ready.command) obey();
  if (ready.request && !stopped) serve();
}

function waitForInput(): { command: boolean; request: boolean } {
  const entries = new Structure(16);
  entries.view.setInt32(0, commands, true);
  entries.view.setInt16(4, 1, true);
  entries.view.setInt32(8, stopped ? -1 : fuse, true);
  entries.view.setInt16(12, 1, true);
  systemCall('ppoll', entries.address, 2, 0, 0, 0);
  if ((entries.view.getInt16(14, true) & 8) !== 0) process.exit(0); // POLLERR: the mount is gone
  return { command: entries.view.getInt16(6, true) !== 0, request: entries.view.getInt16(14, true) !== 0 };
}

function obey(): void {
  const buffer = Buffer.alloc(4096);
  const length = fs.readSync(commands, buffer);
  if (length === 0) process.exit(0);
  for (const line of buffer.toString('utf8', 0, length).trim().split('\n')) {
    const command = JSON.parse(line) as { sizeBytes?: number; stop?: boolean };
    if (command.sizeBytes !== undefined) content = Buffer.concat([content, Buffer.alloc(command.sizeBytes - content.length)]);
    if (command.stop === true) stopped = true;
    note('OBEYED');
  }
}

function serve(): void {
  let length: number;
  try {
    length = fs.readSync(fuse, input);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN' || code === 'EINTR' || code === 'ENOENT') return;
    process.exit(code === 'ENODEV' ? 0 : 1);
  }
  const request = input.subarray(0, length);
  const code = request.readUInt32LE(4);
  const unique = request.readBigUInt64LE(8);
  const body = request.subarray(headerBytes);
  const name = names[code] ?? `opcode ${code}`;
  if (name === 'FORGET' || name === 'INTERRUPT' || code === 42) return note(name);
  const answer = answerTo(name, body);
  reply(unique, answer);
}

function answerTo(name: string, body: Buffer): Buffer | number {
  switch (name) {
    case 'INIT':
      note(name, `${body.readUInt32LE(0)}.${body.readUInt32LE(4)}`);
      return initialization();
    case 'GETATTR':
      note(name);
      return attributes();
    case 'OPEN':
      note(name, `flags ${body.readUInt32LE(0).toString(8)}`);
      return Buffer.alloc(16);
    case 'READ': {
      const offset = Number(body.readBigUInt64LE(8));
      const length = body.readUInt32LE(16);
      note(name, `${offset} ${length}`);
      return content.subarray(offset, offset + length);
    }
    case 'WRITE': {
      const offset = Number(body.readBigUInt64LE(8));
      const length = body.readUInt32LE(16);
      note(name, `${offset} ${length}`);
      body.copy(content, offset, 40, 40 + length);
      const written = Buffer.alloc(8);
      written.writeUInt32LE(length, 0);
      return written;
    }
    case 'FALLOCATE': {
      const offset = Number(body.readBigUInt64LE(8));
      const length = Number(body.readBigUInt64LE(16));
      const mode = body.readUInt32LE(24);
      note(name, `${offset} ${length} mode ${mode}`);
      if (mode !== 0x03 && mode !== 0x10 && mode !== 0x11) return -errorNumber.EOPNOTSUPP;
      content.fill(0, offset, offset + length);
      return Buffer.alloc(0);
    }
    case 'STATFS':
      note(name);
      return statistics();
    case 'FSYNC':
    case 'FLUSH':
    case 'RELEASE':
      note(name);
      return Buffer.alloc(0);
    default:
      note(name, 'not served');
      return -errorNumber.ENOSYS;
  }
}

function reply(unique: bigint, answer: Buffer | number): void {
  const payload = typeof answer === 'number' ? Buffer.alloc(0) : answer;
  const header = Buffer.alloc(16);
  header.writeUInt32LE(header.length + payload.length, 0);
  header.writeInt32LE(typeof answer === 'number' ? answer : 0, 4);
  header.writeBigUInt64LE(unique, 8);
  try {
    fs.writeSync(fuse, Buffer.concat([header, payload]));
  } catch (error) {
    // The one who asked was killed meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** struct fuse_init_out; flags: asynchronous reads, big writes, asynchronous direct I/O, max_pages. */
function initialization(): Buffer {
  const answer = Buffer.alloc(64);
  answer.writeUInt32LE(7, 0);
  answer.writeUInt32LE(38, 4);
  answer.writeUInt32LE(1 << 20, 8);
  answer.writeUInt32LE((1 << 0) | (1 << 5) | (1 << 15) | (1 << 22), 12);
  answer.writeUInt16LE(64, 16);
  answer.writeUInt16LE(48, 18);
  answer.writeUInt32LE(maximumWriteBytes, 20);
  answer.writeUInt32LE(1, 24);
  answer.writeUInt16LE(256, 28);
  return answer;
}

/** struct fuse_attr_out */
function attributes(): Buffer {
  const answer = Buffer.alloc(104);
  answer.writeBigUInt64LE(attributeSeconds, 0);
  answer.writeBigUInt64LE(1n, 16); // inode
  answer.writeBigUInt64LE(BigInt(content.length), 24);
  answer.writeBigUInt64LE(BigInt(content.length / 512), 32);
  answer.writeUInt32LE(0o100600, 16 + 60);
  answer.writeUInt32LE(1, 16 + 64);
  answer.writeUInt32LE(granuleBytes, 16 + 80);
  return answer;
}

/** struct fuse_statfs_out; bsize becomes the loop device's discard granularity. */
function statistics(): Buffer {
  const answer = Buffer.alloc(80);
  answer.writeBigUInt64LE(BigInt(content.length / granuleBytes), 0);
  answer.writeUInt32LE(granuleBytes, 40);
  answer.writeUInt32LE(255, 44);
  answer.writeUInt32LE(granuleBytes, 48);
  return answer;
}

function note(name: string, detail = ''): void {
  fs.writeSync(1, `${name} ${detail}`.trimEnd() + '\n');
}
