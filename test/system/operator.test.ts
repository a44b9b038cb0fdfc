/** The operator's commands against a running driver: what they do, what they print, and what they refuse. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { runCommand, type CommandResult } from '../../src/util/exec.ts';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasPrograms } from '../support/capabilities.ts';
import { DriverBed } from '../support/driver-bed.ts';
import { eventually } from '../support/eventually.ts';
import { commandPath } from '../support/machine.ts';

interface Listed {
  readonly id: string;
  readonly kind: 'volume' | 'snapshot';
  readonly name: string;
  readonly sizeBytes: number;
  readonly sourceId: string | null;
  readonly attached: boolean;
}
interface Space {
  readonly pool: {
    readonly chunkSizeBytes: number;
    readonly sizeBytes: number;
    readonly usedBytes: number;
    readonly provisionedBytes: number;
    readonly volumes: number;
    readonly snapshots: number;
  };
  readonly objects: readonly {
    readonly name: string;
    readonly kind: string;
    readonly provisionedBytes: number;
    readonly usedBytes: number;
    readonly exclusiveBytes: number;
    readonly sharedBytes: number;
  }[];
}
interface Attached {
  readonly devicePath: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
}

const MIB = 2 ** 20;
const CHUNK_BYTES = 32 * 1024;
const TEST_LIMIT_MS = 60_000;
const deviceLimit = { timeoutMs: 20_000 };

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasPrograms('dd', 'blockdev'),
)('the operator commands', () => {
  let bed: DriverBed;
  beforeAll(async () => {
    bed = new DriverBed({ size: '1GiB', flags: ['--chunk-size', '32KiB'] });
    await bed.start();
  }, TEST_LIMIT_MS);
  afterAll(async () => {
    expect(await bed.cleanUp()).toEqual([]);
  }, TEST_LIMIT_MS);

  const operate = <Answer>(...words: readonly string[]): Promise<Answer> => bed.driver.operate<Answer>(...words);
  const refused = (...words: readonly string[]): Promise<CommandResult> => bed.command(words, { statuses: [1, 2] });
  const attach = (name: string): Promise<Attached> => operate<Attached>('attach', name);
  const detach = (name: string): Promise<unknown> => operate('detach', name);
  const spaceOf = async (name: string): Promise<Space['objects'][number] | undefined> =>
    (await operate<Space>('space')).objects.find((object) => object.name === name);

  /** What a volume held when a test wrote it, to be compared later. */
  const first = randomBytes(4 * MIB);
  const second = randomBytes(4096);

  async function write(name: string, bytes: Uint8Array, offsetBytes: number): Promise<void> {
    const { devicePath } = await attach(name);
    const source = bed.place('source');
    fs.writeFileSync(source, bytes);
    const parameters = [`if=${source}`, `of=${devicePath}`, 'bs=4096', `seek=${offsetBytes / 4096}`, 'oflag=direct', 'conv=fsync,notrunc'];
    await runCommand('dd', parameters, deviceLimit);
    await detach(name);
  }

  async function read(devicePath: string, lengthBytes: number): Promise<Buffer> {
    const target = bed.place('target');
    await runCommand('dd', [`if=${devicePath}`, `of=${target}`, 'bs=4096', `count=${lengthBytes / 4096}`, 'iflag=direct'], deviceLimit);
    return fs.readFileSync(target);
  }

  test(
    'an empty pool is told as such',
    async () => {
      expect(await operate('list')).toEqual([]);
      expect((await bed.command(['list'])).output).toBe('no volumes\n');
      const { pool, objects } = await operate<Space>('space');
      expect(pool).toMatchObject({ chunkSizeBytes: CHUNK_BYTES, usedBytes: 0, provisionedBytes: 0, volumes: 0, snapshots: 0 });
      expect(objects).toEqual([]);
    },
    TEST_LIMIT_MS,
  );

  test(
    'a volume takes the chunks that were written to, and no other space',
    async () => {
      const made = await operate<Listed>('create', 'data', '--size', '64MiB');
      expect(made).toMatchObject({ kind: 'volume', name: 'data', sizeBytes: 64 * MIB, sourceId: null, attached: false });
      expect(await spaceOf('data')).toMatchObject({ provisionedBytes: 64 * MIB, usedBytes: 0 });
      await write('data', first, 0);
      await write('data', second, 40 * MIB);
      const chunks = first.length / CHUNK_BYTES + 1;
      const { pool, objects } = await operate<Space>('space');
      expect(objects).toMatchObject([
        { name: 'data', kind: 'volume', usedBytes: chunks * CHUNK_BYTES, exclusiveBytes: chunks * CHUNK_BYTES, sharedBytes: 0 },
      ]);
      expect(pool.usedBytes).toBe(chunks * CHUNK_BYTES);
    },
    TEST_LIMIT_MS,
  );

  test(
    'an attached volume is a device of its size, also when it is asked for twice',
    async () => {
      const attached = await attach('data');
      expect(attached).toMatchObject({ sizeBytes: 64 * MIB, readOnly: false });
      expect(attached.devicePath).toMatch(/^\/dev\/loop\d+$/);
      expect((await bed.command(['attach', 'data'])).output).toBe(`${attached.devicePath}\n`);
      expect((await read(attached.devicePath, first.length)).equals(first)).toBe(true);
      expect(await operate<Listed[]>('list')).toMatchObject([{ name: 'data', attached: true }]);
      await detach('data');
      await detach('data');
      expect(await operate<Listed[]>('list')).toMatchObject([{ name: 'data', attached: false }]);
      expect(await bed.devices()).toEqual([]);
    },
    TEST_LIMIT_MS,
  );

  test(
    'snapshots and clones share all space with their source, until one of them is written to',
    async () => {
      const data = (await operate<Listed[]>('list'))[0]!;
      const snapshot = await operate<Listed>('snapshot', 'data', 'monday');
      expect(snapshot).toMatchObject({ kind: 'snapshot', sourceId: data.id, sizeBytes: 64 * MIB });
      const clone = await operate<Listed>('clone', 'monday', 'copy');
      expect(clone).toMatchObject({ kind: 'volume', sourceId: snapshot.id, sizeBytes: 64 * MIB });
      await operate('clone', 'data', 'larger', '--size', '80MiB');
      const chunks = first.length / CHUNK_BYTES + 1;
      const shared = { usedBytes: chunks * CHUNK_BYTES, exclusiveBytes: 0, sharedBytes: chunks * CHUNK_BYTES };
      const before = await operate<Space>('space');
      expect(before.objects.map(({ name }) => name)).toEqual(['data', 'monday', 'copy', 'larger']);
      for (const object of before.objects) expect(object).toMatchObject(shared);
      expect(before.pool).toMatchObject({
        usedBytes: chunks * CHUNK_BYTES,
        provisionedBytes: (64 + 64 + 80) * MIB,
        volumes: 3,
        snapshots: 1,
      });

      // 4 KiB in a chunk that is shared: a slot of its own, beside the one that it still reads from.
      await write('data', second, 8192);
      expect(await spaceOf('data')).toMatchObject({ exclusiveBytes: CHUNK_BYTES, usedBytes: (chunks + 1) * CHUNK_BYTES });
      expect(await spaceOf('copy')).toMatchObject(shared);
      expect((await operate<Space>('space')).pool.usedBytes).toBe((chunks + 1) * CHUNK_BYTES);
    },
    TEST_LIMIT_MS,
  );

  test(
    'the list and the space are tables for people, drawn as a tree of descent',
    async () => {
      const list = (await bed.command(['list'])).output.split('\n');
      expect(list[0]).toMatch(/^NAME +KIND +SIZE +CREATED +ATTACHED +ID$/);
      expect(list[1]).toMatch(/^data +volume +64 MiB +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +[a-z2-7]{26}\.[a-z2-7]{26}$/);
      expect(list[2]).toMatch(/^├─ monday +snapshot +64 MiB /);
      expect(list[3]).toMatch(/^│ {2}└─ copy +volume +64 MiB /);
      expect(list[4]).toMatch(/^└─ larger +volume +80 MiB /);
      const space = (await bed.command(['space'])).output;
      expect(space).toMatch(/^pool [a-z2-7]{26} on \S+, chunks of 32 KiB$/m);
      expect(space).toMatch(/^NAME +KIND +PROVISIONED +USED +EXCLUSIVE +SHARED$/m);
      expect(space).toMatch(/^├─ monday +snapshot +64 MiB +4\.03 MiB +0 B +4\.03 MiB$/m);
    },
    TEST_LIMIT_MS,
  );

  test(
    'a snapshot is attached read-only, beside its volume',
    async () => {
      const volume = await attach('data');
      const snapshot = await attach('monday');
      expect(snapshot).toMatchObject({ readOnly: true, sizeBytes: 64 * MIB });
      expect((await runCommand('blockdev', ['--getro', snapshot.devicePath], deviceLimit)).output.trim()).toBe('1');
      const refusal = await runCommand('dd', ['if=/dev/zero', `of=${snapshot.devicePath}`, 'bs=4096', 'count=1'], {
        ...deviceLimit,
        expectedStatuses: [1],
      });
      expect(refusal.errorOutput).toMatch(/Operation not permitted|Read-only|Permission denied/);
      expect((await read(snapshot.devicePath, first.length)).equals(first)).toBe(true);
      const changed = Buffer.from(first);
      changed.set(second, 8192);
      expect((await read(volume.devicePath, first.length)).equals(changed)).toBe(true);
      await detach('monday');
      await detach('data');
    },
    TEST_LIMIT_MS,
  );

  test(
    'a revert takes the volume back, and keeps what it held as a snapshot that the list shows',
    async () => {
      await attach('data');
      const whileAttached = await refused('revert', 'data', 'monday');
      expect(whileAttached).toMatchObject({ status: 1, output: '' });
      expect(whileAttached.errorOutput).toMatch(/^chunkstore: volume \S+ is attached to a block device; unmount and detach it first\n$/);
      await detach('data');

      const { output } = await bed.command(['revert', 'data', 'monday', '--safety-name', 'before']);
      expect(output).toMatch(/^reverted volume data to snapshot monday\nwhat it held is kept as snapshot before \(\S+\)\n$/);
      const list = await operate<Listed[]>('list');
      const data = list.find(({ name }) => name === 'data');
      expect(list.find(({ name }) => name === 'before')).toMatchObject({ kind: 'snapshot', sourceId: data?.id });

      const kept = Buffer.from(first);
      kept.set(second, 8192);
      expect((await read((await attach('data')).devicePath, first.length)).equals(first)).toBe(true);
      expect((await read((await attach('before')).devicePath, first.length)).equals(kept)).toBe(true);
      await detach('before');
      await detach('data');

      const named = await operate<{ readonly safety: Listed | null }>('revert', 'data', 'monday');
      expect(named.safety?.name).toMatch(/^before-revert-/);
      expect((await operate<Listed[]>('list')).map(({ name }) => name)).toContain(named.safety?.name);
      const without = await operate<{ readonly safety: Listed | null }>('revert', 'data', 'before', '--no-safety-snapshot');
      expect(without.safety).toBeNull();
      expect((await read((await attach('data')).devicePath, first.length)).equals(kept)).toBe(true);
      await detach('data');
      await operate('delete', named.safety!.name);
    },
    TEST_LIMIT_MS,
  );

  test(
    'a volume grows, also while it is attached, and never shrinks',
    async () => {
      const { devicePath } = await attach('copy');
      expect(await operate<Listed>('resize', 'copy', '--size', '128MiB')).toMatchObject({ name: 'copy', sizeBytes: 128 * MIB });
      expect(await attach('copy')).toMatchObject({ devicePath, sizeBytes: 128 * MIB });
      expect((await runCommand('blockdev', ['--getsize64', devicePath], deviceLimit)).output.trim()).toBe(String(128 * MIB));
      expect((await read(devicePath, first.length)).equals(first)).toBe(true);
      await detach('copy');
      const smaller = await refused('resize', 'copy', '--size', '64MiB');
      expect(smaller.status).toBe(1);
      expect(smaller.errorOutput).toMatch(/^chunkstore: .*(shrink|smaller)/);
    },
    TEST_LIMIT_MS,
  );

  test(
    'what cannot be done is one line that names it, with nothing on standard output',
    async () => {
      await operate('create', 'stranger', '--size', '64MiB');
      const cases: [words: string[], status: number, message: RegExp][] = [
        [['delete', 'nobody'], 1, /^chunkstore: there is no volume or snapshot "nobody"\n$/],
        [['create', 'data', '--size', '64MiB'], 1, /^chunkstore: there is a volume "data" already: \S+\n$/],
        [['snapshot', 'data', 'monday'], 1, /^chunkstore: there is a snapshot "monday" already: \S+\n$/],
        [['clone', 'monday', 'tiny', '--size', '4MiB'], 1, /^chunkstore: .* cannot hold its source .*\n$/],
        [['revert', 'stranger', 'monday'], 1, /^chunkstore: .*not of the descent of volume .*\n$/],
        [['create', 'odd', '--size', '12parsecs'], 2, /^chunkstore: --size must be a size like 8GiB .*\n$/],
        [['delete'], 2, /^chunkstore: delete: VOLUME\|SNAPSHOT is missing\n$/],
        [['list', '--output', 'xml'], 2, /^chunkstore: --output must be one of table, json.*\n$/],
      ];
      const results = await Promise.all(cases.map(([words]) => refused(...words)));
      for (const [index, [words, status, message]] of cases.entries()) {
        const result = results[index]!;
        expect({ words, status: result.status, output: result.output }).toEqual({ words, status, output: '' });
        expect(result.errorOutput).toMatch(message);
      }
      const nowhere = await runCommand(commandPath, ['list', '--state', bed.place('nowhere')], {
        timeoutMs: 30_000,
        expectedStatuses: [1],
      });
      expect(nowhere.errorOutput).toMatch(/^chunkstore: .*nowhere.*\n$/);
      await operate('delete', 'stranger');
    },
    TEST_LIMIT_MS,
  );

  test(
    'check proves the counts of a running pool, which nobody else may open',
    async () => {
      expect(await operate('check')).toMatchObject({ objects: 5, problems: [] });
      expect((await bed.command(['check'])).output).toMatch(
        /^5 volumes and snapshots, \d+ pages?, \d+ slots? in use\nevery count is what the trees say\n$/,
      );
      const offline = await runCommand(commandPath, ['check', '--pool', bed.poolFolder], { timeoutMs: 30_000, expectedStatuses: [1] });
      expect(offline.errorOutput).toMatch(/start the store, and check it live|open in another process/);
    },
    TEST_LIMIT_MS,
  );

  test(
    'after a stop it proves them offline, and the next start finds all',
    async () => {
      const before = await operate<Listed[]>('list');
      expect(await bed.end('SIGTERM')).toBe('status 0');
      const { output } = await runCommand(commandPath, ['check', '--pool', bed.poolFolder], { timeoutMs: 30_000 });
      expect(output).toMatch(/^5 volumes and snapshots, .*\nevery count is what the trees say\n$/);
      await bed.start();
      expect(await operate<Listed[]>('list')).toEqual(before);
    },
    TEST_LIMIT_MS,
  );

  test(
    'everything goes in any order, sources first, and the space comes back',
    async () => {
      await attach('larger');
      const attached = await refused('delete', 'larger');
      expect(attached.errorOutput).toMatch(/is attached to a block device; unmount and detach it first/);
      await detach('larger');
      for (const name of ['data', 'monday']) await operate('delete', name);
      const list = (await bed.command(['list'])).output;
      expect(list).toMatch(/^before +snapshot/m);
      expect(list).toMatch(/^copy +volume/m);
      expect((await read((await attach('copy')).devicePath, first.length)).equals(first)).toBe(true);
      await detach('copy');
      for (const name of ['copy', 'before', 'larger']) await operate('delete', name);
      await eventually('the pool is empty', async () => (await bed.driver.store.getPool()).usedBytes === 0, 20_000);
      expect(await operate('check')).toMatchObject({ objects: 0, slotsUsed: 0, problems: [] });
    },
    TEST_LIMIT_MS,
  );
});
