import { describe, expect, test } from '@jest/globals';
import { isUnfinishedXfs, typeFromBlkid } from '../../src/mount/block-device.ts';

describe('what blkid says', () => {
  test.each([
    ['DEVNAME=/dev/loop0\nUUID=1\nTYPE=ext4\nUSAGE=filesystem\nPTTYPE=dos\n', 'ext4'],
    ['DEVNAME=/dev/loop0\nPTUUID=1\nPTTYPE=gpt\n', 'gpt'],
    ['DEVNAME=/dev/loop0\nTYPE=LVM2_member\nUSAGE=raid\n', 'LVM2_member'],
    ['DEVNAME=/dev/loop0\nLABEL=TYPE=ext4\n', null],
    ['', null],
  ])('%j', (output, expected) => {
    expect(typeFromBlkid(output)).toBe(expected);
  });
});

test('only an XFS whose mkfs did not end counts as unfinished', () => {
  const head = new Uint8Array(4096);
  head[126] = 1;
  expect(isUnfinishedXfs(head)).toBe(false);
  head.set(Buffer.from('XFSB'));
  expect(isUnfinishedXfs(head)).toBe(true);
  head[126] = 0;
  expect(isUnfinishedXfs(head)).toBe(false);
});
