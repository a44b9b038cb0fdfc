/**
 * Who keeps a file system from being unmounted, for an error message that a person can act on. A best effort: processes
 * come and go while we look, and what we may not read we leave out.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { mountsBelow, readMountTable } from './mount-table.ts';

/**
 * Names of holders, for instance `process 4711 (sqlite3)`, `a mount at /a/b`, `/dev/loop3`: at most ten, then a count.
 * Looks only into the kernel's tables, never into the file system itself.
 */
export async function findHolders(target: string): Promise<string[]> {
  const found = [
    ...mountsBelow(await readMountTable(), target).map((mount) => `a mount at ${mount.target}`),
    ...(await loopDevicesOver(target)),
    ...(await swapFilesIn(target)),
    ...(await processesIn(target)),
  ];
  return found.length <= namedHolders ? found : [...found.slice(0, namedHolders), `${found.length - namedHolders} more`];
}

async function processesIn(target: string): Promise<string[]> {
  const deadline = performance.now() + searchLimitMs;
  const mountIds = new Set((await readMountTable()).filter((mount) => mount.target === target).map((mount) => mount.id));
  const found: string[] = [];
  for (const pid of (await list('/proc')).filter((name) => /^\d+$/.test(name))) {
    if (performance.now() > deadline) return [...found, 'perhaps others; there are too many processes to look at all'];
    if (!(await holds(`/proc/${pid}`, target, mountIds))) continue;
    const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'ended meanwhile');
    found.push(`process ${pid} (${name.trim()})`);
  }
  return found;
}

async function holds(folder: string, target: string, mountIds: ReadonlySet<number>): Promise<boolean> {
  for (const link of ['cwd', 'root', 'exe']) {
    if (isInside(await linkTarget(`${folder}/${link}`), target)) return true;
  }
  for (const descriptor of await list(`${folder}/fd`)) {
    // The path is as that process sees it; the mount's number is the same from every container.
    if (isInside(await linkTarget(`${folder}/fd/${descriptor}`), target)) return true;
    const information = await readFile(`${folder}/fdinfo/${descriptor}`, 'utf8').catch(() => '');
    if (mountIds.has(Number(/^mnt_id:\s*(\d+)$/m.exec(information)?.[1] ?? -1))) return true;
  }
  const maps = await readFile(`${folder}/maps`, 'utf8').catch(() => '');
  return maps.includes(` ${target}/`);
}

async function loopDevicesOver(target: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of (await list('/sys/block')).filter((device) => device.startsWith('loop'))) {
    const file = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '');
    if (isInside(file.trim(), target)) found.push(`/dev/${name} (a loop device over ${file.trim()})`);
  }
  return found;
}

async function swapFilesIn(target: string): Promise<string[]> {
  const table = await readFile('/proc/swaps', 'utf8').catch(() => '');
  const paths = table.split('\n').map((line) => line.split(/\s+/)[0] ?? '');
  return paths.filter((path) => isInside(path, target)).map((path) => `swap on ${path}`);
}

function isInside(path: string, target: string): boolean {
  return path === target || path.startsWith(`${target}/`) || path.startsWith(`${target} (deleted)`);
}

const linkTarget = (path: string): Promise<string> => readlink(path).catch(() => '');

const list = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);

const namedHolders = 10;
const searchLimitMs = 3000;
