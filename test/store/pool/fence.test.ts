import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { PoolFence } from '../../../src/store/pool/fence.ts';

const id = 'p'.repeat(26);
let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-fence-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const open = (): PoolFence => new PoolFence({ folder, id });

describe('the fence of a lost pool', () => {
  test('is open at first, and says why and what to do once it stands', async () => {
    const fence = open();
    fence.demandOpen();
    await fence.setLost(true);
    expect(() => fence.demandOpen()).toThrow(/pool p{26} was declared lost.*set spec\.lost.*false/);
    await fence.setLost(false);
    fence.demandOpen();
  });

  test('holds over a restart, and so does its end', async () => {
    await open().setLost(true);
    expect(open().lost).toBe(true);
    await open().setLost(true);
    await open().setLost(false);
    await open().setLost(false);
    expect(open().lost).toBe(false);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test('stands when something is there by its name that cannot be read', () => {
    fs.symlinkSync('lost', path.join(folder, 'lost'));
    expect(open().lost).toBe(true);
  });

  test('does not stand while the disk refuses to remember it', async () => {
    const fence = open();
    fs.rmSync(folder, { recursive: true });
    await expect(fence.setLost(true)).rejects.toMatchObject({ code: 'unavailable' });
    expect(fence.lost).toBe(false);
    fs.mkdirSync(folder);
    await fence.setLost(true);
    expect(fence.lost).toBe(true);
  });

  test('calls at the same time take effect in their order', async () => {
    const fence = open();
    await Promise.all([fence.setLost(true), fence.setLost(false), fence.setLost(true)]);
    expect([fence.lost, open().lost]).toEqual([true, true]);
  });
});
