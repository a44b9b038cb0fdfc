/**
 * SELinux labels given as mount options (`context=…`), as the kubelet does instead of relabelling a whole volume.
 *
 * mount(8) silently drops such options where libselinux takes SELinux for disabled, as in a container that sees neither
 * /sys/fs/selinux nor /etc/selinux/config. The workload could then not read its own volume, so it is looked at.
 */
import { readFile } from 'node:fs/promises';

const LABEL = /^(?:context|fscontext|defcontext|rootcontext)=/;

/** The options that a mount was to have and has not, as far as they are labels. */
export function missingLabels(wanted: readonly string[], present: readonly string[]): string[] {
  const names = new Set(present.map((option) => option.split('=', 1)[0]));
  return wanted.filter((option) => LABEL.test(option) && !names.has(option.split('=', 1)[0]));
}

/** Whether the kernel labels files; elsewhere labels mean nothing, and are rightly dropped. */
export async function kernelHasLabels(): Promise<boolean> {
  return /\tselinuxfs$/m.test(await readFile('/proc/filesystems', 'utf8'));
}
