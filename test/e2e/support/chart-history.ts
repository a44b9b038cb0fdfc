/** The chart as it was before: of the newest release, or, until there is one, its first version in the history. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { run, runAny } from './command.ts';

const repository = join(import.meta.dirname, '../../..');
const limit = { timeoutMs: 30_000 };

export interface FormerChart {
  readonly path: string;
  readonly revision: string;
}

/** Unpacks it into a folder; null where there is no history, or none in which the chart differs. */
export async function formerChart(folder: string): Promise<FormerChart | null> {
  const revision = (await newestRelease()) ?? (await firstVersion());
  if (revision === null) return null;
  const path = join(folder, 'charts/chunkstore');
  const archive = join(folder, 'chart.tar');
  mkdirSync(folder, { recursive: true });
  await run('git', ['-C', repository, 'archive', `--output=${archive}`, revision, 'charts/chunkstore'], limit);
  await run('tar', ['-xf', archive, '-C', folder], limit);
  return existsSync(join(path, 'Chart.yaml')) ? { path, revision } : null;
}

function newestRelease(): Promise<string | null> {
  return firstLine(['tag', '--list', 'v*', '--merged', 'HEAD~', '--sort=-version:refname']);
}

async function firstVersion(): Promise<string | null> {
  const first = await firstLine(['log', '--diff-filter=A', '--format=%H', '--reverse', '--', 'charts/chunkstore/Chart.yaml']);
  const changed = first === null ? null : await firstLine(['diff', '--name-only', first, 'HEAD', '--', 'charts/chunkstore']);
  return changed === null ? null : first;
}

async function firstLine(words: readonly string[]): Promise<string | null> {
  const { status, output } = await runAny('git', ['-C', repository, ...words], limit);
  const [line = ''] = output.split('\n');
  return status === 0 && line !== '' ? line : null;
}
