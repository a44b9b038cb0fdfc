/** Reads with gaps, of a file whose file system checks what the disk brings: it looks for it where the read puts it. */
import { expect, test } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { DiskOperations, RingDisk } from '../../src/block/ring-disk.ts';
import { indexMask } from '../../src/block/user-data.ts';
import { Ring } from '../../src/linux/ring.ts';
import { Structure } from '../../src/linux/structure.ts';
import { runCommand } from '../../src/util/exec.ts';
import { Pieces, UNWANTED } from '../../src/util/pieces.ts';
import { canUseLoop, describeIf, hasFileSystem, hasPrograms } from '../support/capabilities.ts';
import { runGuarded } from '../support/guarded-run.ts';

const imageBytes = 256 << 20;
const fileBytes = 32 << 20;
const block = 4096;
/** Of one read; every second is wanted. */
const blocksOfRead = 15;
const readBytes = blocksOfRead * block;
const readsInFlight = 32;
const reads = 20_000;
const timeoutMs = 20_000;

describeIf(
  canUseLoop(),
  hasFileSystem('btrfs'),
  hasPrograms('mkfs.btrfs', 'btrfs', 'mount', 'umount'),
)('on btrfs with two copies of everything', () => {
  test('bring what is in the file, and are none the worse for what others throw away meanwhile', async () => {
    const options = { prefix: 'chunkstore-pieces-', parent: os.tmpdir(), limitMs: 60_000 };
    const problems = await runGuarded(options, async (guarded) => {
      const { folder } = guarded;
      const image = path.join(folder, 'image');
      const mounted = path.join(folder, 'mounted');
      fs.writeFileSync(image, '');
      fs.truncateSync(image, imageBytes);
      fs.mkdirSync(mounted);
      await runCommand('mkfs.btrfs', ['--quiet', '--data', 'dup', image], { timeoutMs });
      await runCommand('mount', ['-o', 'loop', image, mounted], { timeoutMs });
      guarded.atEnd(async () => {
        await runCommand('umount', [mounted], { timeoutMs });
      });
      const file = path.join(mounted, 'file');
      fs.writeFileSync(file, content());
      await runCommand('sync', ['--file-system', mounted], { timeoutMs });
      const { wrong, failed, singly } = readAtRandom(file);
      expect({ wrong, failed, singly }).toEqual({ wrong: 0, failed: 0, singly: 0 });
      const { output } = await runCommand('btrfs', ['device', 'stats', mounted], { timeoutMs });
      expect(output).toMatch(/corruption_errs\s+0\b/);
    });
    expect(problems).toEqual([]);
  }, 90_000);
});

/** Each block begins with its number. */
function content(): Buffer {
  const bytes = Buffer.alloc(fileBytes, 0x5a);
  for (let at = 0; at < fileBytes; at += block) bytes.writeUInt32LE(at / block, at);
  return bytes;
}

function readAtRandom(file: string): { readonly wrong: number; readonly failed: number; readonly singly: number } {
  const descriptor = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_DIRECT);
  const ring = new Ring({ entries: 64, completions: 128, files: 1, patienceMicroseconds: 1000 });
  const memory = new Structure(readsInFlight * readBytes, { alignmentBytes: block });
  const from: number[] = [];
  const pieces = new Pieces();
  const counts = { wrong: 0, failed: 0, singly: 0 };
  let [begun, inFlight] = [0, 0];
  const begin = (place: number): void => {
    const first = Math.floor(Math.random() * (fileBytes / block - blocksOfRead));
    from[place] = first;
    pieces.clear();
    for (let at = 0; at < blocksOfRead; at += 1) pieces.push(block, at % 2 === 0 ? place * readBytes + at * block : UNWANTED);
    if (!disk.readPieces(first * block, pieces, place)) throw new Error('there is no place for what is thrown away');
    begun += 1;
    inFlight += 1;
  };
  const completed = (place: number, result: number): void => {
    inFlight -= 1;
    if (result !== Math.ceil(blocksOfRead / 2) * block) counts.failed += 1;
    for (let at = 0; at < blocksOfRead; at += 2)
      if (memory.view.getUint32(place * readBytes + at * block, true) !== from[place]! + at) counts.wrong += 1;
    if (begun < reads) begin(place);
  };
  const operations = new DiskOperations({
    ring: {
      read: (...parameters) => {
        counts.singly += 1; // a read of pieces did not go through as a whole
        ring.read(...parameters);
      },
      write: () => {},
      readFixed: () => {},
      writeFixed: () => {},
      syncData: () => {},
      readVector: (...parameters) => ring.readVector(...parameters),
      nowhereAddress: ring.nowhereAddress,
    },
    memoryAddress: memory.address,
    registered: { offsetBytes: 0, lengthBytes: 0 },
    completed,
  });
  const disk = new RingDisk(operations, { file: 0, sizeBytes: fileBytes });
  try {
    ring.setFile(0, descriptor);
    for (let place = 0; place < readsInFlight; place += 1) begin(place);
    while (inFlight > 0) {
      ring.enter(1);
      while (ring.next()) operations.complete(ring.userData & indexMask, ring.result);
    }
  } finally {
    ring.setFile(0, -1); // the ring itself goes a little later
    ring.close();
    fs.closeSync(descriptor);
  }
  return counts;
}
