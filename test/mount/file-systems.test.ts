import { describe, expect, test } from '@jest/globals';
import { formatCommand, requiredMountOptions } from '../../src/mount/file-systems.ts';

describe('commands of the file systems', () => {
  test.each([
    ['ext4', ['-E', 'nodiscard,lazy_itable_init=1,lazy_journal_init=1']],
    ['xfs', ['-K']],
    ['btrfs', ['-K']],
  ] as const)('%s is formatted without discarding', (fileSystem, expected) => {
    const { program, parameters } = formatCommand('/dev/loop9', fileSystem, { options: [], overwrite: false });
    expect(program).toBe(`mkfs.${fileSystem}`);
    expect(parameters).toEqual(expect.arrayContaining([...expected]));
    expect(parameters).not.toContain('-f');
    expect(parameters.at(-1)).toBe('/dev/loop9');
  });

  test("a user's -E for ext4 does not bring the discard back", () => {
    const { parameters } = formatCommand('/dev/loop9', 'ext4', { options: ['-m', '0', '-E', 'stride=16,discard'], overwrite: false });
    expect(parameters).toEqual(['-q', '-m', '0', '-E', 'stride=16,discard,nodiscard,lazy_itable_init=1,lazy_journal_init=1', '/dev/loop9']);
  });

  test.each(['/dev/sda', '-f', '-F', '--force', '--', '', 'a\nb', 'name=/etc/passwd', 'logdev=x', 'file=x'])(
    'option %j is refused',
    (option) => {
      expect(() => formatCommand('/dev/loop9', 'xfs', { options: [option], overwrite: false })).toThrow(
        expect.objectContaining({ code: 'invalid-argument' }),
      );
    },
  );

  test('btrfs keeps the checksums whose superblock we can write', () => {
    expect(() => formatCommand('/dev/loop9', 'btrfs', { options: ['--csum', 'xxhash'], overwrite: false })).toThrow(/crc32c/);
  });

  test('clones of XFS share an UUID', () => {
    expect(requiredMountOptions('xfs')).toEqual(['nouuid']);
    expect(requiredMountOptions('ext4')).toEqual([]);
  });
});
