import { describe, expect, test } from '@jest/globals';
import { misfit, recordedUse, requireCapability, requireVolumeUse } from '../../src/csi/request/capabilities.ts';
import { poolIdOf, requireName, requirePath } from '../../src/csi/request/fields.ts';
import { page } from '../../src/csi/request/paging.ts';
import { mkfsArguments, requireSnapshotParameters, requireVolumeParameters } from '../../src/csi/request/parameters.ts';
import { grownSizeBytes, minimumSizeBytes, newVolumeSizeBytes, requireSizeRange } from '../../src/csi/request/sizes.ts';
import type { VolumeCapability, VolumeCapability_AccessMode_Mode } from '../../src/csi/generated/messages.ts';
import { fakeId } from '../support/fake-stores.ts';

const MIB = 1 << 20;

function mountCapability(fsType = '', mode: VolumeCapability_AccessMode_Mode = 'SINGLE_NODE_WRITER'): VolumeCapability {
  return { mount: { fsType, mountFlags: [], volumeMountGroup: '' }, accessMode: { mode } };
}
const block: VolumeCapability = { block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } };

describe('fields', () => {
  test('names: 128 bytes, not characters; no control characters but white space', () => {
    expect(requireName('é'.repeat(64), 'name')).toHaveLength(64);
    expect(() => requireName('é'.repeat(65), 'name')).toThrow(/^name is longer than 128 bytes/);
    expect(() => requireName('', 'name')).toThrow('name is missing');
    expect(() => requireName('a\u0007', 'name')).toThrow(/^name has a control character/);
    expect(requireName('a\tb\n', 'name')).toBe('a\tb\n');
  });

  test('only ids of our form belong to a pool', () => {
    expect(poolIdOf(`${fakeId('p')}.${fakeId('o')}`)).toBe(fakeId('p'));
    for (const id of [
      '',
      'x',
      fakeId('p'),
      `${fakeId('p')}.`,
      `${fakeId('P')}.${fakeId('o')}x`,
      `${fakeId('p')}.${fakeId('o').toUpperCase()}`,
    ]) {
      expect(poolIdOf(id)).toBeNull();
    }
  });

  test('paths are absolute and come out plain', () => {
    expect(requirePath('/a/b/../c/', 'target_path')).toBe('/a/c');
    expect(() => requirePath('a', 'target_path')).toThrow(/^target_path is not an absolute path/);
    expect(() => requirePath('', 'target_path')).toThrow('target_path is missing');
    expect(() => requirePath(`/${'a'.repeat(4_095)}`, 'target_path')).toThrow(/longer than/);
  });
});

describe('capabilities', () => {
  test.each(['SINGLE_NODE_WRITER', 'SINGLE_NODE_READER_ONLY', 'SINGLE_NODE_SINGLE_WRITER', 'SINGLE_NODE_MULTI_WRITER'] as const)(
    '%s is supported',
    (mode) => {
      expect(requireCapability(mountCapability('', mode), 'c').mode).toBe(mode);
    },
  );

  test.each(['MULTI_NODE_READER_ONLY', 'MULTI_NODE_SINGLE_WRITER', 'MULTI_NODE_MULTI_WRITER'] as const)('%s is refused', (mode) => {
    expect(() => requireVolumeUse([mountCapability('', mode)], 'volume_capabilities')).toThrow(
      /^volume_capabilities\[0\].access_mode is MULTI_NODE/,
    );
  });

  test('a number that the protocol does not know is refused', () => {
    expect(() => requireCapability(mountCapability('', 42 as never), 'c')).toThrow(/access_mode is 42/);
  });

  test('what is missing is named', () => {
    expect(() => requireVolumeUse([], 'volume_capabilities')).toThrow('volume_capabilities is missing');
    expect(() => requireCapability(null, 'volume_capability')).toThrow('volume_capability is missing');
    expect(() => requireCapability({ accessMode: { mode: 'SINGLE_NODE_WRITER' } }, 'c')).toThrow('c.access_type is missing');
    expect(() => requireCapability({ block: {}, accessMode: null }, 'c')).toThrow('c.access_mode is missing');
    expect(() => requireCapability(mountCapability('', 'UNKNOWN'), 'c')).toThrow('c.access_mode is missing');
  });

  test('file systems: three, or left open', () => {
    expect(requireVolumeUse([mountCapability()], 'c')).toEqual({ access: 'mount', fileSystem: null });
    expect(requireVolumeUse([mountCapability(), mountCapability('xfs')], 'c')).toEqual({ access: 'mount', fileSystem: 'xfs' });
    expect(() => requireVolumeUse([mountCapability('zfs')], 'c')).toThrow('c[0].mount.fs_type is "zfs"; supported are ext4, xfs, btrfs');
    expect(() => requireVolumeUse([mountCapability('ext4'), mountCapability('xfs')], 'c')).toThrow(/several file systems/);
  });

  test('one volume is not both a mount and a block volume', () => {
    expect(() => requireVolumeUse([mountCapability(), block], 'c')).toThrow(/a mount and a block volume/);
  });

  test('a mount group is refused: the service does not advertise it', () => {
    const capability: VolumeCapability = {
      mount: { fsType: '', mountFlags: [], volumeMountGroup: '7' },
      accessMode: { mode: 'SINGLE_NODE_WRITER' },
    };
    expect(() => requireCapability(capability, 'c')).toThrow(/volume_mount_group/);
  });

  test('what was recorded is compared with what is asked; what was left open fits', () => {
    const recorded = recordedUse({ access: 'mount', fileSystem: 'xfs' })!;
    expect(misfit(recorded, { access: 'mount', fileSystem: null })).toBeNull();
    expect(misfit(recorded, { access: 'mount', fileSystem: 'ext4' })).toMatch(/xfs, not ext4/);
    expect(misfit(recorded, { access: 'block', fileSystem: null })).toMatch(/mount volume, not a block volume/);
    expect(recordedUse({})).toBeNull();
    expect(() => recordedUse({ access: 'mount', fileSystem: 'zfs' })).toThrow(/does not know/);
  });
});

describe('parameters', () => {
  test("the orchestrator's are ignored, except for the file system", () => {
    const { attributes, fileSystem } = requireVolumeParameters({
      'csi.storage.k8s.io/pvc/name': 'data',
      'csi.storage.k8s.io/fstype': 'btrfs',
    });
    expect(attributes).toEqual({});
    expect(fileSystem).toBe('btrfs');
  });

  test('unknown ones are refused with the list of the known', () => {
    expect(() => requireVolumeParameters({ freze: 'true' })).toThrow(
      'parameters has "freze", which is not known; known are freeze, placement, mkfsOptions, erase',
    );
    expect(() => requireVolumeParameters({ toString: 'x' })).toThrow(/not known/);
    expect(() => requireSnapshotParameters({ placement: 'any' })).toThrow(/known are freeze$/);
  });

  test('values are checked, initial values left out', () => {
    expect(() => requireVolumeParameters({ freeze: 'yes' })).toThrow('parameters[freeze] is "yes"; possible are true, false, auto');
    expect(requireVolumeParameters({ freeze: 'auto', placement: 'preferred' }).attributes).toEqual({});
    expect(requireVolumeParameters({ freeze: 'true', placement: 'any' })).toEqual({
      attributes: { freeze: 'true', placement: 'any' },
      fileSystem: null,
      anyNode: true,
      claim: null,
    });
    expect(requireSnapshotParameters({ freeze: 'auto' })).toEqual({ freeze: 'auto' });
  });

  test('what a volume leaves is erased when its class says so', () => {
    expect(requireVolumeParameters({ erase: 'true' }).attributes).toEqual({ erase: 'true' });
    expect(requireVolumeParameters({ erase: 'false' }).attributes).toEqual({});
    expect(() => requireVolumeParameters({ erase: 'twice' })).toThrow('parameters[erase] is "twice"; possible are true, false');
  });

  test('options of mkfs become arguments', () => {
    const { attributes } = requireVolumeParameters({ mkfsOptions: '  -O  ^has_journal -m 0 ' });
    expect(mkfsArguments(attributes)).toEqual(['-O', '^has_journal', '-m', '0']);
    expect(() => requireVolumeParameters({ mkfsOptions: 'a\nb' })).toThrow(/control character/);
  });

  test('a map is limited to 4 KiB', () => {
    expect(() => requireVolumeParameters({ mkfsOptions: 'x'.repeat(4_096) })).toThrow('parameters is larger than 4096 bytes');
  });
});

describe('sizes', () => {
  const range = (required: number | bigint, limit: number | bigint = 0) =>
    requireSizeRange({ requiredBytes: `${BigInt(required)}`, limitBytes: `${BigInt(limit)}` }, 'capacity_range');
  const empty = { minimumBytes: 16 * MIB, sourceBytes: null };

  test('1 GiB when nothing is asked, or as much of it as the limit allows', () => {
    expect(newVolumeSizeBytes(requireSizeRange(null, 'capacity_range'), empty)).toBe(1024 * MIB);
    expect(newVolumeSizeBytes(range(0, 0), empty)).toBe(1024 * MIB);
    expect(newVolumeSizeBytes(range(0, 20 * MIB + 5), empty)).toBe(20 * MIB);
  });

  test('rounded up to whole MiB, and to what the file system needs', () => {
    expect(newVolumeSizeBytes(range(20 * MIB + 1), empty)).toBe(21 * MIB);
    expect(newVolumeSizeBytes(range(1), empty)).toBe(16 * MIB);
    expect(minimumSizeBytes({ access: 'mount', fileSystem: 'xfs' })).toBe(300 * MIB);
    expect(minimumSizeBytes({ access: 'block', fileSystem: null })).toBe(MIB);
  });

  test('a limit that rounding or the minimum would pass is out of range', () => {
    expect(() => newVolumeSizeBytes(range(20 * MIB + 1, 20 * MIB + 2), empty)).toThrow(/above capacity_range.limit_bytes/);
    expect(() => newVolumeSizeBytes(range(0, 10 * MIB), empty)).toThrow(/above capacity_range.limit_bytes/);
    expect(() => range(3, 2)).toThrow(/capacity_range.required_bytes \(3\) is above/);
  });

  test('negative and unsafe numbers', () => {
    expect(() => range(-1)).toThrow('capacity_range.required_bytes is negative');
    expect(() => range(0, -1)).toThrow('capacity_range.limit_bytes is negative');
    expect(() => range(2n ** 63n - 1n)).toThrow(/larger than any volume can be/);
  });

  test('a copy is at least as large as its source', () => {
    const source = { minimumBytes: 16 * MIB, sourceBytes: 64 * MIB };
    expect(newVolumeSizeBytes(range(0), source)).toBe(64 * MIB);
    expect(newVolumeSizeBytes(range(65 * MIB), source)).toBe(65 * MIB);
    expect(newVolumeSizeBytes(range(64 * MIB - 5), source)).toBe(64 * MIB);
    expect(() => newVolumeSizeBytes(range(63 * MIB), source)).toThrow(/below the size of the source/);
    expect(() => newVolumeSizeBytes(range(0, 63 * MIB), source)).toThrow(/limit_bytes/);
  });

  test('growing: never smaller, whole MiB, within the limit', () => {
    expect(grownSizeBytes(range(30 * MIB + 1), 20 * MIB)).toBe(31 * MIB);
    expect(grownSizeBytes(range(10 * MIB), 20 * MIB)).toBe(20 * MIB);
    expect(() => grownSizeBytes(range(0, 10 * MIB), 20 * MIB)).toThrow(/limit_bytes/);
    expect(() => grownSizeBytes(range(0), 20 * MIB)).toThrow(/neither/);
  });
});

describe('paging', () => {
  const items = ['c', 'a', 'd', 'b'].map((name) => ({ id: `${fakeId('p')}.${fakeId(name)}` }));
  const sorted = items.map(({ id }) => id).toSorted();
  const ids = (page: { items: readonly { id: string }[] }): string[] => page.items.map(({ id }) => id);

  test('pages follow one another without gaps', () => {
    const first = page(items, { maxEntries: 3, startingToken: '' }, 'volumes');
    expect(ids(first)).toEqual(sorted.slice(0, 3));
    const second = page(items, { maxEntries: 3, startingToken: first.nextToken }, 'volumes');
    expect(ids(second)).toEqual(sorted.slice(3));
    expect(second.nextToken).toBe('');
    expect(page(items, { maxEntries: 4, startingToken: '' }, 'volumes').nextToken).toBe('');
    expect(ids(page(items, { maxEntries: 0, startingToken: '' }, 'volumes'))).toEqual(sorted);
  });

  test('a token stays good when its item is deleted', () => {
    const { nextToken } = page(items, { maxEntries: 2, startingToken: '' }, 'volumes');
    const rest = items.filter(({ id }) => id !== sorted[1]);
    expect(ids(page(rest, { maxEntries: 0, startingToken: nextToken }, 'volumes'))).toEqual(sorted.slice(2));
  });

  test('a foreign token starts nothing, nor does a negative number', () => {
    const { nextToken } = page(items, { maxEntries: 2, startingToken: '' }, 'snapshots');
    for (const token of ['invalid-token', '!', nextToken]) {
      expect(() => page(items, { maxEntries: 0, startingToken: token }, 'volumes')).toThrow(expect.objectContaining({ code: 'busy' }));
    }
    expect(() => page(items, { maxEntries: -1, startingToken: '' }, 'volumes')).toThrow('max_entries is negative');
  });
});

test('mount flags are no larger than the specification lets them be', () => {
  const flagged = (mountFlags: string[]): (() => unknown) => {
    const mount = { fsType: '', mountFlags, volumeMountGroup: '' };
    return () => requireCapability({ mount, accessMode: { mode: 'SINGLE_NODE_WRITER' }, accessType: 'mount' }, 'volume_capability');
  };
  expect(flagged(['a'.repeat(4_000), 'b'.repeat(96)])).not.toThrow();
  expect(flagged(['a'.repeat(4_000), 'b'.repeat(97)])).toThrow(/mount_flags is larger than 4096 bytes/);
});
