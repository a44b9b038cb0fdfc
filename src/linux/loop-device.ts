/**
 * Loop devices: the kernel's block devices over files. Everything here may wait for whoever serves the file, so all of
 * it is asynchronous with a limit for each system call, and no process may do it over a file that it serves itself.
 *
 * A device is known by its `fileName` (lo_file_name), which we choose; sysfs shows "/" for files without a place in the
 * tree. Facts from linux/loop.h and drivers/block/loop.c.
 */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { blockDeviceSize, closeSlowly, openDevice, type TimeLimit } from './files.ts';
import { systemCallAsync } from './libc.ts';
import type { LoopNumbers } from './loop-numbers.ts';
import { Structure } from './structure.ts';
import { isSystemError, storeErrorOf } from './system-error.ts';

export interface LoopDevice {
  readonly path: string;
  /** Changes whenever the device is set up or taken down (diskseq in sysfs): path and sequence name one setting up. */
  readonly sequence: number;
  readonly fileName: string;
  readonly readOnly: boolean;
  /** It goes away by itself when its last user closes it (LO_FLAGS_AUTOCLEAR); a cleared device in use looks so. */
  readonly goingAway: boolean;
  /** The device number of the file system that the file lies on: `FileStatus.fileSystemDevice`. */
  readonly fileSystemDevice: number;
  /** The device number of the block device that it stands on; 0 over a file. */
  readonly blockDevice: number;
}

/** The bytes that a loop device's name can hold, without the zero at its end. */
export const maximumFileNameBytes = 63;

const sectorBytes = 4096;
const configureAttempts = 32;
const nodePollMs = 10;
const nodeWaitMs = 1000;

/**
 * Sets up a free loop device over an open file: direct I/O, 4 KiB sectors. The descriptor may be closed afterwards.
 * Answers the device's path. StoreError `unavailable` when the file's server does not answer in time; if it answers
 * later, the device is taken down again.
 */
export async function configureLoopDevice(
  options: TimeLimit & {
    readonly numbers: LoopNumbers;
    readonly descriptor: number;
    readonly fileName: string;
    readonly readOnly: boolean;
  },
): Promise<string> {
  for (let attempt = 0; attempt < configureAttempts; attempt++) {
    const number = await options.numbers.take(options);
    try {
      const path = `/dev/loop${number}`;
      if (await configureAt(path, options)) return path;
    } finally {
      options.numbers.give(number);
    }
  }
  throw new StoreError('unavailable', `no loop device could be had in ${configureAttempts} attempts: others take them as fast`);
}

/** False when another process was faster. */
async function configureAt(path: string, options: Parameters<typeof configure>[2]): Promise<boolean> {
  const device = await openWhenThere(path, options);
  try {
    await configure(device, path, options);
    return true;
  } catch (error) {
    if (isSystemError(error, 'EBUSY')) return false;
    throw storeErrorOf(error, `cannot set up ${path}`);
  } finally {
    await closeQuietly(device, options);
  }
}

/** Makes the device as large as its file is, as far as the kernel knows. Answers the size in bytes. */
export async function growLoopDevice(path: string, limit: TimeLimit): Promise<number> {
  return withDevice(path, { ...limit, exclusive: false }, async (device) => {
    await systemCallAsync('ioctl', [device, setCapacity], { purpose: `grow ${path}`, timeoutMs: limit.timeoutMs, descriptors: [device] });
    return blockDeviceSize(device);
  });
}

/** The device's size in bytes. */
export async function loopDeviceSize(path: string, limit: TimeLimit): Promise<number> {
  return withDevice(path, { ...limit, exclusive: false }, async (device) => blockDeviceSize(device));
}

/**
 * Detaches the device from its file. StoreError `in-use` when it is mounted or held exclusively, with nothing changed;
 * with `evenInUse` it is then marked instead and goes away with its last user. A device that is merely open somewhere
 * goes away when that closes it: wait with `waitUntilDetached`. Nothing happens if it is not the same setting up any more.
 */
export async function detachLoopDevice(
  device: Pick<LoopDevice, 'path' | 'sequence'>,
  options: TimeLimit & { readonly evenInUse?: boolean },
): Promise<void> {
  const { path } = device;
  try {
    await withDevice(path, { ...options, exclusive: options.evenInUse !== true }, async (descriptor) => {
      // While it is open, it can be marked by others, but not taken down.
      if (presentSequence(path) === device.sequence) await clearFileOf(descriptor, path, options);
    });
  } catch (error) {
    if (isSystemError(error, ...notSetUp)) return;
    if (!isSystemError(error, 'EBUSY')) throw storeErrorOf(error, `cannot detach ${path}`);
    throw new StoreError('in-use', `${path} is mounted or held by a program: unmount it first`, { cause: error });
  }
}

/** Waits until the device is taken down; false when that took longer than `withinMs`. Asks nobody but sysfs. */
export async function waitUntilDetached(
  device: Pick<LoopDevice, 'path' | 'sequence'>,
  options: { readonly withinMs: number },
): Promise<boolean> {
  const deadline = performance.now() + options.withinMs;
  for (let pauseMs = 1; presentSequence(device.path) === device.sequence; pauseMs = Math.min(2 * pauseMs, 100)) {
    if (performance.now() >= deadline) return false;
    await delay(pauseMs);
  }
  return true;
}

/** `detachLoopDevice` for whoever knows only the path and the name. */
export async function clearLoopDevice(
  path: string,
  options: TimeLimit & { readonly fileName: string; readonly evenInUse?: boolean },
): Promise<void> {
  const device = await inspectLoopDevice(path, options);
  if (device?.fileName === options.fileName) await detachLoopDevice(device, options);
}

/** The sequence of the present setting up of a device, from sysfs; null when it is not set up. StoreError on kernels
 * before 5.15, which do not tell. */
export function presentSequence(path: string): number | null {
  const folder = `/sys/block/${path.slice('/dev/'.length)}`;
  if (!fs.existsSync(`${folder}/loop`)) return null;
  try {
    return Number(fs.readFileSync(`${folder}/diskseq`, 'utf8'));
  } catch (error) {
    throw new StoreError('failed-precondition', 'loop devices need Linux 5.15 or later', { cause: error });
  }
}

/** The number of a loop device, as `LoopDevice.blockDevice` has it; null when there is no such device. */
export function loopDeviceNumber(path: string): number | null {
  try {
    const [major = 0, minor = 0] = fs
      .readFileSync(`/sys/block/${path.slice('/dev/'.length)}/dev`, 'utf8')
      .split(':')
      .map(Number);
    // The kernel's new_encode_dev.
    return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
  } catch {
    return null;
  }
}

/** The paths of the devices that are set up, in the order of their numbers. */
export function loopDevicePaths(): string[] {
  const names = fs.readdirSync('/sys/block').filter((name) => /^loop\d+$/.test(name) && fs.existsSync(`/sys/block/${name}/loop`));
  const numbers = names.map((name) => Number(name.slice('loop'.length))).sort((a, b) => a - b);
  return numbers.map((number) => `/dev/loop${number}`);
}

/** The devices that are set up, each asked anew: for a single look. A process that looks often keeps a LoopDeviceList. */
export async function listLoopDevices(limit: TimeLimit): Promise<LoopDevice[]> {
  const devices: LoopDevice[] = [];
  for (const path of loopDevicePaths()) {
    const device = await inspectLoopDevice(path, limit);
    if (device !== null) devices.push(device);
  }
  return devices;
}

/**
 * What the device is. Null when it is not set up, or is being taken down. The kernel asks the file's server for its
 * attributes if it may not use the ones it knows any more: then this may take as long as its limit (LoopDeviceList asks
 * but once), and a device whose server is gone for good does not even tell its name, so it is answered as null too. A
 * FUSE server whose devices shall be found after its end says that attributes last.
 */
export async function inspectLoopDevice(path: string, limit: TimeLimit): Promise<LoopDevice | null> {
  const sequence = presentSequence(path);
  if (sequence === null) return null;
  try {
    const device = await withDevice(path, { ...limit, exclusive: false }, (descriptor) => status(descriptor, path, sequence, limit));
    return presentSequence(path) === sequence ? device : null;
  } catch (error) {
    if (isSystemError(error, ...notSetUp, ...serverGone)) return null;
    throw storeErrorOf(error, `cannot inspect ${path}`);
  }
}

async function status(descriptor: number, path: string, sequence: number, limit: TimeLimit): Promise<LoopDevice> {
  const information = new Structure(informationBytes);
  await systemCallAsync('ioctl', [descriptor, getStatus, information.address], {
    purpose: `inspect ${path}`,
    timeoutMs: limit.timeoutMs,
    memory: information,
    descriptors: [descriptor],
  });
  const flags = information.view.getUint32(flagsOffset, true);
  const name = information.bytes.subarray(nameOffset, nameOffset + maximumFileNameBytes + 1);
  const end = name.indexOf(0);
  return {
    path,
    sequence,
    fileName: Buffer.from(end < 0 ? name : name.subarray(0, end)).toString('utf8'),
    readOnly: (flags & flagReadOnly) !== 0,
    goingAway: (flags & flagAutoclear) !== 0,
    fileSystemDevice: Number(information.view.getBigUint64(0, true)),
    blockDevice: Number(information.view.getBigUint64(blockDeviceOffset, true)),
  };
}

/** The kernel answers before the device's node stands in /dev. */
async function openWhenThere(path: string, limit: TimeLimit): Promise<number> {
  const deadline = performance.now() + nodeWaitMs;
  for (;;) {
    try {
      return await openDevice(path, { timeoutMs: limit.timeoutMs, readOnly: false });
    } catch (error) {
      if (!isSystemError(error, 'ENOENT', 'ENXIO')) throw storeErrorOf(error, `cannot open ${path}`);
      if (performance.now() >= deadline) {
        throw new StoreError('failed-precondition', `${path} does not appear: /dev must be the host's, not a copy`, { cause: error });
      }
      await delay(nodePollMs);
    }
  }
}

async function configure(
  device: number,
  path: string,
  options: TimeLimit & { readonly descriptor: number; readonly fileName: string; readonly readOnly: boolean },
): Promise<void> {
  const name = Buffer.from(options.fileName, 'utf8');
  assert(name.length > 0 && name.length <= maximumFileNameBytes, 'a loop device is named by 1 to 63 bytes');
  const config = new Structure(8 + informationBytes + 64); // struct loop_config
  config.view.setUint32(0, options.descriptor, true);
  config.view.setUint32(4, sectorBytes, true);
  config.view.setUint32(8 + flagsOffset, flagDirect | (options.readOnly ? flagReadOnly : 0), true);
  config.bytes.set(name, 8 + nameOffset);
  await systemCallAsync('ioctl', [device, configureFile, config.address], {
    purpose: `set up ${path} for ${options.fileName}`,
    timeoutMs: options.timeoutMs,
    memory: config,
    descriptors: [device, options.descriptor],
    // Whoever asked has been told that it failed, and may have another device by now.
    late: () => void clearFileOf(device, path, options).catch(() => {}),
  });
}

async function clearFileOf(device: number, path: string, limit: TimeLimit): Promise<void> {
  await systemCallAsync('ioctl', [device, clearFile], {
    purpose: `detach ${path}`,
    timeoutMs: limit.timeoutMs,
    descriptors: [device],
    essential: true,
  });
}

async function withDevice<Result>(
  path: string,
  options: TimeLimit & { readonly exclusive: boolean },
  use: (device: number) => Promise<Result>,
): Promise<Result> {
  const device = await openDevice(path, { timeoutMs: options.timeoutMs, readOnly: true, exclusive: options.exclusive });
  try {
    return await use(device);
  } finally {
    await closeQuietly(device, options);
  }
}

/** The last close of a device writes out what is cached and may be the one that detaches it; that it took too long
 * shows in what the caller looks at next. */
async function closeQuietly(device: number, limit: TimeLimit): Promise<void> {
  await closeSlowly(device, limit).catch(() => {});
}

/** What the kernel answers for a device that is not, or not any more, set up. */
const notSetUp = ['ENXIO', 'ENODEV', 'ENOENT'];
/** What it answers for a file on a FUSE connection that ended. */
const serverGone = ['ENOTCONN', 'ECONNABORTED'];
// linux/loop.h; offsets in struct loop_info64
const clearFile = 0x4c01; // LOOP_CLR_FD
const getStatus = 0x4c05; // LOOP_GET_STATUS64
const setCapacity = 0x4c07; // LOOP_SET_CAPACITY
const configureFile = 0x4c0a; // LOOP_CONFIGURE
const flagReadOnly = 1;
const flagAutoclear = 4;
const flagDirect = 16;
const informationBytes = 232;
const blockDeviceOffset = 16;
const flagsOffset = 52;
const nameOffset = 56;
