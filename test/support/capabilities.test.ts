import { describe, expect, test } from '@jest/globals';
import { describeIf, hasDeviceMapperTarget, hasFileSystem, hasPrograms } from './capabilities.ts';

describe('capabilities', () => {
  test('a program that every machine has is found', () => {
    expect(hasPrograms('sh', 'node')).toEqual({ lack: undefined });
  });

  test('missing programs are named, all of them', () => {
    expect(hasPrograms('sh', 'no-such-program', 'nor-this')).toEqual({ lack: 'not installed: no-such-program, nor-this' });
  });

  test('the answer about a file system is a reason or nothing', () => {
    expect([undefined, 'the kernel has no btrfs']).toContain(hasFileSystem('btrfs').lack);
  });

  test('so is that about a target of the device mapper, which no kernel has by this name', () => {
    expect(hasDeviceMapperTarget('no-such-target').lack).toContain('no-such-target');
  });

  test('with all capabilities a suite is an ordinary one', () => {
    expect(describeIf({ lack: undefined }, hasPrograms('sh'))).toBe(describe);
  });
});
