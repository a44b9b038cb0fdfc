/**
 * A pool in a file system that others fill up to the last byte: it goes on in what it has reserved, cannot grow, says so, and a
 * successor serves it as it was. Leaves nothing behind.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { eventually } from './eventually.ts';
import { run, ScratchDevices, statusOf } from './scratch-devices.ts';
import { StoreBed } from './store-bed.ts';

const MIB = 2 ** 20;
const poolMebibytes = 96;
const volumeMebibytes = 64;
const writtenMebibytes = 32;
const hostMebibytes = 256;
/** Of the pool's size, one chunk is its header. */
const headerBytes = 65_536;
const rounds = 3;
/** What a killed store has under way is over somewhat after its process. */
const idleLimitMs = 60_000;

export async function fillHostOfPool(): Promise<void> {
  const host = new ScratchDevices();
  const bed = new StoreBed({ poolSize: `${poolMebibytes}MiB` });
  const folder = host.place('host');
  try {
    const { path: device } = host.create({ sizeMebibytes: hostMebibytes });
    run('mkfs.ext4', '-q', '-m', '0', device);
    fs.mkdirSync(folder);
    run('mount', device, folder);
    await fillAndGoOn(bed, folder);
  } finally {
    try {
      await bed.cleanUp();
      await eventually('the host file system is idle', () => isUnmounted(folder), idleLimitMs);
    } finally {
      host.cleanUp();
    }
  }
}

async function fillAndGoOn(bed: StoreBed, folder: string): Promise<void> {
  const pool = ['--pool', path.join(folder, 'pool')];
  await bed.startKeeper();
  const old = await bed.startStore({ pod: 'old', flags: pool });
  const volume = await bed.makeDevice('data', volumeMebibytes * MIB);

  // Not a byte is left for anybody: the first takes nearly all, the second what comes after it.
  assert.equal(statusOf('dd', 'if=/dev/zero', `of=${folder}/other`, 'bs=1M'), 1);
  assert.equal(statusOf('dd', 'if=/dev/zero', `of=${folder}/rest`, 'bs=4096'), 1);
  const overwrite = (): string =>
    run('dd', 'if=/dev/urandom', `of=${volume}`, 'bs=1M', `count=${writtenMebibytes}`, 'oflag=direct', 'conv=fsync');
  for (let round = 0; round < rounds; round++) {
    overwrite();
    const { id } = (await bed.client.listVolumes())[0]!;
    const { snapshot } = await bed.client.createSnapshot({ name: `cut-${round}`, sourceVolumeId: id, attributes: {} });
    overwrite();
    await bed.client.deleteSnapshot(snapshot.id);
  }

  // A successor that is to grow it takes it over and serves it as it is.
  const next = await bed.startStore({ pod: 'new', flags: [...pool, '--size', `${2 * hostMebibytes}MiB`] });
  await old.says('"the successor serves');
  await next.says(`the pool stays at ${poolMebibytes * MIB} bytes`);
  assert.equal((await bed.client.getPool()).sizeBytes, poolMebibytes * MIB - headerBytes);
  overwrite();
  assert.equal(fs.statSync(path.join(folder, 'pool/data')).size, poolMebibytes * MIB);
  assert.deepEqual((await bed.client.check()).problems, []);
}

/** Unmounts what is mounted there, if nobody uses it; also when nothing is. */
function isUnmounted(folder: string): boolean {
  if (spawnSync('mountpoint', ['-q', folder]).status !== 0) return true;
  return spawnSync('umount', [folder], { timeout: 60_000 }).status === 0;
}
