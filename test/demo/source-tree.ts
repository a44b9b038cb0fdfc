/**
 * The demo's data set: the source text of the npm packages that this checkout has installed, thousands of files.
 * What it must read like is known from the origin, never from the volume that it was copied to.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

/** The first that are found, in sorted order. */
const mostFiles = 3000;
/** Larger files are programs and bundles, not source. */
const largestFileBytes = 512 * 1024;
const skippedNames: ReadonlySet<string> = new Set(['.git', '.tools', '.cache', '.installed', 'dist', 'bin']);
/** At any moment; each of them may hold one file in memory. */
const copiesAtOnce = 8;

export interface SourceTree {
  readonly origin: string;
  /** Below the origin. */
  readonly files: readonly string[];
  /** Files, and the folders that they lie in: all that a copy holds. */
  readonly names: readonly string[];
  readonly sizeBytes: number;
}

export async function findSourceTree(origin: string): Promise<SourceTree> {
  const files: string[] = [];
  let sizeBytes = 0;
  const visit = async (folder: string): Promise<void> => {
    const entries = await fs.readdir(path.join(origin, folder), { withFileTypes: true });
    for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      if (files.length === mostFiles) return;
      const name = path.join(folder, entry.name);
      if (skippedNames.has(entry.name)) continue;
      if (entry.isDirectory()) await visit(name);
      if (!entry.isFile()) continue;
      const { size } = await fs.stat(path.join(origin, name));
      if (size > largestFileBytes) continue;
      files.push(name);
      sizeBytes += size;
    }
  };
  await visit('');
  const folders = new Set(files.flatMap(foldersOf));
  return { origin, files, names: [...files, ...folders], sizeBytes };
}

export async function copySourceTree(tree: SourceTree, target: string, signal: AbortSignal): Promise<void> {
  await fs.mkdir(target);
  for (const folder of new Set(tree.files.map((file) => path.dirname(file))))
    await fs.mkdir(path.join(target, folder), { recursive: true });
  await eachOf(tree.files, copiesAtOnce, async (file) => {
    signal.throwIfAborted();
    await fs.copyFile(path.join(tree.origin, file), path.join(target, file));
  });
}

export interface Damage {
  readonly deletedFiles: number;
  readonly overwrittenFiles: number;
}

/** What a bad day does: every third file is gone, every seventh of the others is garbage of the same length. */
export async function damageSourceTree(tree: SourceTree, target: string, signal: AbortSignal): Promise<Damage> {
  const deleted = tree.files.filter((_, index) => index % 3 === 0);
  const kept = tree.files.filter((_, index) => index % 3 !== 0);
  const overwritten = kept.filter((_, index) => index % 7 === 0);
  await eachOf(deleted, copiesAtOnce, async (file) => {
    signal.throwIfAborted();
    await fs.rm(path.join(target, file));
  });
  await eachOf(overwritten, copiesAtOnce, async (file) => {
    signal.throwIfAborted();
    const { size } = await fs.stat(path.join(target, file));
    await fs.writeFile(path.join(target, file), Buffer.alloc(size, 'garbage '), { flag: 'r+' });
  });
  return { deletedFiles: deleted.length, overwrittenFiles: overwritten.length };
}

/** Every folder on the way to a file. */
function foldersOf(file: string): string[] {
  const folder = path.dirname(file);
  return folder === '.' ? [] : [...foldersOf(folder), folder];
}

/** Does it with every item, several at once. The first failure ends it, once what is under way is over. */
async function eachOf<Item>(items: readonly Item[], atOnce: number, action: (item: Item) => Promise<void>): Promise<void> {
  const queue = items.values();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      if (failed) return;
      try {
        await action(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: atOnce }, worker));
  const failure = results.find((result) => result.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}
