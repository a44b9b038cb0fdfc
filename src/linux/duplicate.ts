/** A second descriptor of the same open file: for owners that each close their own. */
import { systemCall } from './libc.ts';

export function duplicateDescriptor(descriptor: number): number {
  return systemCall('fcntl', descriptor, duplicateCloseOnExec, 0);
}

const duplicateCloseOnExec = 1030; // F_DUPFD_CLOEXEC
