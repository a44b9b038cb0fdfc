import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { FreezeNotes, whatToThaw, type NotedFreeze } from '../../src/mount/freeze-notes.ts';
import type { MountEntry } from '../../src/mount/mount-table.ts';

const noted: NotedFreeze = { version: 1, bootId: 'boot', devicePath: '/dev/loop3', sequence: 17 };
const mounted: MountEntry = { target: '/staged', source: '/dev/loop3', fileSystem: 'ext4', options: ['rw'] };
const node: MountEntry = { target: '/published', source: '/dev/loop3', fileSystem: 'devtmpfs', options: ['rw'] };
const other: MountEntry = { target: '/other', source: '/dev/loop4', fileSystem: 'ext4', options: ['rw'] };

describe('what to thaw', () => {
  test('is a mount of the device', () => {
    expect(whatToThaw(noted, { bootId: 'boot', sequence: 17, mounts: [other, node, mounted] })).toBe('/staged');
  });

  test('is nothing when the device is not mounted', () => {
    expect(whatToThaw(noted, { bootId: 'boot', sequence: 17, mounts: [other, node] })).toBeNull();
  });

  test('is nothing when the device was set up anew, or is gone', () => {
    expect(whatToThaw(noted, { bootId: 'boot', sequence: 18, mounts: [mounted] })).toBeNull();
    expect(whatToThaw(noted, { bootId: 'boot', sequence: null, mounts: [mounted] })).toBeNull();
    expect(whatToThaw({ ...noted, sequence: null }, { bootId: 'boot', sequence: null, mounts: [mounted] })).toBeNull();
  });

  test('is nothing after the machine was started again', () => {
    expect(whatToThaw(noted, { bootId: 'another', sequence: 17, mounts: [mounted] })).toBeNull();
  });
});

describe('freeze notes', () => {
  let folder: string;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-notes-'));
  });
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  const subject = { volumeId: 'pool.volume', devicePath: '/dev/loop-none' };

  test('are there, whole, until they are removed', async () => {
    const notes = new FreezeNotes({ folder: path.join(folder, 'run/frozen') });
    expect(await notes.undo()).toEqual(new Map());
    const note = await notes.write(subject);
    expect(fs.readdirSync(path.join(folder, 'run/frozen'))).toEqual(['pool.volume']);
    expect(JSON.parse(fs.readFileSync(path.join(folder, 'run/frozen/pool.volume'), 'utf8'))).toMatchObject({ version: 1, sequence: null });
    await note.remove();
    expect(fs.readdirSync(path.join(folder, 'run/frozen'))).toEqual([]);
  });

  test('what is no note of ours is left alone, and told', async () => {
    fs.writeFileSync(path.join(folder, 'newer'), JSON.stringify({ version: 2 }));
    fs.writeFileSync(path.join(folder, 'elsewhere'), JSON.stringify({ ...noted, devicePath: '/dev/sda1' }));
    fs.writeFileSync(path.join(folder, 'garbage'), '{');
    fs.writeFileSync(path.join(folder, '.half'), '');
    expect([...(await new FreezeNotes({ folder }).undo()).keys()]).toEqual(['elsewhere', 'garbage', 'newer']);
    expect(fs.readdirSync(folder)).toHaveLength(4);
  });
});
