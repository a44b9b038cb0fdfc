/**
 * `make demo`: the whole path on this machine, from a CSI call to a mounted file system on the copy-on-write store.
 * Status 0 only when every check held and nothing was left behind: no mount, no loop device, no process, no file.
 * Ctrl-C and SIGTERM end it in order.
 *
 *   node test/demo/demo.ts [--folder DIR]     DIR: where the pool is put for the time; the machine's temporary folder
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { runGuarded, type Guarded } from '../support/guarded-run.ts';
import { canMount, canUseFuse, canUseLoop, hasCommand, hasFileSystem, hasPrograms } from '../support/machine.ts';

import { formatBytes } from '../../src/operator/output.ts';
import { Ledger } from './ledger.ts';
import { digestFolder } from './programs.ts';
import { findSourceTree } from './source-tree.ts';
import { Story } from './story.ts';

const poolSize = '4 GiB';
/** The pool is allocated in full; its log, metadata and whatever others write come on top. */
const neededBytes = 5 * 2 ** 30;
const limitMs = 5 * 60_000;

const { values } = parseArgs({ options: { folder: { type: 'string', default: os.tmpdir() } } });
const print = (line: string): void => console.log(line);

/** What is missing for a demo, in words. */
function lacks(folder: string): string[] {
  const needs = [canMount(), canUseFuse(), canUseLoop(), hasCommand(), hasPrograms('mkfs.ext4', 'e2fsck', 'mount', 'umount', 'sync')];
  // Asking for a file system may load its module, which takes root.
  const missing = needs.map(({ lack }) => lack).filter((lack) => lack !== undefined);
  const ext4 = missing.length === 0 ? hasFileSystem('ext4').lack : undefined;
  const { bavail, bsize } = fs.statfsSync(folder);
  const free = bavail * bsize;
  const space =
    free < neededBytes
      ? `${folder} has ${formatBytes(free)} free, and ${formatBytes(neededBytes)} are needed; --folder names another`
      : undefined;
  return [...missing, ext4, space].filter((lack) => lack !== undefined);
}

async function demonstrate(guarded: Guarded, ledger: Ledger): Promise<void> {
  const { folder, signal } = guarded;
  ledger.endOn(signal);
  const tree = await findSourceTree(path.join(import.meta.dirname, '../../node_modules'));
  const { digest } = await digestFolder(tree.origin, { names: tree.names, listFile: path.join(folder, 'names.json') });
  const driver = await ledger.step(`start the driver with a pool of ${poolSize} in a file`, () =>
    guarded.startDriver({ name: 'driver', size: poolSize.replace(' ', '') }),
  );
  ledger.measureSpace(async () => (await driver.store.getPool()).usedBytes);
  const story = new Story({ driver, ledger, tree, treeDigest: digest, signal });
  guarded.atEnd(() => story.abandon());
  await story.tell();
  ledger.measureSpace(null);
  await ledger.step('stop the driver', () => guarded.stopDriver(driver));
}

async function main(): Promise<number> {
  const missing = lacks(values.folder);
  if (missing.length > 0) {
    console.error(['the demo cannot run here:', ...missing.map((lack) => `  ${lack}`)].join('\n'));
    return 1;
  }
  const startMs = performance.now();
  const ledger = new Ledger({ print, nowMs: () => performance.now() });
  const problems = await runGuarded({ prefix: 'chunkstore-demo-', parent: values.folder, limitMs }, (guarded) =>
    demonstrate(guarded, ledger),
  );
  print(['', ...ledger.lines(), ''].join('\n'));
  const seconds = Math.round((performance.now() - startMs) / 1000);
  if (problems.length === 0) {
    print(`demo: all ${ledger.checks} checks held, and nothing was left behind (${seconds} s)`);
    return 0;
  }
  console.error(['demo: FAILED', ...problems.map((problem) => `  ${problem}`)].join('\n'));
  return 1;
}

process.exit(await main());
