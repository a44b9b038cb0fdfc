/**
 * What differs between the file systems that a volume can hold: how they are made, mounted and grown, and how small they
 * can be. Pure decisions; the acting is done elsewhere.
 */
import { StoreError } from '../util/errors.ts';

export type FileSystem = 'ext4' | 'xfs' | 'btrfs';

/**
 * The smallest volumes that we offer, in bytes, with 4 KiB sectors as our devices have them. What mkfs itself accepts was
 * tried with e2fsprogs 1.47.0, xfsprogs 6.1.0 and btrfs-progs 6.2 on Linux 6.18, in steps of 4 KiB; what is more has a reason:
 * ext4: 232 KiB, but below 8 MiB there is no journal, and without one it is not safe in a crash.
 * xfs: 300 MiB.
 * btrfs: 109 MiB, but the kernel refuses to resize one to less than 256 MiB, so it could not grow.
 */
export const minimumSizesBytes: Readonly<Record<FileSystem, number>> = {
  ext4: 8 * 1024 * 1024,
  xfs: 300 * 1024 * 1024,
  btrfs: 256 * 1024 * 1024,
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

/** Options that the file system needs whatever the user wants. A clone of XFS has its source's UUID. */
export function requiredMountOptions(fileSystem: FileSystem): string[] {
  return fileSystem === 'xfs' ? ['nouuid'] : [];
}

/**
 * The option that mounts without replaying the journal, for a device that refuses writes; null where that would show
 * another state than the one that was cut. ext4 has written its metadata in place after a sync, and btrfs shows its last
 * commit; but XFS has everything since its log's last checkpoint in the log alone (tried: synced files are missing).
 */
export function withoutReplay(fileSystem: FileSystem): string | null {
  return { ext4: 'noload', btrfs: 'rescue=nologreplay', xfs: null }[fileSystem];
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
