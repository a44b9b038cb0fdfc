import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { duplicateDescriptor } from '../../../src/linux/duplicate.ts';
import { closePool, createPool, openPool, raisePoolVersion, readPoolIdentity } from '../../../src/store/pool/pool.ts';

const MIB = 1 << 20;
const ID = 'q'.repeat(26);

let parent: string;
let folder: string;
beforeEach(() => {
  parent = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-pool-'));
  folder = path.join(parent, 'pool');
});
afterEach(() => fs.rmSync(parent, { recursive: true, force: true }));

const makeMetadata = async (): Promise<void> => fs.writeFileSync(path.join(folder, 'meta/data.mdb'), '');
const create = (sizeBytes = 64 * MIB, format: () => Promise<void> = makeMetadata): Promise<boolean> =>
  createPool(folder, { id: ID, sizeBytes, chunkSizeBytes: 65536 }, format);
let check = (): void => {};
const open = (sizeBytes: number | null = null) => openPool(folder, { sizeBytes, lockWaitMs: 0, check });
const fingerprint = (): string => spawnSync('find', [folder, '-printf', '%P %s %T@\n'], { encoding: 'utf8' }).stdout;

describe('pool folder', () => {
  test('is created with its space reserved, and opens as what it is', async () => {
    expect(readPoolIdentity(folder)).toBeNull();
    await create(64 * MIB + 1000);
    const pool = await open();
    expect(pool).toMatchObject({ id: ID, chunkSizeBytes: 65536, dataBytes: 64 * MIB, logBytes: 16 * MIB });
    expect(fs.statSync(path.join(folder, 'data')).blocks * 512).toBeGreaterThanOrEqual(64 * MIB);
    expect(fs.statSync(path.join(folder, 'log')).blocks * 512).toBeGreaterThanOrEqual(16 * MIB);
    closePool(pool);
  });

  test('room for the metadata is reserved', async () => {
    const file = path.join(folder, 'meta/data.mdb');
    await create(64 * MIB, async () => fs.writeFileSync(file, 'written by LMDB'));
    expect(fs.statSync(file).blocks * 512).toBeGreaterThanOrEqual(16 * MIB);
    expect(fs.readFileSync(file, 'utf8').slice(0, 15)).toBe('written by LMDB');
  });

  test('a creation that was cut off begins anew', async () => {
    await expect(create(64 * MIB, () => Promise.reject(new Error('cut')))).rejects.toThrow('cut');
    expect(readPoolIdentity(folder)).toBeNull();
    await create();
    expect(fs.readdirSync(folder).toSorted()).toEqual(['data', 'log', 'meta', 'pool.json']);
  });

  test('a creation that finds no space gives back what it reserved', async () => {
    await expect(create(2 ** 60)).rejects.toMatchObject({ code: 'no-space' });
    expect(fs.readdirSync(folder)).toEqual(['creating']);
    await create();
    closePool(await open());
  });

  test('a pool that cannot grow is open all the same, as large as it was, and says why', async () => {
    await create();
    const pool = await open(2 ** 60);
    expect(pool.dataBytes).toBe(64 * MIB);
    expect(pool.growthProblem).toMatch(/the pool stays at 67108864 bytes: .*make room/);
    closePool(pool);
    expect(readPoolIdentity(folder)?.dataBytes).toBe(64 * MIB);
    expect(fs.statSync(path.join(folder, 'data')).size).toBe(64 * MIB);
    const grown = await open(96 * MIB);
    expect(grown).toMatchObject({ dataBytes: 96 * MIB, growthProblem: null });
    closePool(grown);
  });

  test('too small a pool is refused before a folder is made', async () => {
    await expect(create(MIB)).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(fs.existsSync(folder)).toBe(false);
  });

  test('a larger size grows it, a smaller one is refused', async () => {
    await create();
    closePool(await open(96 * MIB));
    expect(readPoolIdentity(folder)?.dataBytes).toBe(96 * MIB);
    const before = fingerprint();
    await expect(open(64 * MIB)).rejects.toMatchObject({ code: 'out-of-range' });
    expect(fingerprint()).toBe(before);
  });

  test('its version is raised for good, and kept when it grows', async () => {
    await create();
    const fields = () => JSON.parse(fs.readFileSync(path.join(folder, 'pool.json'), 'utf8')) as Record<string, unknown>;
    const first = fields();
    expect(first['version']).toBe(1);
    raisePoolVersion(folder);
    raisePoolVersion(folder);
    const checksum = expect.any(Number);
    expect(fields()).toEqual({ ...first, version: 2, checksum });
    expect(fs.readdirSync(folder).toSorted()).toEqual(['data', 'log', 'meta', 'pool.json']);
    const grown = await open(96 * MIB);
    expect(grown).toMatchObject({ version: 2, dataBytes: 96 * MIB });
    closePool(grown);
    expect(fields()).toEqual({ ...first, version: 2, dataBytes: 96 * MIB, checksum });
  });

  test('a version that is another one than was written is noticed', async () => {
    await create();
    rewrite({ version: 2 });
    expect(() => readPoolIdentity(folder)).toThrow('checksum does not match');
    rewrite({ version: 1 });
    raisePoolVersion(folder);
    rewrite({ version: 1 });
    expect(() => readPoolIdentity(folder)).toThrow('checksum does not match');
    rewrite({ version: 2, checksum: undefined });
    expect(() => readPoolIdentity(folder)).toThrow('checksum does not match');
  });

  test('a pool that grows without a scrub stays readable to older programs', async () => {
    await create();
    closePool(await open(96 * MIB));
    expect(readPoolIdentity(folder)).toMatchObject({ version: 1, dataBytes: 96 * MIB });
  });

  test('a version that cannot be raised is said to be so, and stays', async () => {
    await create();
    fs.mkdirSync(path.join(folder, 'pool.json.new'));
    expect(() => raisePoolVersion(folder)).toThrow(expect.objectContaining({ code: 'no-space' }));
    expect(readPoolIdentity(folder)?.version).toBe(1);
  });

  test('what its owner finds wrong with it keeps it from being grown, and open', async () => {
    await create();
    const before = fingerprint();
    check = () => {
      throw new Error('foreign');
    };
    await expect(open(96 * MIB)).rejects.toThrow('foreign');
    check = () => {};
    expect(fingerprint()).toBe(before);
    closePool(await open());
  });

  test('is open in one process at a time', async () => {
    await create();
    const pool = await open();
    await expect(open()).rejects.toMatchObject({ code: 'in-use', message: expect.stringContaining('another process') });
    closePool(pool);
    closePool(await open());
  });

  test('is free as soon as it is closed, whoever else still refers to its files', async () => {
    await create();
    const pool = await open();
    // As the kernel does for an io_uring that was closed.
    const copies = [duplicateDescriptor(pool.dataDescriptor), duplicateDescriptor(pool.logDescriptor)];
    closePool(pool);
    closePool(await open());
    for (const copy of copies) fs.closeSync(copy);
  });

  test.each<[string, string, () => void]>([
    ['another version', 'version 9', () => rewrite({ version: 9 })],
    ['a version before the first', 'version 0', () => rewrite({ version: 0 })],
    ['a foreign pool.json', 'does not describe', () => fs.writeFileSync(path.join(folder, 'pool.json'), 'hello')],
    ['another size', 'checksum does not match', () => rewrite({ logBytes: 15 * MIB })],
    ['a large pool.json', 'does not describe', () => fs.appendFileSync(path.join(folder, 'pool.json'), ' '.repeat(1 << 16))],
    ['a pipe for pool.json', 'does not describe', () => replaceByPipe('pool.json')],
    ['a pipe for the log', 'not a regular file', () => replaceByPipe('log')],
    ['a pipe for the metadata', 'metadata is gone', () => replaceByPipe('meta/data.mdb')],
    ['a truncated data file', 'truncated', () => fs.truncateSync(path.join(folder, 'data'), MIB)],
    ['a truncated log', 'truncated', () => fs.truncateSync(path.join(folder, 'log'), MIB)],
    ['a missing data file', 'missing', () => fs.rmSync(path.join(folder, 'data'))],
    ['missing metadata', 'metadata is gone', () => fs.rmSync(path.join(folder, 'meta'), { recursive: true })],
    ['an empty folder of metadata', 'metadata is gone', () => fs.rmSync(path.join(folder, 'meta/data.mdb'))],
    [
      'a data that is no file',
      'not a regular file',
      () => fs.rmSync(path.join(folder, 'data')) ?? fs.symlinkSync('/dev/null', path.join(folder, 'data')),
    ],
  ])('%s is a clear error and nothing is touched', async (_, words, damage) => {
    await create();
    damage();
    const before = fingerprint();
    await expect(open(128 * MIB)).rejects.toMatchObject({ name: 'StoreError', message: expect.stringContaining(words) });
    expect(fingerprint()).toBe(before);
  });

  test('a pool.json without a checksum is read', async () => {
    await create();
    rewrite({ checksum: undefined });
    closePool(await open());
  });

  test('a folder with other files is left alone', async () => {
    fs.mkdirSync(folder);
    fs.writeFileSync(path.join(folder, 'thesis.txt'), 'precious');
    await expect(create()).rejects.toMatchObject({ code: 'failed-precondition', message: expect.stringContaining('thesis.txt') });
    expect(fs.readdirSync(folder)).toEqual(['thesis.txt']);
  });
});

/** Whoever opened it would wait for ever. */
function replaceByPipe(name: string): void {
  const file = path.join(folder, name);
  fs.rmSync(file);
  expect(spawnSync('mkfifo', [file]).status).toBe(0);
}

function rewrite(change: object): void {
  const file = path.join(folder, 'pool.json');
  fs.writeFileSync(file, JSON.stringify({ ...JSON.parse(fs.readFileSync(file, 'utf8')), ...change }));
}
