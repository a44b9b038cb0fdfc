/**
 * A pool of an earlier format, and what it holds: `pool-VERSION.image.gz` has its files, and the shared memory of the store
 * that was killed over it; `pool-VERSION.json` says what today's program must find. test/golden/make-pool.ts makes both.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { LoopDevices } from '../../src/block/node-devices.ts';
import { KeeperClients, makeLoopDevices } from '../../src/roles/node.ts';
import type { ClientVolume } from '../../src/store/wire/client.ts';
import type { SnapshotMessage } from '../../src/store/wire/messages.ts';
import { silentLogger } from '../../src/util/log.ts';
import type { StoreBed } from './store-bed.ts';

const run = promisify(execFile);
const MIB = 2 ** 20;
const COMMAND_LIMIT_MS = 30_000;
const FOLDER = path.join(import.meta.dirname, '../golden');

/** As the chart sets a small pool up, but that nothing is written ahead: an image is to be small. */
export const GOLDEN_POOL = { sizeText: '64MiB', flags: ['--prewrite', 'off', '--overprovisioning', '1000'] } as const;

/** A part of an object: all of it, or around what was written into a large one. */
export interface GoldenRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly sha256: string;
}

export interface GoldenObject {
  /** As the store tells it, but for whether it is attached. */
  readonly volume?: Omit<ClientVolume, 'attached'>;
  readonly snapshot?: Omit<SnapshotMessage, 'attached'>;
  readonly ranges: readonly GoldenRange[];
}

export interface GoldenContents {
  readonly poolId: string;
  /** Without the shared memory: after a power cut. */
  readonly durable: readonly GoldenObject[];
  /** With it: after the death of the store. */
  readonly acknowledged: readonly GoldenObject[];
}

export function goldenFiles(version: number): { readonly image: string; readonly contents: string } {
  return { image: path.join(FOLDER, `pool-${version}.image.gz`), contents: path.join(FOLDER, `pool-${version}.json`) };
}

export function goldenContents(version: number): GoldenContents {
  return JSON.parse(fs.readFileSync(goldenFiles(version).contents, 'utf8')) as GoldenContents;
}

/** The devices of a bed's store, and what is in them. */
export class GoldenDevices {
  readonly #bed: StoreBed;
  readonly #keepers: KeeperClients;
  readonly #devices: LoopDevices;

  constructor(bed: StoreBed) {
    this.#bed = bed;
    this.#keepers = new KeeperClients(bed.keeperSocket);
    this.#devices = makeLoopDevices({ store: bed.client, keepers: this.#keepers, log: silentLogger() });
  }

  async attach(id: string): Promise<string> {
    return (await this.#devices.attach(id)).devicePath;
  }

  async detach(id: string): Promise<void> {
    await this.#devices.detach(id);
  }

  async close(): Promise<void> {
    await this.#keepers.close();
  }

  /** Everything that the store has, in the order of the names. Devices that were there stay. */
  async contents(): Promise<GoldenObject[]> {
    const [volumes, snapshots] = [await this.#bed.client.listVolumes(), await this.#bed.client.listSnapshots()];
    const byName = (left: { readonly name: string }, right: { readonly name: string }): number => (left.name < right.name ? -1 : 1);
    const objects: GoldenObject[] = [];
    for (const { attached, ...volume } of volumes.toSorted(byName))
      objects.push({ volume, ranges: await this.#ranges({ ...volume, attached }) });
    for (const { attached, ...snapshot } of snapshots.toSorted(byName))
      objects.push({ snapshot, ranges: await this.#ranges({ ...snapshot, attached }) });
    return objects;
  }

  async #ranges(object: { readonly id: string; readonly sizeBytes: number; readonly attached: boolean }): Promise<GoldenRange[]> {
    const device = await this.attach(object.id);
    const ranges: GoldenRange[] = [];
    for (const { offsetBytes, lengthBytes } of rangesOf(object.sizeBytes))
      ranges.push({ offsetBytes, lengthBytes, sha256: await digest(device, offsetBytes, lengthBytes) });
    if (!object.attached) await this.detach(object.id);
    return ranges;
  }
}

const WHOLE_UP_TO_BYTES = 16 * MIB;
/** Where the maker writes into a large object, and there alone: reading all of it takes minutes. */
export const FAR_OFFSETS = [0, 16 * MIB, 4096 * MIB, 5119 * MIB] as const;

function rangesOf(sizeBytes: number): { readonly offsetBytes: number; readonly lengthBytes: number }[] {
  if (sizeBytes <= WHOLE_UP_TO_BYTES) return [{ offsetBytes: 0, lengthBytes: sizeBytes }];
  return FAR_OFFSETS.map((offsetBytes) => ({ offsetBytes, lengthBytes: MIB }));
}

/** Past the page cache. Both are multiples of 1 MiB. */
async function digest(device: string, offsetBytes: number, lengthBytes: number): Promise<string> {
  const parameters = [`if=${device}`, 'bs=1M', 'iflag=direct', `skip=${offsetBytes / MIB}`, `count=${lengthBytes / MIB}`, 'status=none'];
  const { stdout } = await run('dd', parameters, { encoding: 'buffer', timeout: COMMAND_LIMIT_MS, maxBuffer: 2 * WHOLE_UP_TO_BYTES });
  if (stdout.length !== lengthBytes) throw new Error(`${device} has ${stdout.length} bytes at ${offsetBytes}, not ${lengthBytes}`);
  return createHash('sha256').update(stdout).digest('hex');
}
