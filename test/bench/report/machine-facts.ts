/** The facts of the machine that figures belong to: without them nobody can compare anything. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { formatBytes } from '../../../src/operator/output.ts';

/** Of the facts, the one that each run has of its own. */
export const LOAD_BEFORE = 'load before';
const COMMAND_LIMIT_MS = 10_000;
const repository = path.join(import.meta.dirname, '../../..');

/** Programs that take part, by the words that make them tell their version. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  fio: ['--version'],
  'qemu-storage-daemon': ['--version'],
  'mkfs.xfs': ['-V'],
  'mkfs.btrfs': ['--version'],
  postgres: ['--version'],
};

/** `folder` is where the pools are. */
export function machineFacts(folder: string): Record<string, string> {
  const processors = os.cpus();
  const [oneMinute = 0] = os.loadavg();
  const programs = Object.entries(PROGRAMS).map(([program, words]) => [program, firstLineOf(program, words) ?? 'not installed']);
  return {
    processor: `${processors[0]?.model.trim() ?? 'unknown'}, ${processors.length} of them`,
    memory: formatBytes(os.totalmem()),
    kernel: `${os.type()} ${os.release()}`,
    disk: fileSystemOf(folder),
    [LOAD_BEFORE]: `${oneMinute.toFixed(1)} (what else runs here makes figures worse, and ratios less sure)`,
    node: process.version,
    sqlite: process.versions.sqlite ?? 'not in this Node',
    ...(Object.fromEntries(programs) as Record<string, string>),
  };
}

/** The commit that was measured, with "+" where files differ from it; null outside a clone. */
export function sourceRevision(): string | null {
  const git = (...words: readonly string[]): string | null => firstLineOf('git', ['-C', repository, ...words]);
  const revision = git('rev-parse', '--short=12', 'HEAD');
  if (revision === null || revision === '') return null;
  return git('status', '--porcelain', '--untracked-files=no') === '' ? revision : `${revision}+`;
}

/** Null where it cannot be run. */
function firstLineOf(program: string, words: readonly string[]): string | null {
  try {
    const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' };
    const output = execFileSync(program, words, { encoding: 'utf8', timeout: COMMAND_LIMIT_MS, stdio: ['ignore', 'pipe', 'ignore'], env });
    return output.split('\n')[0]!.trim();
  } catch {
    return null;
  }
}

/** The file system and the device that a folder is on. */
function fileSystemOf(folder: string): string {
  const mounts = fs
    .readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, target = '/']) => folder === target || folder.startsWith(target.endsWith('/') ? target : `${target}/`));
  const [source = '?', , type = '?'] = mounts.toSorted((a, b) => (a[1]?.length ?? 0) - (b[1]?.length ?? 0)).at(-1) ?? [];
  return `${type} on ${source}`;
}
