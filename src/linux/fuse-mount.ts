/**
 * An unlisted FUSE mount whose root is one regular file. It is made with fsopen, fsconfig and fsmount and is never
 * attached to a folder: it stands in no mount table, and it lasts as long as somebody holds its descriptor or has its
 * file open.
 *
 * Creating it waits for nobody (FUSE_INIT is sent, but not waited for), so the process that answers the requests may do
 * it. That process must never open, stat or wait on the file itself: it would wait for its own answer.
 */
import fs from 'node:fs';
import { StoreError } from '../util/errors.ts';
import { rawSystemCall, systemCall, systemCallNumber } from './libc.ts';
import { closeDescriptor } from './files.ts';
import { Structure, cString } from './structure.ts';
import { isSystemError, storeErrorOf } from './system-error.ts';

export interface FuseMount {
  /** /dev/fuse: requests are read from it and answered into it. Does not block (EAGAIN). */
  readonly fuseDescriptor: number;
  /** The mount: /proc/self/fd/<this> is the file. O_PATH, so that holding it keeps nothing but the mount. */
  readonly mountDescriptor: number;
}

/** The largest read the kernel asks for in one request; FUSE's own limit is 256 pages for writes (max_pages). */
const maximumReadBytes = 1 << 20;

/** Makes the mount. `source` is shown nowhere but in the kernel's messages. Needs CAP_SYS_ADMIN and /dev/fuse. */
export function createFuseMount(options: { readonly source: string }): FuseMount {
  const fuseDescriptor = openFuse();
  try {
    return { fuseDescriptor, mountDescriptor: mountFuse(fuseDescriptor, options.source) };
  } catch (error) {
    closeDescriptor(fuseDescriptor);
    throw storeErrorOf(error, `cannot make the FUSE mount of ${options.source}`);
  }
}

function openFuse(): number {
  try {
    return fs.openSync('/dev/fuse', fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  } catch (error) {
    const remedy = isSystemError(error, 'ENOENT', 'ENODEV', 'ENXIO')
      ? 'load the kernel module fuse, and give the container the device'
      : 'run as root, with the device allowed';
    throw new StoreError('failed-precondition', `cannot open /dev/fuse: ${remedy}`, { cause: error });
  }
}

function mountFuse(fuseDescriptor: number, source: string): number {
  const type = cString('fuse');
  const context = systemCall('fsopen', type.address, closeOnExec);
  try {
    const parameters: readonly (readonly [string, string])[] = [
      ['source', source],
      ['fd', String(fuseDescriptor)],
      ['rootmode', '100000'], // octal: a regular file
      ['user_id', '0'],
      ['group_id', '0'],
      ['max_read', String(maximumReadBytes)],
    ];
    for (const [name, value] of parameters) configure(context, setString, name, value);
    configure(context, create, null, null);
    return systemCall('fsmount', context, closeOnExec, mountAttributes);
  } finally {
    closeDescriptor(context);
  }
}

function configure(context: number, command: number, name: string | null, value: string | null): void {
  const key = name === null ? null : cString(name);
  const text = value === null ? null : cString(value);
  try {
    systemCall('fsconfig', context, command, key?.address ?? 0, text?.address ?? 0, 0);
  } catch (error) {
    const reason = readMessages(context);
    if (reason === '') throw error;
    throw new StoreError('unavailable', `${name ?? 'create'}: ${reason}`, { cause: error });
  }
}

/** The kernel leaves its reasons in the context, one message a read. */
function readMessages(context: number): string {
  const messages: string[] = [];
  const buffer = new Structure(1024);
  while (messages.length < 16) {
    const length = rawSystemCall(systemCallNumber('read'), context, buffer.address, buffer.bytes.length, 0, 0, 0);
    if (length <= 0) break;
    messages.push(Buffer.from(buffer.bytes.subarray(0, length)).toString('utf8').trim());
  }
  return messages.join('; ');
}

const closeOnExec = 1; // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
const setString = 1; // FSCONFIG_SET_STRING
const create = 6; // FSCONFIG_CMD_CREATE
const mountAttributes = 0x2 | 0x4 | 0x8; // MOUNT_ATTR_NOSUID, NODEV, NOEXEC (linux/mount.h)
