/** The data loop behind a real FUSE mount and a real loop device, with a plain file in the place of the engine. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileStatus } from '../../src/linux/files.ts';
import { growLoopDevice } from '../../src/linux/loop-device.ts';
import { canUseFuse, canUseLoop, describeIf, hasPrograms } from '../support/capabilities.ts';
import { DataThreadHost, run } from '../support/data-thread-host.ts';

const deviceBytes = 64 << 20;

describeIf(
  canUseFuse(),
  canUseLoop(),
  hasPrograms('fio', 'blkdiscard'),
)('the front-end of block devices', () => {
  let folder: string;
  let file: string;
  let host: DataThreadHost;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-front-'));
    file = path.join(folder, 'data');
    fs.writeFileSync(file, Buffer.alloc(4 * deviceBytes, 0x5a));
  });
  afterEach(async () => {
    const { errors } = host;
    await host.close();
    fs.rmSync(folder, { recursive: true });
    expect(errors).toBe('');
  });

  async function serve(devices: number, options: { readonly readOnly?: boolean } = {}): Promise<void> {
    host = new DataThreadHost({ file, devices, deviceBytes, ...options });
    await host.start();
  }

  test('holds what was written, under verification', async () => {
    await serve(1);
    const { err, written } = await verifiedLoad(await host.attach(0), 3);
    expect(err).toBe(0);
    expect(written).toBeGreaterThan(0);
  }, 60_000);

  test('discarded and zeroed ranges read as zeros, their neighbours keep their bytes', async () => {
    await serve(1);
    const loop = await host.attach(0);
    await run('blkdiscard', ['--offset', '1048576', '--length', '4096', loop]);
    await run('blkdiscard', ['--zeroout', '--offset', '2097152', '--length', '3145728', loop]);
    const copy = path.join(folder, 'copy');
    await run('dd', [`if=${loop}`, `of=${copy}`, 'bs=1M', 'iflag=direct']);
    const bytes = fs.readFileSync(copy);
    const expected = Buffer.alloc(deviceBytes, 0x5a)
      .fill(0, 1048576, 1048576 + 4096)
      .fill(0, 2097152, 2097152 + 3145728);
    expect(bytes.equals(expected)).toBe(true);
  }, 60_000);

  test('serves several devices at once, none of which starves', async () => {
    await serve(3);
    const loops = [await host.attach(0), await host.attach(1), await host.attach(2)];
    const results = await Promise.all(loops.map((loop) => verifiedLoad(loop, 2)));
    expect(results.map(({ err }) => err)).toEqual([0, 0, 0]);
    const written = results.map((result) => result.written);
    expect(Math.min(...written)).toBeGreaterThan(Math.max(...written) / 5);
  }, 60_000);

  test('a killed server comes back under load without an error or a wrong byte', async () => {
    await serve(2);
    const loops = [await host.attach(0), await host.attach(1)];
    let over = false;
    const loads = Promise.all(loops.map((loop) => verifiedLoad(loop, 6))).finally(() => (over = true));
    let kills = 0;
    let found = 0;
    while (!over && kills < 6) {
      await delay(500);
      await host.kill();
      const { answered, submitted } = await host.start();
      found += answered + submitted;
      kills++;
    }
    expect((await loads).map(({ err }) => err)).toEqual([0, 0]);
    expect(kills).toBeGreaterThan(2);
    expect(found).toBeGreaterThan(0);
  }, 120_000);

  test('knows which devices are open, also after it was killed', async () => {
    await serve(2);
    const loop = await host.attach(1);
    expect(await openDevices()).toEqual([2]);
    await host.kill();
    await host.start();
    expect(await openDevices()).toEqual([2]);
    await host.detach(loop);
    await until(async () => (await openDevices()).length === 0);
  }, 60_000);

  test('a stop lets requests finish and a successor go on', async () => {
    await serve(1);
    const loop = await host.attach(0);
    const load = verifiedLoad(loop, 3);
    for (let count = 0; count < 3; count++) {
      await delay(500);
      await host.stop();
      expect(await host.start()).toEqual({ answered: 0, submitted: 0 });
    }
    expect((await load).err).toBe(0);
  }, 60_000);

  test('a device that is removed under load fails its I/O instead of hanging it, and leaves others alone', async () => {
    await serve(2);
    const loops = [await host.attach(0), await host.attach(1)];
    const lost = verifiedLoad(loops[0]!, 4);
    const kept = verifiedLoad(loops[1]!, 3);
    await delay(1000);
    await host.ask({ kind: 'remove', connection: 1 }, 'removed');
    host.closeConnection(0);
    expect((await lost).err).not.toBe(0);
    expect((await kept).err).toBe(0);
  }, 60_000);

  test('an idle device is removed at once', async () => {
    await serve(1);
    expect(await host.ask({ kind: 'remove', connection: 1 }, 'removed')).toEqual({ removed: 1 });
  }, 60_000);

  test('growth is seen by the loop device', async () => {
    host = new DataThreadHost({ file, devices: 1, deviceBytes });
    await host.start();
    const loop = await host.attach(0);
    host.send({ kind: 'resize', connection: 1, sizeBytes: 2 * deviceBytes });
    // The kernel keeps what it knows of the file until somebody has it ask anew.
    await until(
      async () => (await fileStatus(host.mounts[0]!.mountDescriptor, { fresh: true, timeoutMs: 5000 })).sizeBytes === 2 * deviceBytes,
    );
    await until(async () => (await growLoopDevice(loop, { timeoutMs: 5000 })) === 2 * deviceBytes);
  }, 60_000);

  test('writes to a read-only device fail', async () => {
    await serve(1, { readOnly: true });
    const loop = await host.attach(0, { readOnly: true });
    await expect(run('dd', ['if=/dev/zero', `of=${loop}`, 'bs=4k', 'count=1', 'oflag=direct'])).rejects.toThrow();
    await run('dd', [`if=${loop}`, 'of=/dev/null', 'bs=1M', 'count=4', 'iflag=direct']);
  }, 60_000);

  async function openDevices(): Promise<readonly number[]> {
    const { report } = (await host.ask({ kind: 'report' }, 'report')) as { report: { open: number[] } };
    return report.open;
  }
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('it did not come true within 5 s');
    await delay(20);
  }
}

/** Mixed random I/O with a checksum in each block. Answers fio's errno and the bytes it wrote. */
async function verifiedLoad(device: string, seconds: number): Promise<{ readonly err: number; readonly written: number }> {
  const flags = ['--name=x', `--filename=${device}`, '--direct=1', '--ioengine=libaio', '--iodepth=32', '--rw=randrw', '--bs=4k'];
  const verification = [
    '--verify=crc32c',
    '--verify_fatal=1',
    '--verify_state_save=0',
    '--verify_backlog=256',
    `--runtime=${seconds}`,
    '--time_based',
  ];
  const fio = spawn('fio', [...flags, ...verification, '--output-format=json'], { timeout: 60_000, killSignal: 'SIGKILL' });
  let text = '';
  fio.stdout.on('data', (data: Buffer) => (text += data.toString('utf8')));
  await new Promise((resolve) => fio.once('close', resolve));
  const job = (JSON.parse(text.slice(text.indexOf('{'))) as { jobs: { error: number; write: { io_bytes: number } }[] }).jobs[0]!;
  return { err: job.error, written: job.write.io_bytes };
}
