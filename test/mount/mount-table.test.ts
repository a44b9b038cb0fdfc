import { describe, expect, test } from '@jest/globals';
import { findMount, mountsBelow, parseMountTable, unescapeMountField } from '../../src/mount/mount-table.ts';

const line = (id: number, parent: number, target: string, rest: { root?: string; own?: string; tail?: string } = {}): string =>
  `${id} ${parent} 7:${id} ${rest.root ?? '/'} ${target} ${rest.own ?? 'rw,relatime'} shared:1 master:2 - ${rest.tail ?? `ext4 /dev/loop${id} rw,errors=remount-ro`}`;

describe('the mount table', () => {
  test('a line gives target, device, type and the options of mount and file system', () => {
    const [record] = parseMountTable(`${line(30, 1, '/data', { own: 'rw,noatime', tail: 'xfs /dev/loop3 rw,nouuid' })}\n`);
    expect(record).toEqual({
      id: 30,
      parentId: 1,
      root: '/',
      target: '/data',
      source: '/dev/loop3',
      fileSystem: 'xfs',
      options: ['rw', 'noatime', 'nouuid'],
    });
  });

  test('lines without and with several optional fields are both understood', () => {
    const [plain, several] = parseMountTable(
      '1 0 7:1 / /a rw - ext4 /dev/a rw\n2 0 7:1 / /b rw shared:1 master:2 unbindable - ext4 /dev/b rw\n',
    );
    expect([plain?.source, several?.source]).toEqual(['/dev/a', '/dev/b']);
  });

  test.each([
    ['the mount alone', { own: 'ro,relatime' }],
    ['the file system alone', { tail: 'ext4 /dev/loop1 ro' }],
  ])('it is read-only if %s is', (_, rest) => {
    const [record] = parseMountTable(line(1, 0, '/', rest));
    expect(record?.options).toContain('ro');
    expect(record?.options).not.toContain('rw');
  });

  test('escapes are bytes: spaces, backslashes, newlines and names beyond ASCII come back', () => {
    expect(unescapeMountField('/a\\040b\\134040c\\012d\\011e\\043')).toBe('/a b\\040c\nd\te#');
    expect(unescapeMountField('/größe\\040x')).toBe('/größe x');
    expect(parseMountTable(line(1, 0, '/my\\040volume'))[0]?.target).toBe('/my volume');
  });

  test('a malformed line is an error, not a missing mount', () => {
    expect(() => parseMountTable('30 1 7:1 / /data rw')).toThrow(/not understood/);
  });

  test('of stacked mounts the topmost counts', () => {
    const records = parseMountTable([line(1, 0, '/'), line(2, 1, '/a'), line(3, 2, '/a'), line(4, 3, '/a')].join('\n'));
    expect(findMount(records, '/a')?.id).toBe(4);
  });

  test('the order of the lines does not matter', () => {
    const records = parseMountTable([line(4, 3, '/a'), line(3, 2, '/a'), line(2, 1, '/a'), line(1, 0, '/')].join('\n'));
    expect(findMount(records, '/a')?.id).toBe(4);
  });

  test('a mount that one over a folder above it hides is not found', () => {
    const records = parseMountTable([line(1, 0, '/'), line(2, 1, '/a/b'), line(3, 1, '/a')].join('\n'));
    expect(findMount(records, '/a/b')).toBeNull();
    expect(findMount(records, '/a')?.id).toBe(3);
  });

  test('a mount on a mount on a folder is found, a path between is none', () => {
    const records = parseMountTable([line(1, 0, '/'), line(2, 1, '/a'), line(3, 2, '/a/b/c')].join('\n'));
    expect(findMount(records, '/a/b/c')?.id).toBe(3);
    expect(findMount(records, '/a/b')).toBeNull();
    expect(findMount(records, '/')?.id).toBe(1);
  });

  test('mounts below a path are those of its folders, not of names that begin alike', () => {
    const records = parseMountTable([line(1, 0, '/'), line(2, 1, '/a'), line(3, 2, '/a/b'), line(4, 1, '/ab')].join('\n'));
    expect(mountsBelow(records, '/a').map((record) => record.id)).toEqual([3]);
  });
});
