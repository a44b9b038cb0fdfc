/**
 * Makes the golden image of a pool in the format of today, for the tests of the programs to come:
 *
 *   node test/golden/make-pool.ts VERSION
 *
 * VERSION is that of pool.json (docs/format.md). It is to be made before a format changes, once: an image is never made
 * anew, because only the program of its time makes it as pools of users are. Needs root, FUSE and loop devices.
 *
 * The pool holds volumes with layers, discards and zeroes; snapshots; a clone that is larger than its source; a volume that
 * was reverted; one whose tree has three levels; and gaps that deleted objects left. Its last checkpoint lies behind: what
 * came after is in the log alone, and some writes that were answered and not flushed are in the shared memory alone.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { KeeperClient } from '../../src/block/keeper-client.ts';
import { memoryKey } from '../../src/block/kept-device.ts';
import { closeDescriptor } from '../../src/linux/files.ts';
import { packImage, type ImageFile } from '../support/file-image.ts';
import { FAR_OFFSETS, GOLDEN_POOL, GoldenDevices, goldenFiles, type GoldenContents } from '../support/golden-pool.ts';
import { StoreBed } from '../support/store-bed.ts';

const MIB = 2 ** 20;
const GRANULE_BYTES = 4096;
const CHUNK_GRANULES = 16;
const COMMAND_LIMIT_MS = 30_000;
const POOL_FILES = ['pool.json', 'data', 'log', 'meta/data.mdb'];

type Spans = readonly (readonly [firstGranule: number, granules: number])[];

class Maker {
  readonly #bed = new StoreBed({ poolSize: GOLDEN_POOL.sizeText });
  readonly #devices = new GoldenDevices(this.#bed);
  #generation = 0;

  async make(version: number): Promise<void> {
    const { image, contents } = goldenFiles(version);
    for (const file of [image, contents]) if (fs.existsSync(file)) throw new Error(`${file} is there: a golden image is never made anew`);
    try {
      await this.#bed.startKeeper();
      const first = await this.#bed.startStore({ pod: 'first', flags: GOLDEN_POOL.flags });
      await this.#fill();
      // In order: it writes a checkpoint.
      first.signal('SIGTERM');
      await first.ended();
      const second = await this.#bed.startStore({ pod: 'second', flags: GOLDEN_POOL.flags });
      await this.#change();
      const { id: poolId } = await this.#bed.client.getPool();
      const durable = await this.#devices.contents();
      // A device that is taken down flushes the whole pool.
      for (const { volume, snapshot } of durable) await this.#devices.attach((volume ?? snapshot)!.id);
      await this.#changeUnflushed();
      const acknowledged = await this.#devices.contents();
      await second.kill();
      const found = JSON.parse(fs.readFileSync(this.#poolFile('pool.json'), 'utf8')) as { version: unknown };
      if (found.version !== version) throw new Error(`this program writes version ${String(found.version)}`);
      fs.writeFileSync(image, await this.#pack(poolId));
      fs.writeFileSync(contents, `${JSON.stringify({ poolId, durable, acknowledged } satisfies GoldenContents, null, 2)}\n`);
      process.stdout.write(`${image}: ${fs.statSync(image).size} bytes\n`);
      // Somebody has to serve the devices while they are taken down.
      await this.#bed.startStore({ pod: 'third' });
    } finally {
      await this.#devices.close();
      await this.#bed.cleanUp();
    }
  }

  async #fill(): Promise<void> {
    const { client } = this.#bed;
    const plain = await this.#create('plain', 8 * MIB);
    await this.#write(plain.device, [[0, 70], [100, 3], [300, 1], [2040, 8]]); // prettier-ignore
    // Parts of chunks, and whole ones.
    this.#zero(plain.device, 'discard', [[5, 2], [32, 16]]); // prettier-ignore
    this.#zero(plain.device, 'zeroout', [[60, 9]]);
    await this.#snapshot('plain-1', plain.id);
    await this.#write(plain.device, [[0, 1], [17, 2], [300, 2]]); // prettier-ignore
    const middle = await this.#snapshot('plain-2', plain.id);
    await this.#write(plain.device, [[1, 1], [18, 1], [500, 20]]); // prettier-ignore

    const gone = await this.#create('gone', 4 * MIB);
    await this.#write(gone.device, [[0, 100]]);
    const [source] = (await client.listSnapshots()).filter(({ name }) => name === 'plain-1');
    const clone = await client.createVolume({
      name: 'copy',
      sizeBytes: 12 * MIB,
      source: { kind: 'snapshot', id: source!.id },
      attributes: { fileSystem: 'ext4' },
    });
    const copyDevice = await this.#devices.attach(clone.volume.id);
    await this.#write(copyDevice, [[2, 2], [2050, 40]]); // prettier-ignore

    const reverted = await this.#create('reverted', 4 * MIB);
    await this.#write(reverted.device, [[0, 40]]);
    const goal = await this.#snapshot('reverted-1', reverted.id);
    await this.#write(reverted.device, [[10, 40]]);
    await this.#devices.detach(reverted.id);
    await client.revertVolume({ id: reverted.id, snapshotId: goal, safety: { name: 'reverted-safety', attributes: { why: 'safety' } } });
    await this.#write(await this.#devices.attach(reverted.id), [[3, 5]]);

    const large = await this.#create('large', 5120 * MIB);
    await this.#write(large.device, FAR_OFFSETS.map((offset) => [offset / GRANULE_BYTES, 4])); // prettier-ignore

    await this.#devices.detach(gone.id);
    await client.deleteVolume(gone.id);
    await client.deleteSnapshot(middle);
  }

  /** All of it flushed; the checkpoint knows nothing of it. */
  async #change(): Promise<void> {
    const { client } = this.#bed;
    const [plain, large] = [await this.#find('plain'), await this.#find('large')];
    await this.#write(plain.device, [[4, 3], [600, 2 * CHUNK_GRANULES]]); // prettier-ignore
    const young = await this.#create('young', 2 * MIB);
    await this.#write(young.device, [[0, 9], [511, 1]]); // prettier-ignore
    this.#zero(plain.device, 'discard', [[2040, 4]]);
    await client.resizeVolume((await this.#find('copy')).id, 13 * MIB);
    await this.#write(large.device, [[FAR_OFFSETS[1] / GRANULE_BYTES + 2, 9]]);
    await this.#snapshot('plain-3', plain.id);
  }

  /** Answered, and in the shared memory alone. Into chunks that a snapshot shares, and into new ones. */
  async #changeUnflushed(): Promise<void> {
    const [plain, young] = [await this.#find('plain'), await this.#find('young')];
    await this.#write(plain.device, [[0, 3], [1000, 17]], { flush: false }); // prettier-ignore
    await this.#write(young.device, [[100, 20]], { flush: false });
    this.#zero(plain.device, 'discard', [[16, 16]]);
  }

  async #create(name: string, sizeBytes: number): Promise<{ readonly id: string; readonly device: string }> {
    const { volume } = await this.#bed.client.createVolume({
      name,
      sizeBytes,
      source: null,
      attributes: { fileSystem: 'ext4', note: '—' },
    });
    return { id: volume.id, device: await this.#devices.attach(volume.id) };
  }

  async #find(name: string): Promise<{ readonly id: string; readonly device: string }> {
    const volume = await this.#bed.client.findVolume(name);
    if (volume === null) throw new Error(`there is no volume ${name}`);
    return { id: volume.id, device: await this.#devices.attach(volume.id) };
  }

  async #snapshot(name: string, volumeId: string): Promise<string> {
    return (await this.#bed.client.createSnapshot({ name, sourceVolumeId: volumeId, attributes: {} })).snapshot.id;
  }

  /** Each granule is its own: 32 bytes that no other has, again and again, which compress well. */
  async #write(device: string, spans: Spans, options: { readonly flush: boolean } = { flush: true }): Promise<void> {
    this.#generation += 1;
    for (const [first, granules] of spans) {
      const input = Buffer.concat(
        Array.from({ length: granules }, (_, index) => {
          const word = createHash('sha256')
            .update(`${this.#generation} ${device} ${first + index}`)
            .digest();
          return Buffer.concat(Array.from({ length: GRANULE_BYTES / word.length }, () => word));
        }),
      );
      const places = ['bs=4k', 'iflag=fullblock', 'oflag=direct', `seek=${first}`];
      command('dd', [`of=${device}`, ...places, `conv=notrunc${options.flush ? ',fsync' : ''}`, 'status=none'], input);
    }
  }

  #zero(device: string, how: 'discard' | 'zeroout', spans: Spans): void {
    for (const [first, granules] of spans) {
      const range = ['--offset', String(first * GRANULE_BYTES), '--length', String(granules * GRANULE_BYTES)];
      command('blkdiscard', [...(how === 'zeroout' ? ['--zeroout'] : []), ...range, device]);
    }
  }

  #poolFile(name: string): string {
    return path.join(this.#bed.folder, 'pool', name);
  }

  async #pack(poolId: string): Promise<Uint8Array> {
    const keeper = await KeeperClient.connect({ socketPath: this.#bed.keeperSocket, role: 'operator', pool: poolId });
    const [memory] = (await keeper.get(memoryKey))!.descriptors;
    const files: ImageFile[] = POOL_FILES.map((name) => ({ name: `pool/${name}`, descriptor: fs.openSync(this.#poolFile(name), 'r') }));
    try {
      return packImage([...files, { name: 'memory', descriptor: memory! }]);
    } finally {
      for (const { descriptor } of files) fs.closeSync(descriptor);
      closeDescriptor(memory!);
      await keeper.close();
    }
  }
}

function command(program: string, parameters: readonly string[], input?: Uint8Array): void {
  const { status, stderr } = spawnSync(program, parameters, { encoding: 'utf8', timeout: COMMAND_LIMIT_MS, ...(input && { input }) });
  if (status !== 0) throw new Error(`${program} ${parameters.join(' ')}: ${stderr}`);
}

await new Maker().make(Number(process.argv[2]));
