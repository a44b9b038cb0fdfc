/**
 * The file systems and mounts of this node, through the programs of util-linux and of each file system. Every call has a
 * time limit and can be repeated after a crash in its middle; nothing is removed but mounts and what is empty.
 */
import { lstat, mkdir, open, rmdir, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isSystemError } from '../linux/system-error.ts';
import { StoreError } from '../util/errors.ts';
import { describeCommand, lastWords, runCommand, type CommandResult } from '../util/exec.ts';
import { isReadOnlyDevice, readDeviceSize, readSignature } from './block-device.ts';
import { requiredMountOptions, withoutReplay, type FileSystem } from './file-systems.ts';
import { growMounted, growUnmountedExt4 } from './grow.ts';
import { findHolders } from './holders.ts';
import { kernelHasLabels, missingLabels } from './labels.ts';
import { bindOptions, joinOptions, parseMountFlags } from './mount-flags.ts';
import { canonicalTarget, findMount, readMountTable, type MountEntry, type MountRecord } from './mount-table.ts';
import { formatDevice, repairDevice, setBtrfsId } from './prepare.ts';
import { StatisticsReader, type FileSystemStats } from './statistics.ts';

export interface MountOptions {
  readonly flags: readonly string[];
  readonly readOnly: boolean;
}

export class SystemMounter {
  readonly #statistics = new StatisticsReader();

  /** What stands on the device: a file system, another signature as blkid names it, or null when it is empty. Errors:
   * `unavailable` when it cannot be read; that is never taken for empty. */
  async probe(devicePath: string): Promise<string | null> {
    return (await readSignature(devicePath)).type;
  }

  /** See formatDevice. */
  async format(devicePath: string, fileSystem: FileSystem, options: readonly string[]): Promise<void> {
    await formatDevice(devicePath, fileSystem, options);
  }

  /** See repairDevice, growUnmountedExt4 and setBtrfsId. A read-only device is left as it is. */
  async prepare(
    devicePath: string,
    fileSystem: FileSystem,
    options: { readonly clone: boolean; readonly fileSystemId: string },
  ): Promise<void> {
    if (await isReadOnlyDevice(devicePath)) return;
    await repairDevice(devicePath, fileSystem);
    if (fileSystem === 'ext4') await growUnmountedExt4(devicePath);
    if (options.clone && fileSystem === 'btrfs') await setBtrfsId(devicePath, options.fileSystemId);
  }

  /**
   * Mounts the device's file system on the folder, which is made. Done already is success. Errors: `invalid-argument`
   * for a flag, `already-exists` when something else, or in another way, is mounted there, `failed-precondition` for a
   * writable mount of a read-only device, `unavailable` when the kernel refuses.
   */
  async mount(devicePath: string, target: string, fileSystem: FileSystem, options: MountOptions): Promise<void> {
    const flags = parseMountFlags(options.flags);
    const device = { readOnly: await isReadOnlyDevice(devicePath) };
    if (device.readOnly && !options.readOnly) {
      throw new StoreError(
        'failed-precondition',
        `${devicePath} is read-only; mount it read-only, or make a clone of the snapshot to write to`,
      );
    }
    const folder = await makeTarget(target, 'folder');
    const present = findMount(await readMountTable(), folder);
    if (present !== null) {
      checkSame(present, { source: devicePath, readOnly: options.readOnly });
      return;
    }
    const mountWith = (extra: readonly string[]): Promise<CommandResult> => {
      const list = joinOptions([...requiredMountOptions(fileSystem), ...flags, ...extra], options);
      return runCommand('mount', ['-t', fileSystem, '-o', list, '--', devicePath, folder], { timeoutMs: mountTimeoutMs });
    };
    if (device.readOnly) await mountUnwritable(devicePath, fileSystem, mountWith);
    else await mountWith([]);
    await checkLabels(folder, flags);
  }

  /**
   * Bind mount of a folder onto a folder, or of a device node onto a file; the target is made. Of the flags those count
   * that a bind mount can have of its own. Read-only comes in a second step, which a repeated call makes up for. A
   * read-only mount of a device node does not keep anybody from writing to the device: the container's device rules do.
   */
  async bind(source: string, target: string, options: MountOptions & { readonly block: boolean }): Promise<void> {
    const flags = bindOptions(parseMountFlags(options.flags));
    const place = await makeTarget(target, options.block ? 'file' : 'folder');
    const records = await readMountTable();
    const lower = options.block ? { source, readOnly: false } : await lowerMount(records, source);
    const present = findMount(records, place);
    if (present === null) {
      await runCommand('mount', ['--bind', '--', source, place], { timeoutMs: mountTimeoutMs });
    } else {
      if (options.readOnly && present.source === lower.source && present.options.includes('ro')) return;
      const readOnly = options.readOnly ? null : flags.includes('ro') || lower.readOnly;
      checkSame(present, { source: lower.source, readOnly });
    }
    if (!options.readOnly && flags.length === 0) return;
    const remount = `remount,bind,${joinOptions(flags, options)}`;
    await runCommand('mount', ['-o', remount, '--', place], { timeoutMs: mountTimeoutMs });
  }

  /**
   * Unmounts every layer at the target, then removes the empty folder or file. Errors: `in-use` naming who holds it,
   * `failed-precondition` when the folder beneath is not empty.
   */
  async unmount(target: string): Promise<void> {
    const place = await canonicalTarget(target);
    if (place === null) return;
    for (let layer = 0; findMount(await readMountTable(), place) !== null; layer += 1) {
      if (layer >= layersLimit)
        throw new StoreError('unavailable', `${place} still has a mount after ${layersLimit} were taken off; something mounts it again`);
      await unmountTopLayer(place);
    }
    await removeEmpty(place);
  }

  /** The topmost mount at exactly this path, or null. */
  async find(target: string): Promise<MountEntry | null> {
    const place = await canonicalTarget(target);
    return place === null ? null : findMount(await readMountTable(), place);
  }

  /** Every mount of this process's mount namespace, bottom first. */
  async list(): Promise<readonly MountEntry[]> {
    return readMountTable();
  }

  /** Grows a mounted file system to its device. Errors: `failed-precondition` when the device is not mounted there. */
  async grow(devicePath: string, mountPath: string, fileSystem: FileSystem): Promise<void> {
    // A resize of btrfs takes any folder: without this check it could be the node's own file system.
    const present = await this.find(mountPath);
    if (present === null || present.source !== devicePath || present.fileSystem !== fileSystem) {
      throw new StoreError(
        'failed-precondition',
        `${mountPath} is no mount of the ${fileSystem} on ${devicePath}; mount it before it can grow`,
      );
    }
    await growMounted(devicePath, mountPath, { fileSystem, sizeBytes: (await this.stats(mountPath)).totalBytes });
  }

  /** See StatisticsReader.read. */
  async stats(path: string): Promise<FileSystemStats> {
    return this.#statistics.read(path);
  }

  /** Size in bytes of a block device. */
  async blockSize(devicePath: string): Promise<number> {
    return readDeviceSize(devicePath);
  }
}

/** Makes the folder or empty file unless it is there, and returns its path as the mount table will spell it. */
async function makeTarget(target: string, kind: 'folder' | 'file'): Promise<string> {
  await mkdir(dirname(target), { recursive: true });
  const place = await canonicalTarget(target);
  if (place === null) throw new StoreError('unavailable', `the folder of ${target} vanished`);
  try {
    if (kind === 'folder') await mkdir(place);
    else await (await open(place, 'wx')).close();
  } catch (cause) {
    if (!isSystemError(cause, 'EEXIST')) throw new StoreError('unavailable', `${place} cannot be made: ${String(cause)}`, { cause });
    await checkKind(place, kind);
  }
  return place;
}

/** A symbolic link in the target's place could lead the mount anywhere. */
async function checkKind(place: string, kind: 'folder' | 'file'): Promise<void> {
  // Whatever is mounted there was put there by us or is refused by the caller; a dead one must not be asked.
  if (findMount(await readMountTable(), place) !== null) return;
  const present = await lstat(place);
  if (kind === 'folder' ? present.isDirectory() : present.isFile()) return;
  throw new StoreError('failed-precondition', `${place} exists and is no ${kind}; remove it`);
}

function checkSame(present: MountRecord, wish: { readonly source: string; readonly readOnly: boolean | null }): void {
  if (present.source !== wish.source) {
    throw new StoreError(
      'already-exists',
      `${present.source} is mounted on ${present.target} already, not ${wish.source}; unmount it first`,
    );
  }
  if (wish.readOnly !== null && present.options.includes('ro') !== wish.readOnly) {
    throw new StoreError(
      'already-exists',
      `${present.target} is mounted ${wish.readOnly ? 'writable' : 'read-only'} already; unmount it first`,
    );
  }
}

/** The mount which a folder is, or lies in, before it is bound elsewhere. */
async function lowerMount(records: readonly MountRecord[], folder: string): Promise<{ source: string; readOnly: boolean }> {
  for (let path = await canonicalTarget(folder); path !== null; path = dirname(path)) {
    const mount = findMount(records, path);
    if (mount !== null) return { source: mount.source, readOnly: mount.options.includes('ro') };
    if (path === '/') break;
  }
  throw new StoreError('not-found', `there is no folder ${folder}`);
}

/** A journal that waits for its replay keeps a read-only device from being mounted as it is. */
async function mountUnwritable(
  devicePath: string,
  fileSystem: FileSystem,
  mountWith: (extra: readonly string[]) => Promise<unknown>,
): Promise<void> {
  try {
    await mountWith([]);
  } catch (cause) {
    const option = withoutReplay(fileSystem);
    if (option !== null) {
      await mountWith([option]);
      return;
    }
    throw new StoreError(
      'failed-precondition',
      `${devicePath} is read-only, and its ${fileSystem} probably has a log to replay; make a clone of the snapshot and mount that, ` +
        `or use the flag norecovery to see an older, perhaps inconsistent state`,
      { cause },
    );
  }
}

/** Takes the mount off again when it lacks its labels. */
async function checkLabels(folder: string, flags: readonly string[]): Promise<void> {
  const missing = missingLabels(flags, findMount(await readMountTable(), folder)?.options ?? []);
  if (missing.length === 0 || !(await kernelHasLabels())) return;
  await unmountTopLayer(folder);
  throw new StoreError(
    'failed-precondition',
    `${missing.join(', ')} cannot be given to the mount at ${folder}: the node role does not see SELinux; give it the host's /sys/fs/selinux and /etc/selinux`,
  );
}

async function unmountTopLayer(place: string): Promise<void> {
  const parameters = ['--no-canonicalize', '--', place];
  const result = await runCommand('umount', parameters, { timeoutMs: mountTimeoutMs, expectedStatuses: [0, 32] });
  // Somebody else may have been faster: then it is no failure.
  if (result.status === 0 || findMount(await readMountTable(), place) === null) return;
  throw await unmountError(place, parameters, result);
}

async function unmountError(place: string, parameters: readonly string[], result: CommandResult): Promise<StoreError> {
  const holders = await findHolders(place);
  if (holders.length > 0) return new StoreError('in-use', `${place} is in use by ${holders.join(', ')}; end that first`);
  // Status 32 is every failure of the system call; runCommand makes the program speak English.
  const busy = result.errorOutput.includes('busy');
  return busy
    ? new StoreError(
        'in-use',
        `${place} is in use by something in the kernel, or by a process of another container or one that just ended; try again`,
      )
    : new StoreError('unavailable', `${describeCommand('umount', parameters)} failed: ${lastWords(result)}`);
}

/** Removes an empty folder or empty file, and nothing else. */
async function removeEmpty(place: string): Promise<void> {
  try {
    const present = await lstat(place);
    if (present.isDirectory()) await rmdir(place);
    else if (present.isFile() && present.size === 0) await unlink(place);
    else
      throw new StoreError(
        'failed-precondition',
        `${place} is not unmounted for good: it is no folder and no empty file; look at it and remove it`,
      );
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    if (isSystemError(cause, 'ENOENT')) return;
    if (isSystemError(cause, 'ENOTEMPTY', 'EEXIST')) {
      throw new StoreError('failed-precondition', `the folder ${place} holds files, although nothing is mounted on it; move them away`, {
        cause,
      });
    }
    if (isSystemError(cause, 'EBUSY'))
      throw new StoreError('in-use', `${place} was mounted again meanwhile, or is one in another container`, { cause });
    throw new StoreError('unavailable', `${place} cannot be removed: ${String(cause)}`, { cause });
  }
}

const mountTimeoutMs = 120_000;
const layersLimit = 64;
