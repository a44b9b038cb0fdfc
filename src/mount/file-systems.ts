/**
 * What differs between the file systems that a volume can hold: how they are made, mounted and grown, and how small they
 * can be. Pure decisions; the acting is done elsewhere.
 */
import { StoreError } from '../util/errors.ts';

export type FileSystem = 'ext4' | 'xfs' | 'btrfs';

/**
 * The smallest devices with 4 KiB sectors on which mkfs makes a file system that then mounts and takes a write, in bytes.
 * Tried out with e2fsprogs 1.47.0, xfsprogs 6.1.0 and btrfs-progs 6.2, on Linux 6.18, one 4 KiB step below each refused:
 * xfsprogs demands 300 MiB since 5.19; btrfs says 114,294,784 bytes. mke2fs would take 232 KiB, but leaves out the
 * journal below 8 MiB, and a file system without one is not safe in a crash.
 */
export const minimumSizesBytes: Readonly<Record<FileSystem, number>> = {
  ext4: 8 * 1024 * 1024,
  xfs: 300 * 1024 * 1024,
  btrfs: 109 * 1024 * 1024,
};

export interface Command {
  readonly program: string;
  readonly parameters: readonly string[];
}

/**
 * The command that formats a device, never discarding it first: on a thin volume that is long work for nothing.
 * `overwrite` is for the remains of an interrupted format. Errors: `invalid-argument` for an option that would reach
 * beyond the device.
 */
export function formatCommand(
  devicePath: string,
  fileSystem: FileSystem,
  wish: { readonly options: readonly string[]; readonly overwrite: boolean },
): Command {
  for (const option of wish.options) checkFormatOption(option, fileSystem);
  switch (fileSystem) {
    case 'ext4': {
      // mke2fs obeys only the last -E, so a user's is joined with ours. It takes an interrupted format's remains as they are.
      const { extended, rest } = takeExtendedOptions(wish.options);
      return { program: 'mkfs.ext4', parameters: ['-q', ...rest, '-E', [...extended, ...extendedOptions].join(','), devicePath] };
    }
    case 'xfs':
      return { program: 'mkfs.xfs', parameters: ['-q', '-K', ...(wish.overwrite ? ['-f'] : []), ...wish.options, devicePath] };
    case 'btrfs':
      return { program: 'mkfs.btrfs', parameters: ['-q', '-K', ...(wish.overwrite ? ['-f'] : []), ...wish.options, devicePath] };
  }
}

/** Options that the file system needs whatever the user wants. */
export function requiredMountOptions(fileSystem: FileSystem, device: { readonly readOnly: boolean }): string[] {
  const required = fileSystem === 'xfs' ? ['nouuid'] : []; // a clone has its source's UUID
  // A journal cannot be replayed on a device that refuses writes.
  return device.readOnly ? [...required, withoutReplay[fileSystem]] : required;
}

/** The command that grows a mounted file system to its device; each of them succeeds when there is nothing to do. */
export function growCommand(devicePath: string, mountPath: string, fileSystem: FileSystem): Command {
  switch (fileSystem) {
    case 'ext4':
      return { program: 'resize2fs', parameters: [devicePath] };
    case 'xfs':
      return { program: 'xfs_growfs', parameters: ['-d', mountPath] };
    case 'btrfs':
      return { program: 'btrfs', parameters: ['filesystem', 'resize', 'max', mountPath] };
  }
}

function takeExtendedOptions(options: readonly string[]): { extended: string[]; rest: string[] } {
  const extended: string[] = [];
  const rest: string[] = [];
  let isValue = false;
  for (const option of options) {
    if (isValue) extended.push(option);
    else if (option !== '-E') rest.push(option);
    isValue = !isValue && option === '-E';
  }
  return { extended, rest };
}

function checkFormatOption(option: string, fileSystem: FileSystem): void {
  const reason =
    option === '' || /[\u0000-\u001f\u007f]/.test(option) // oxlint-disable-line no-control-regex
      ? 'it is empty or holds a control character'
      : option.startsWith('/') || /(^|[=,])\/|file=|logdev=|rtdev=|device=/.test(option)
        ? 'it names another file or device'
        : ['-f', '-F', '--force', '--'].includes(option)
          ? 'it would overwrite what the device holds'
          : fileSystem === 'btrfs' && /^--(csum|checksum)/.test(option)
            ? 'only crc32c, the default, allows a clone to get an id of its own'
            : null;
  if (reason !== null) throw new StoreError('invalid-argument', `the format option ${JSON.stringify(option)} is not allowed: ${reason}`);
}

const extendedOptions = ['nodiscard', 'lazy_itable_init=1', 'lazy_journal_init=1'];

const withoutReplay: Readonly<Record<FileSystem, string>> = { ext4: 'noload', xfs: 'norecovery', btrfs: 'rescue=nologreplay' };
