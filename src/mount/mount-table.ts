/**
 * The kernel's table of mounts, read from mountinfo (proc_pid_mountinfo(5)). Nothing here touches a mounted file system,
 * so a dead one cannot hang the reader; only device nodes bound onto files of a memory file system are looked at.
 */
import { lstat, readFile, readlink, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { isSystemError } from '../linux/system-error.ts';

export interface MountEntry {
  readonly target: string;
  /** The device; for a device node that is bound onto a file, the path of that device. */
  readonly source: string;
  readonly fileSystem: string;
  /** Of the mount and of its file system together: `ro` is in it, and `rw` is not, if either is read-only. */
  readonly options: readonly string[];
}

export interface MountRecord extends MountEntry {
  readonly id: number;
  readonly parentId: number;
  /** What of the file system is mounted: "/" or, for a bind mount, a folder or file in it. */
  readonly root: string;
}

/** Every mount of this process's mount namespace, bottom first. */
export async function readMountTable(): Promise<MountRecord[]> {
  const records = parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'));
  return Promise.all(records.map(withDeviceAsSource));
}

export function parseMountTable(text: string): MountRecord[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseMountLine);
}

/**
 * The mount that a path walk ends on if it ends on a mount's root: the topmost at exactly this path, and not one that a
 * mount over a folder above it hides. `path` is absolute and free of symbolic links.
 */
export function findMount(records: readonly MountRecord[], path: string): MountRecord | null {
  const ids = new Set(records.map((record) => record.id));
  const over = (parent: MountRecord | undefined, target: string): MountRecord | undefined =>
    records.find(
      (record) =>
        record.target === target &&
        (parent === undefined ? !ids.has(record.parentId) : record.parentId === parent.id && record.id !== parent.id),
    );

  let current: MountRecord | undefined;
  for (const target of prefixes(path)) {
    // A mount upon a mount has the lower one as its parent.
    for (let upper = over(current, target); upper !== undefined; upper = over(current, target)) current = upper;
  }
  return current?.target === path ? current : null;
}

/** The mounts strictly below a path, which keep it from being unmounted. */
export function mountsBelow(records: readonly MountRecord[], path: string): MountRecord[] {
  return records.filter((record) => record.target.startsWith(path === '/' ? '/' : `${path}/`) && record.target !== path);
}

/**
 * The path as the mount table spells it: its parent folder without symbolic links. The last component is left alone,
 * because asking a dead mount's root for anything may hang. Null when the parent folder does not exist.
 */
export async function canonicalTarget(path: string): Promise<string | null> {
  const absolute = resolve(path);
  if (absolute === '/') return absolute;
  try {
    return join(await realpath(dirname(absolute)), basename(absolute));
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return null;
    throw error;
  }
}

/** Undoes mountinfo's escapes: space, tab, newline, backslash and # as three octal digits. */
export function unescapeMountField(field: string): string {
  if (!field.includes('\\')) return field;
  // Escapes stand for bytes, so multi-byte characters are put together again only at the end.
  const latin = Buffer.from(field, 'utf8').toString('latin1');
  const bytes = latin.replaceAll(/\\([0-3][0-7]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

function parseMountLine(line: string): MountRecord {
  const fields = line.split(' ');
  // The number of optional fields varies; a lone hyphen ends them.
  const separator = fields.indexOf('-', 6);
  const [id, parentId, , root, target, mountOptions] = fields;
  const [fileSystem, source, superOptions] = fields.slice(separator + 1);
  if (separator < 0 || root === undefined || target === undefined || source === undefined || fileSystem === undefined) {
    throw new Error(`a line of the mount table is not understood: ${line}`);
  }
  return {
    id: Number(id),
    parentId: Number(parentId),
    root: unescapeMountField(root),
    target: unescapeMountField(target),
    source: unescapeMountField(source),
    fileSystem: unescapeMountField(fileSystem),
    options: mergeOptions(mountOptions ?? '', superOptions ?? ''),
  };
}

function mergeOptions(mountOptions: string, superOptions: string): string[] {
  const merged = new Set([...mountOptions.split(','), ...superOptions.split(',')].map(unescapeMountField));
  merged.delete('');
  if (merged.has('ro')) merged.delete('rw');
  return [...merged];
}

/** "/", "/a", "/a/b" for "/a/b". */
function prefixes(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '');
  return ['/', ...parts.map((_, index) => `/${parts.slice(0, index + 1).join('/')}`)];
}

/** The table names only the memory file system that carries a bound device node; the node itself says which device. */
async function withDeviceAsSource(record: MountRecord): Promise<MountRecord> {
  if (record.root === '/' || !memoryFileSystems.includes(record.fileSystem)) return record;
  try {
    const node = await lstat(record.target);
    if (!node.isBlockDevice()) return record;
    const name = basename(await readlink(`/sys/dev/block/${major(node.rdev)}:${minor(node.rdev)}`));
    return { ...record, source: `/dev/${name}` };
  } catch {
    // Hidden or gone meanwhile: the entry stays as the kernel tells it.
    return record;
  }
}

/** The device number's parts as the C library packs them (makedev(3)). */
function major(device: number): number {
  return Number(((BigInt(device) >> 8n) & 0xfffn) | ((BigInt(device) >> 32n) & 0xfffff000n));
}

function minor(device: number): number {
  return Number((BigInt(device) & 0xffn) | ((BigInt(device) >> 12n) & 0xffffff00n));
}

const memoryFileSystems = ['devtmpfs', 'tmpfs'];
