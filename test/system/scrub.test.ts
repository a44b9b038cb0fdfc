/**
 * A whole store, and a disk that changes bytes behind its back: a scrub finds them, says exactly where they are, and forgets
 * them with what they are part of.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { canUseFuse, canUseLoop, describeIf } from '../support/capabilities.ts';
import { eventually } from '../support/eventually.ts';
import { StoreBed, type BedProcess } from '../support/store-bed.ts';

const MIB = 2 ** 20;
const CHUNK_BYTES = 65_536;
const CHUNKS = 32;
const LIMIT_MS = 90_000;
const LOOK_LIMIT_MS = 10_000;
/** By itself it begins nothing that the test does not know of. */
const FLAGS = ['--scrub-every', 'off'];

interface Report {
  readonly running: string | null;
  readonly startedAtMs: number;
  readonly completedBytes: number;
  readonly protectedBytes: number;
  readonly damagedChunks: number;
  readonly damage: { readonly chunks: readonly Chunk[]; readonly more: boolean };
}
interface Chunk {
  readonly damage: string;
  readonly dataOffsetBytes: number;
  readonly places: readonly { readonly kind: string; readonly name: string; readonly offsetBytes: number }[];
}

const chunkOf = (bytes: Buffer, index: number): Buffer => bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);

describeIf(canUseFuse(), canUseLoop())('a scrub', () => {
  let bed: StoreBed;
  const before = randomBytes(CHUNKS * CHUNK_BYTES);
  /** Overwrites the first half. */
  const after = randomBytes((CHUNKS / 2) * CHUNK_BYTES);
  let keeper: BedProcess;
  let store: BedProcess;
  let volumeId = '';
  let snapshotId = '';

  beforeAll(async () => {
    bed = new StoreBed({ poolSize: '96MiB' });
    keeper = await bed.startKeeper();
    await start();
    write(await bed.makeDevice('data', 16 * MIB), before);
    // Its cut would wait for a node role to sync it.
    detach('data');
    const [{ id } = { id: '' }] = await bed.client.listVolumes();
    volumeId = id;
    snapshotId = (await bed.client.createSnapshot({ name: 'monday', sourceVolumeId: id, attributes: {} })).snapshot.id;
  }, LIMIT_MS);
  afterAll(async () => {
    await bed.cleanUp();
  }, LIMIT_MS);

  const file = (name: string): string => path.join(bed.folder, 'pool', name);
  const version = (): number => (JSON.parse(fs.readFileSync(file('pool.json'), 'utf8')) as { version: number }).version;
  const attach = (name: string): string => bed.operate('attach', name, '--keeper', bed.keeperSocket);
  const detach = (name: string): string => bed.operate('detach', name, '--keeper', bed.keeperSocket);

  async function start(): Promise<void> {
    store = await bed.startStore({ pod: null, flags: FLAGS });
  }

  async function end(): Promise<void> {
    store.signal('SIGTERM');
    expect(await store.ended()).toBe('status 0');
  }

  /** With its status, and what it said of the progress. */
  function scrub(...words: readonly string[]): { readonly status: number | null; readonly report: Report; readonly progress: string } {
    const { status, output, errors } = bed.run('scrub', ...words, '--output', 'json');
    return { status, report: JSON.parse(output) as Report, progress: errors };
  }

  /** Flips a bit of the chunk with this content in the pool's data; answers where the chunk begins there. */
  function damage(content: Buffer): number {
    const offset = fs.readFileSync(file('data')).indexOf(content);
    if (offset < 0 || offset % CHUNK_BYTES !== 0) throw new Error(`the chunk is not in the pool's data: ${offset}`);
    const descriptor = fs.openSync(file('data'), 'r+');
    fs.writeSync(descriptor, Buffer.of(content[4_097]! ^ 0x10), 0, 1, offset + 4_097);
    fs.fsyncSync(descriptor);
    fs.closeSync(descriptor);
    return offset;
  }

  test(
    'that the end of its store cuts off goes on where it was; older programs refuse the pool from its beginning on',
    async () => {
      expect(version()).toBe(1);
      // A part of it within a moment, all of it not within the test.
      await bed.client.startScrub({ bytesPerSecond: MIB / 2 });
      expect(version()).toBe(2);
      await eventually('a part is read', async () => (await bed.client.getScrub()).sealedBytes >= MIB / 4, LOOK_LIMIT_MS);
      await end();
      await start();
      const { running, startedAtMs, positionBytes, sealedBytes } = await bed.client.getScrub();
      expect({ running, hasBegun: startedAtMs > 0, hasPosition: positionBytes > 0 }).toEqual({
        running: null,
        hasBegun: true,
        hasPosition: true,
      });
      expect(sealedBytes).toBeGreaterThanOrEqual(MIB / 4);
      expect(sealedBytes).toBeLessThan(2 * MIB);
      const { status, report, progress } = scrub('start', '--wait');
      expect({ status, ...report }).toMatchObject({
        status: 0,
        running: null,
        startedAtMs: 0,
        completedBytes: 0,
        sealedBytes: 2 * MIB,
        protectedBytes: 2 * MIB,
        damagedChunks: 0,
      });
      expect(progress).toMatch(/^0 % of the pool: 0 B compared, [1-9]\d* KiB given a checksum$/m);
    },
    LIMIT_MS,
  );

  test(
    'finds the bytes that a disk has changed, names the snapshots and volumes that have them, and nothing else',
    async () => {
      write(attach('data'), after);
      await end();
      // One that only the snapshot has by now, one that the volume has too, and one that no snapshot has.
      const [ofSnapshot, ofBoth] = [damage(chunkOf(before, 5)), damage(chunkOf(before, 20))];
      damage(chunkOf(after, 7));
      await start();
      const { status, report } = scrub('start', '--wait', '--rate', '1GiB');
      expect({ status, ...report }).toMatchObject({ status: 1, completedBytes: 2 * MIB, protectedBytes: 2 * MIB, damagedChunks: 2 });
      const monday = { kind: 'snapshot', name: 'monday', id: snapshotId };
      const data = { kind: 'volume', name: 'data', id: volumeId };
      const chunks = report.damage.chunks.map((chunk) => ({ ...chunk, places: chunk.places.toSorted(byKind) })).toSorted(byOffset);
      expect(chunks).toEqual([
        { damage: 'changed', dataOffsetBytes: ofSnapshot, places: [{ ...monday, offsetBytes: 5 * CHUNK_BYTES }] },
        {
          damage: 'changed',
          dataOffsetBytes: ofBoth,
          places: [
            { ...monday, offsetBytes: 20 * CHUNK_BYTES },
            { ...data, offsetBytes: 20 * CHUNK_BYTES },
          ],
        },
      ]);
      const read = readAll(attach('monday'), before.length);
      const wrong = Array.from({ length: CHUNKS }, (_, index) => index).filter((at) => !chunkOf(read, at).equals(chunkOf(before, at)));
      expect(wrong).toEqual([5, 20]);
      detach('monday');
    },
    LIMIT_MS,
  );

  test(
    'knows no damage any more of what was deleted, or written anew',
    async () => {
      await bed.client.deleteSnapshot(snapshotId);
      await eventually('only the volume has damage', async () => (await bed.client.getScrub()).damagedChunks === 1, LOOK_LIMIT_MS);
      const places = [{ kind: 'volume', name: 'data', offsetBytes: 20 * CHUNK_BYTES }];
      expect(await bed.client.listDamage()).toMatchObject({ chunks: [{ places }], more: false });
      write(attach('data'), chunkOf(before, 20), 20 * CHUNK_BYTES);
      await eventually('no damage is known', async () => (await bed.client.getScrub()).damagedChunks === 0, LOOK_LIMIT_MS);
      expect(bed.run('scrub', 'status')).toMatchObject({
        status: 0,
        errors: '',
        output: expect.stringMatching(
          /^no pass is under way\nthe last verifying pass ended at .*; it compared 2 MiB\n.*\nno damage is known\n$/,
        ),
      });
      expect(await bed.client.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );

  test(
    'runs in a folder that no store has open, too',
    async () => {
      detach('data');
      const inUse = bed.run('scrub', 'status', '--pool', path.join(bed.folder, 'pool'));
      expect(inUse).toMatchObject({ status: 1, output: '', errors: expect.stringMatching(/^chunkstore: a keeper .* still holds/) });
      await end();
      await keeper.kill();
      // What the volume and its snapshot had in common is sealed still.
      damage(chunkOf(before, 25));
      const { status, report } = scrub('start', '--wait', '--pool', path.join(bed.folder, 'pool'));
      expect({ status, ...report }).toMatchObject({ status: 1, damagedChunks: 1 });
      expect(report.damage.chunks[0]!.places).toMatchObject([{ id: volumeId, offsetBytes: 25 * CHUNK_BYTES }]);
    },
    LIMIT_MS,
  );
});

const byKind = (left: { readonly kind: string }, right: { readonly kind: string }): number => (left.kind < right.kind ? -1 : 1);
const byOffset = (left: Chunk, right: Chunk): number => left.places[0]!.offsetBytes - right.places[0]!.offsetBytes;

function write(devicePath: string, content: Buffer, offset = 0): void {
  const descriptor = fs.openSync(devicePath, 'r+');
  fs.writeSync(descriptor, content, 0, content.length, offset);
  fs.fsyncSync(descriptor);
  fs.closeSync(descriptor);
}

function readAll(devicePath: string, sizeBytes: number): Buffer {
  const content = Buffer.alloc(sizeBytes);
  const descriptor = fs.openSync(devicePath, 'r');
  fs.readSync(descriptor, content, 0, sizeBytes, 0);
  fs.closeSync(descriptor);
  return content;
}
