/** What the benchmark compares must do what it is measured for: each subject that this machine has, by one contract. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fill } from '../bench/fio.ts';
import { subjectKinds } from '../bench/io/subjects/subject-kinds.ts';
import type { Ability, Subject, SubjectKind, Volume } from '../bench/io/subjects/subject.ts';
import { describeIf } from '../support/capabilities.ts';

const MIB = 2 ** 20;
const sizeBytes = 64 * MIB;
const blockBytes = 4096;
/** Setting one up writes all of its space. */
const limitMs = 120_000;

for (const kind of subjectKinds) {
  describeIf({ lack: kind.lack() })(`In the benchmark ${kind.name}`, () => {
    let folder = '';
    let subject: Subject;
    const ends: (() => Promise<void>)[] = [];

    beforeAll(async () => {
      folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-subject-'));
      const { signal } = new AbortController();
      const own = path.join(folder, kind.name);
      fs.mkdirSync(own);
      subject = await kind.make({ folder: own, poolBytes: 4 * sizeBytes, signal, atEnd: (action) => ends.unshift(action) });
    }, limitMs);

    afterAll(async () => {
      for (const end of ends) await end();
      fs.rmSync(folder, { recursive: true, force: true });
    }, limitMs);

    test(
      'keeps what is written, and gives all space back',
      async () => {
        const usedBytes = await subject.usedBytes();
        const volume = await subject.createVolume({ name: 'plain', sizeBytes });
        await fill(volume.devicePath, { sizeBytes, order: 'sequential' });
        await write(volume, 'plain');
        expect(await read(volume)).toBe('plain');
        expect(await subject.usedBytes()).toBeGreaterThan(usedBytes + sizeBytes / 2);
        await subject.removeVolumes();
        await subject.settle();
        // File systems keep a little of their own.
        expect(await subject.usedBytes()).toBeLessThan(usedBytes + MIB);
      },
      limitMs,
    );

    testIf(kind, 'revert')(
      'goes back to a snapshot, and on without it',
      async () => {
        const volume = await subject.createVolume({ name: 'reverted', sizeBytes });
        await write(volume, 'before');
        await volume.snapshot('one');
        await write(volume, 'after');
        expect(await read(volume)).toBe('after');
        await volume.revert('one');
        expect(await read(volume)).toBe('before');
        await volume.deleteSnapshot('one');
        expect(await read(volume)).toBe('before');
        await volume.remove();
      },
      limitMs,
    );

    testIf(kind, 'defragment')(
      'puts a volume in order, and keeps what it holds',
      async () => {
        const volume = await subject.createVolume({ name: 'scattered', sizeBytes });
        await fill(volume.devicePath, { sizeBytes, order: 'random' });
        await write(volume, 'scattered');
        await volume.defragment!();
        expect(await read(volume)).toBe('scattered');
        await volume.remove();
      },
      limitMs,
    );

    testIf(kind, 'clone')(
      'has clones that are their own',
      async () => {
        const volume = await subject.createVolume({ name: 'source', sizeBytes });
        await write(volume, 'source');
        await volume.snapshot('one');
        await write(volume, 'later');
        const clone = await volume.clone({ snapshotName: 'one', name: 'clone' });
        expect(await read(clone)).toBe('source');
        await write(clone, 'clone');
        expect([await read(volume), await read(clone)]).toEqual(['later', 'clone']);
        await subject.removeVolumes();
      },
      limitMs,
    );
  });
}

/** Of a subject that has not that ability, nothing is tested. */
function testIf(kind: SubjectKind, ability: Ability): (name: string, body: () => Promise<void>, limit: number) => void {
  return kind.abilities.has(ability) ? test : () => {};
}

async function write(volume: Volume, text: string): Promise<void> {
  const device = await fs.promises.open(volume.devicePath, 'r+');
  try {
    await device.write(Buffer.alloc(blockBytes, text.padEnd(16)), 0, blockBytes, 0);
    await device.datasync();
  } finally {
    await device.close();
  }
}

async function read(volume: Volume): Promise<string> {
  const device = await fs.promises.open(volume.devicePath, 'r');
  try {
    const { buffer } = await device.read(Buffer.alloc(blockBytes), 0, blockBytes, 0);
    return buffer.toString('utf8', 0, 16).trim();
  } finally {
    await device.close();
  }
}
