/** What `chunkstore local` refuses: each time with a line that says why, and with nothing touched. */
import { expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { runCommand, type CommandResult } from '../../src/util/exec.ts';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasFileSystem, hasPrograms } from '../support/capabilities.ts';
import { ext4Capability, publishNewVolume, unpublishVolume } from '../support/csi-volume.ts';
import { bedOfEachTest } from '../support/driver-bed.ts';
import { commandPath } from '../support/machine.ts';

const MIB = 2 ** 20;
const LIMIT_MS = 90_000;
const programLimit = { timeoutMs: 30_000 };

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasFileSystem('ext4'),
  hasPrograms('mkfs.ext4', 'cp'),
)('chunkstore local refuses', () => {
  const started = bedOfEachTest({ timeoutMs: LIMIT_MS });

  test(
    'flags that it cannot follow',
    async () => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-flags-'));
      try {
        const good = { '--state': path.join(folder, 'state'), '--size': '64MiB', '--endpoint': `unix://${folder}/csi.sock` };
        const cases: [changed: Readonly<Record<string, string | null>>, status: number, words: RegExp][] = [
          [{ '--state': null }, 2, /^chunkstore: local: --state is missing/],
          [{ '--endpoint': null }, 2, /^chunkstore: local: --endpoint is missing/],
          [{ '--colour': 'red' }, 2, /^chunkstore: .*'--colour'/],
          [{ '--size': 'huge' }, 2, /^chunkstore: --size must be a size like 8GiB/],
          [{ '--chunk-size': '8KiB' }, 2, /^chunkstore: --chunk-size must be one of 16KiB, 32KiB, 64KiB/],
          [{ '--overprovisioning': 'much' }, 2, /^chunkstore: --overprovisioning must be/],
          [{ '--endpoint': 'unix://csi.sock' }, 2, /absolute path/],
          [{ '--endpoint': 'tcp://localhost:1' }, 2, /must be a unix socket/],
        ];
        const results = await Promise.all(cases.map(([changed]) => runLocal({ ...good, ...changed })));
        for (const [index, [changed, expected, words]] of cases.entries()) {
          const { status: ended, output, errorOutput } = results[index]!;
          expect({ changed, ended, output }).toEqual({ changed, ended: expected, output: '' });
          expect(errorOutput).toMatch(words);
          expect(errorOutput).not.toMatch(/\n +at /);
        }
        const tooLong = await runLocal({ ...good, '--state': path.join(folder, 'long'.repeat(30)) });
        expect(tooLong.errorOutput).toMatch(/is too long for a unix socket .*choose a shorter folder/);
        expect(fs.readdirSync(folder)).toEqual([]);
      } finally {
        fs.rmSync(folder, { recursive: true, force: true });
      }
    },
    LIMIT_MS,
  );

  test(
    'folders that are not, or not wholly, its own',
    async () => {
      const bed = await started({ size: '64MiB' });
      const { driver, state, poolFolder, folder } = bed;
      await driver.operate('create', 'data', '--size', '32MiB');
      expect(await bed.end('SIGTERM')).toBe('status 0');
      const whole = path.join(folder, 'whole');
      fs.renameSync(poolFolder, whole);
      const file = (name: string): string => path.join(poolFolder, name);
      const edit = (change: (identity: Record<string, unknown>) => void): void => {
        const identity = JSON.parse(fs.readFileSync(file('pool.json'), 'utf8')) as Record<string, unknown>;
        change(identity);
        fs.writeFileSync(file('pool.json'), JSON.stringify(identity));
      };

      const cases: [what: string, damage: () => void, words: RegExp, flags?: Readonly<Record<string, string>>][] = [
        [
          'a pool of another version',
          () => edit((identity) => (identity['version'] = 99)),
          /has version 99 of the format, this program knows versions 1 and 2: a newer program/,
        ],
        [
          'another pool.json',
          () => fs.writeFileSync(file('pool.json'), '{"name":"mine"}'),
          /pool\.json does not describe a pool of chunkstore/,
        ],
        ['no JSON at all', () => fs.writeFileSync(file('pool.json'), 'notes'), /pool\.json does not describe a pool of chunkstore/],
        [
          'foreign files',
          () => emptyBut(poolFolder, 'letter.txt'),
          /holds files but no pool \(letter\.txt\): give an empty or a new folder/,
        ],
        [
          'a truncated data file',
          () => fs.truncateSync(file('data'), 20 * MIB),
          /data is truncated: it has 20971520 bytes, pool\.json counts 67108864/,
        ],
        ['a truncated log', () => fs.truncateSync(file('log'), MIB), /log is truncated: it has 1048576 bytes/],
        ['no data file', () => fs.rmSync(file('data')), /data is missing/],
        ['no metadata', () => fs.rmSync(file('meta'), { recursive: true }), /data\.mdb is missing: the pool's metadata is gone/],
        ['an empty folder of metadata', () => emptyBut(file('meta'), 'kept'), /data\.mdb is missing: the pool's metadata is gone/],
        ['a link in the place of the data', () => fs.symlinkSync('/dev/null', remove(file('data'))), /data is not a regular file/],
        [
          'the data of another program',
          () => spoilHeader(file('data')),
          /data is not the data of a chunkstore pool/,
          { '--size': '96MiB' },
        ],
        ['a smaller size', () => {}, /has 67108864 bytes and cannot shrink to 67043328/, { '--size': '65472KiB' }],
        ['chunks of another size', () => {}, /has chunks of 65536 bytes.*cannot become 16384/, { '--chunk-size': '16KiB' }],
        ['a file in the place of the folder', () => fs.writeFileSync(removeFolder(poolFolder), 'mine'), /pool/],
      ];
      for (const [what, damage, words, flags] of cases) {
        fs.rmSync(poolFolder, { recursive: true, force: true });
        await runCommand('cp', ['--archive', whole, poolFolder], programLimit);
        damage();
        const before = digestsOf(state);
        const { status: ended, errorOutput } = await runLocal({
          '--state': state,
          '--size': '64MiB',
          '--endpoint': `unix://${folder}/csi.sock`,
          ...flags,
        });
        const said = wordsOf(errorOutput);
        expect({ what, ended, said }).toEqual({ what, ended: 1, said: expect.stringMatching(words) });
        expect({ what, said }).not.toEqual({ what, said: expect.stringMatching(/\n +at /) });
        expect({ what, now: digestsOf(state) }).toEqual({ what, now: before });
      }

      fs.rmSync(poolFolder, { recursive: true, force: true });
      fs.renameSync(whole, poolFolder);
      await bed.start();
      expect(await bed.driver.operate('list')).toMatchObject([{ name: 'data' }]);
    },
    LIMIT_MS,
  );

  test(
    'a state or a pool that another driver has open, which goes on undisturbed',
    async () => {
      const bed = await started({ size: '64MiB' });
      const { driver, state, folder, poolFolder } = bed;
      const volume = await publishNewVolume(driver, { name: 'data', sizeBytes: 64 * MIB, capability: ext4Capability });
      fs.writeFileSync(path.join(volume.targetPath, 'file'), 'kept', { flush: true });
      const link = path.join(folder, 'link');
      fs.symlinkSync(state, link);
      for (const name of [state, link]) {
        const second = await runLocal({ '--state': name, '--endpoint': `unix://${folder}/second.sock` });
        expect(second.status).toBe(1);
        expect(wordsOf(second.errorOutput)).toMatch(/another keeper/);
      }
      // The same pool in another driver's folder.
      const stolen = bed.place('stolen', 'pool');
      fs.symlinkSync(poolFolder, stolen);
      const thief = await runLocal({ '--state': path.dirname(stolen), '--endpoint': `unix://${folder}/third.sock` });
      expect(thief.status).toBe(1);
      expect(wordsOf(thief.errorOutput)).toMatch(/is open in another process: stop that store first/);
      fs.writeFileSync(path.join(volume.targetPath, 'file'), 'changed', { flush: true });
      await driver.operate('create', 'other', '--size', '16MiB');
      expect(await driver.operate('attach', 'other')).toMatchObject({ sizeBytes: 16 * MIB });
      await driver.operate('detach', 'other');
      expect(await driver.store.check()).toMatchObject({ problems: [] });
      await unpublishVolume(driver, volume);
    },
    LIMIT_MS,
  );
});

async function runLocal(flags: Readonly<Record<string, string | null>>): Promise<CommandResult> {
  const parameters = Object.entries(flags).flatMap(([flag, value]) => (value === null ? [] : [flag, value]));
  return runCommand(commandPath, ['local', ...parameters], { ...programLimit, expectedStatuses: [0, 1, 2] });
}

/** What was said to people, without the log. */
function wordsOf(errorOutput: string): string {
  return errorOutput
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('{'))
    .join('\n');
}

/** Every file below the folder but the sockets and locks of processes that ended, with a digest of what it holds. */
function digestsOf(folder: string): Record<string, string> {
  const entries = fs.readdirSync(folder, { recursive: true, withFileTypes: true });
  const described = entries
    .map((entry) => [path.relative(folder, path.join(entry.parentPath, entry.name)), entry] as const)
    .filter(([name]) => name !== 'run' && !name.startsWith('run/'))
    .map(([name, entry]) => [name, entry.isFile() ? digestOf(path.join(folder, name)) : 'no file'] as const);
  return Object.fromEntries(described);
}

function emptyBut(folder: string, name: string): void {
  removeFolder(folder);
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, name), 'mine');
}

function remove(file: string): string {
  fs.rmSync(file);
  return file;
}

function removeFolder(folder: string): string {
  fs.rmSync(folder, { recursive: true });
  return folder;
}

function spoilHeader(file: string): void {
  const descriptor = fs.openSync(file, 'r+');
  fs.writeSync(descriptor, Buffer.alloc(4096, 0x5a), 0, 4096, 0);
  fs.closeSync(descriptor);
}

function digestOf(file: string): string {
  return createHash('sha256').update(fs.readFileSync(file)).digest('hex');
}
