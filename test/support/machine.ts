/** What this machine allows and has: asked by suites, which are skipped where something lacks, by the demo and by the benchmark. */
import { execFileSync } from 'node:child_process';
import { accessSync, closeSync, constants, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Something that is needed. `lack` says why it is not there, in words for a person; undefined where it is. */
export interface Capability {
  readonly lack: string | undefined;
}

const repository = join(import.meta.dirname, '../..');
const searchPath = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;

/** Mounting, and making devices: CAP_SYS_ADMIN (bit 21) in effect, as root. */
export function canMount(): Capability {
  return { lack: process.getuid?.() === 0 && isInEffect(21n) ? undefined : 'it must run as root with CAP_SYS_ADMIN' };
}

/** Growing an ext4 while it is mounted, which the kernel lets only CAP_SYS_RESOURCE (bit 24) do. */
export function canGrowMountedExt4(): Capability {
  return { lack: isInEffect(24n) ? undefined : 'CAP_SYS_RESOURCE is not in effect' };
}

/** FUSE mounts of our own. */
export function canUseFuse(): Capability {
  return first(canMount(), opens('/dev/fuse'));
}

/** Loop devices of our own. */
export function canUseLoop(): Capability {
  return first(canMount(), opens('/dev/loop-control'));
}

/** These programs are installed. */
export function hasPrograms(...names: readonly string[]): Capability {
  const missing = names.filter((name) => !searchPath.split(':').some((folder) => folder !== '' && isExecutable(join(folder, name))));
  return { lack: missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}` };
}

/** The kernel mounts this type of file system, after loading its module where it has one. */
export function hasFileSystem(type: 'ext4' | 'xfs' | 'btrfs'): Capability {
  if (!kernelFileSystems().includes(type)) {
    try {
      execFileSync('modprobe', ['-q', type], { stdio: 'ignore', timeout: 10_000, env: { PATH: searchPath } });
    } catch {
      // No module and no modprobe come to the same: the list below decides.
    }
  }
  return { lack: kernelFileSystems().includes(type) ? undefined : `the kernel has no ${type}` };
}

/** The kernel's device mapper has this target, after loading its module where it has one. */
export function hasDeviceMapperTarget(target: string): Capability {
  const run = (program: string, ...words: readonly string[]): string => {
    try {
      return execFileSync(program, words, { stdio: ['ignore', 'pipe', 'ignore'], timeout: 10_000, env: { PATH: searchPath } }).toString();
    } catch {
      // Without a module it may be in the kernel itself, and without a device mapper there is no target.
      return '';
    }
  };
  run('modprobe', '-q', `dm-${target}`);
  const targets = run('dmsetup', 'targets').split('\n');
  return { lack: targets.some((line) => line.startsWith(`${target} `)) ? undefined : `the kernel's device mapper has no ${target}` };
}

/** The command is built. `make test` does that; a single suite started by hand does not. */
export function hasCommand(): Capability {
  return { lack: existsSync(join(repository, 'dist/main.js')) ? undefined : 'not built: run make build' };
}

/** Where the command stands, for system tests. */
export const commandPath = join(repository, 'bin/chunkstore');

/** What test/setup/go-programs.sh has built. */
const tools = join(repository, '.tools');
const notBuilt = 'is not built (Go missing or too old; run make tools to see why)';

export const csiSanityPath = join(tools, 'csi-sanity');

export function hasCsiSanity(): Capability {
  return { lack: isExecutable(csiSanityPath) ? undefined : `csi-sanity ${notBuilt}` };
}

/** The machine's helm where none could be built. */
export const helmPath = isExecutable(join(tools, 'helm')) ? join(tools, 'helm') : 'helm';

export function hasHelm(): Capability {
  return { lack: isExecutable(helmPath) || hasPrograms('helm').lack === undefined ? undefined : `helm ${notBuilt}` };
}

/** The snapshot CRDs as the project that owns them publishes them. */
export const publishedSnapshotCrds = join(tools, 'snapshot-crds');

export function hasPublishedSnapshotCrds(): Capability {
  return { lack: existsSync(publishedSnapshotCrds) ? undefined : 'the published snapshot CRDs are not there (run make tools to see why)' };
}

function isInEffect(capability: bigint): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> capability) & 1n) === 1n;
}

function first(...needs: readonly Capability[]): Capability {
  return needs.find(({ lack }) => lack !== undefined) ?? { lack: undefined };
}

function opens(device: string): Capability {
  try {
    closeSync(openSync(device, 'r+'));
    return { lack: undefined };
  } catch (error) {
    return { lack: `cannot open ${device}: ${(error as NodeJS.ErrnoException).code}` };
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function kernelFileSystems(): string[] {
  return readFileSync('/proc/filesystems', 'utf8')
    .split('\n')
    .map((line) => line.split('\t').at(-1) ?? '');
}
