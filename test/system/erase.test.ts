/** A whole store, and the bytes of a deleted volume in its pool's data: gone when the volume erases, still there when not. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { canUseFuse, canUseLoop, describeIf } from '../support/capabilities.ts';
import { eventually } from '../support/eventually.ts';
import { StoreBed, type BedProcess } from '../support/store-bed.ts';

const MIB = 2 ** 20;
const CHUNK_BYTES = 65_536;
const LIMIT_MS = 60_000;
/** Beyond the age at which a checkpoint is written by itself. */
const ERASE_LIMIT_MS = 45_000;
/** Zeros that are written ahead would hide what was not erased. */
const FLAGS = ['--prewrite', 'off', '--scrub-every', 'off'];

describeIf(canUseFuse(), canUseLoop())('a volume that is deleted', () => {
  let bed: StoreBed;
  let store: BedProcess;

  beforeAll(async () => {
    bed = new StoreBed({ poolSize: '96MiB' });
    await bed.startKeeper();
    store = await bed.startStore({ pod: null, flags: FLAGS });
  }, LIMIT_MS);
  afterAll(async () => {
    await bed.cleanUp();
  }, LIMIT_MS);

  const file = (name: string): string => path.join(bed.folder, 'pool', name);
  const version = (): number => (JSON.parse(fs.readFileSync(file('pool.json'), 'utf8')) as { version: number }).version;

  /** How many chunks of the content the pool's data still holds. */
  function left(content: Buffer): number {
    const data = fs.readFileSync(file('data'));
    let count = 0;
    for (let at = 0; at < content.length; at += CHUNK_BYTES) if (data.includes(content.subarray(at, at + CHUNK_BYTES))) count += 1;
    return count;
  }

  async function make(name: string, attributes: Readonly<Record<string, string>>, content: Buffer): Promise<string> {
    const { volume } = await bed.client.createVolume({ name, sizeBytes: 16 * MIB, source: null, attributes });
    const device = bed.operate('attach', name, '--keeper', bed.keeperSocket);
    const descriptor = fs.openSync(device, 'r+');
    fs.writeSync(descriptor, content, 0, content.length, 0);
    fs.fsyncSync(descriptor);
    fs.closeSync(descriptor);
    bed.operate('detach', name, '--keeper', bed.keeperSocket);
    return volume.id;
  }

  test(
    'leaves nothing on the disk when it erases, though its store dies at once, and what it was when not',
    async () => {
      const [open, secret] = [randomBytes(2 * MIB), randomBytes(2 * MIB)];
      const openId = await make('open', {}, open);
      expect(version()).toBe(1);
      const secretId = await make('secret', { erase: 'true' }, secret);
      expect(version()).toBe(2);
      expect([left(open), left(secret)]).toEqual([32, 32]);
      await bed.client.deleteVolume(openId);
      await bed.client.deleteVolume(secretId);
      store.signal('SIGKILL');
      await store.ended();
      store = await bed.startStore({ pod: null, flags: FLAGS });
      await eventually('everything is erased', async () => left(secret) === 0, ERASE_LIMIT_MS);
      expect(left(open)).toBe(32);
      const { freeBytes, sizeBytes } = await bed.client.getPool();
      expect(freeBytes).toBe(sizeBytes);
    },
    LIMIT_MS,
  );
});
