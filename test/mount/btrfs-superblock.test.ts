import { describe, expect, test } from '@jest/globals';
import { crc32c, parseBtrfsSuperblock, withFileSystemId } from '../../src/mount/btrfs-superblock.ts';

const made = '11111111-2222-3333-4444-555555555555';
const first = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee';
const second = '01234567-89ab-4cde-8f01-23456789abcd';

/** A superblock with just the fields that are looked at, at the offsets of the format's documentation. */
function superblock(change: (view: DataView) => void = () => {}): Uint8Array {
  const block = new Uint8Array(4096);
  const view = new DataView(block.buffer);
  block.set(Buffer.from('_BHRfS_M'), 0x40);
  block.set(Buffer.from(made.replaceAll('-', ''), 'hex'), 0x20);
  view.setBigUint64(0x38, 1n, true);
  view.setBigUint64(0x60, 30_687_232n, true);
  view.setBigUint64(0x88, 1n, true);
  view.setBigUint64(0xbc, 0x361n, true);
  change(view);
  view.setUint32(0, crc32c(block.subarray(32)), true);
  return block;
}

describe('the superblock of btrfs', () => {
  test('crc32c matches the published check value', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  test('a new id keeps the one in the tree blocks and the log', () => {
    const changed = withFileSystemId(superblock(), first);
    expect(changed && parseBtrfsSuperblock(changed)).toEqual({ fileSystemId: first, metadataId: made, hasLog: true });
    expect(changed && new DataView(changed.buffer).getBigUint64(0xbc, true)).toBe(0x761n);
  });

  test('the clone of a clone keeps the id that the file system was made with', () => {
    const clone = withFileSystemId(superblock(), first);
    const cloneOfClone = clone && withFileSystemId(clone, second);
    expect(cloneOfClone && parseBtrfsSuperblock(cloneOfClone)).toEqual({ fileSystemId: second, metadataId: made, hasLog: true });
  });

  test('nothing is to do when it has the id', () => {
    const changed = withFileSystemId(superblock(), first);
    expect(changed && withFileSystemId(changed, first.toUpperCase())).toBeNull();
  });

  test('a flipped bit anywhere is data loss, not a new superblock', () => {
    for (const offset of [0, 40, 700, 4095]) {
      const block = superblock();
      block[offset] = (block[offset] ?? 0) ^ 1;
      expect(() => withFileSystemId(block, first)).toThrow(expect.objectContaining({ code: 'data-loss' }));
    }
    expect(() => parseBtrfsSuperblock(new Uint8Array(4096))).toThrow(expect.objectContaining({ code: 'data-loss' }));
  });

  test.each<[string, (view: DataView) => void]>([
    ['other checksums', (view) => view.setUint16(0xc4, 1, true)],
    ['several devices', (view) => view.setBigUint64(0x88, 2n, true)],
    ['an interrupted change of its id', (view) => view.setBigUint64(0x38, 1n | (1n << 36n), true)],
  ])('one with %s is left alone', (_, change) => {
    expect(() => withFileSystemId(superblock(change), first)).toThrow(expect.objectContaining({ code: 'failed-precondition' }));
  });

  test('an id that is no UUID is refused', () => {
    expect(() => withFileSystemId(superblock(), 'pool.volume')).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });
});
