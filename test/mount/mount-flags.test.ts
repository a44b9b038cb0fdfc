import { describe, expect, test } from '@jest/globals';
import { bindOptions, joinOptions, parseMountFlags } from '../../src/mount/mount-flags.ts';

describe('mount flags', () => {
  test('people write one option a flag, or several', () => {
    expect(parseMountFlags(['noatime', 'discard,commit=30', 'usrjquota=aquota.user'])).toEqual([
      'noatime',
      'discard',
      'commit=30',
      'usrjquota=aquota.user',
    ]);
  });

  test('a comma within quotes belongs to the value, as in an SELinux context', () => {
    const context = 'context="system_u:object_r:container_file_t:s0:c1,c2"';
    expect(parseMountFlags([`${context},noatime`])).toEqual([context, 'noatime']);
  });

  const refused = [
    [
      'bind',
      'BIND',
      'rbind',
      'remount',
      'move',
      'loop',
      'loop=/dev/loop0',
      'offset=512',
      'rshared',
      'user',
      'helper=x',
      'x-mount.mkdir',
      'X-mount.subdir=/a',
    ],
    ['device=/dev/sda', 'logdev=/dev/sda', 'rtdev=/dev/sda', 'journal_path=/dev/sda', 'noatime,bind', 'discard,loop=/etc/shadow'],
    ['', 'noatime,', ',', 'a\nb', 'a\0', 'a\\054bind', 'a b', '-o', '--bind', '=x', 'context="a', 'context="a"b', '"bind"', 'a='],
  ].flat();

  test.each(refused)('refused: %j', (flag) => {
    expect(() => parseMountFlags([flag])).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });

  test('an over-long option is refused without being repeated in full', () => {
    expect(() => parseMountFlags([`context=${'x'.repeat(5000)}`])).toThrow(/^.{0,200}$/);
  });

  test('read-only wins over rw, and a wish of the user for read-only stays', () => {
    expect(joinOptions(['rw', 'noatime'], { readOnly: true })).toBe('ro,noatime');
    expect(joinOptions(['ro', 'noatime'], { readOnly: false })).toBe('ro,noatime');
    expect(joinOptions(['noatime', 'noatime'], { readOnly: false })).toBe('rw,noatime');
  });

  test('a bind mount takes only options of its own', () => {
    expect(bindOptions(['noatime', 'discard', 'noexec', 'commit=5'])).toEqual(['noatime', 'noexec']);
  });
});
