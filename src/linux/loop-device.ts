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
import { blockDeviceSize, closeDescriptor, closeSlowly, openDevice, type TimeLimit } from './files.ts';
import { systemCallAsync } from './libc.ts';
import { Structure } from './structure.ts';
import { isSystemError, storeErrorOf } from './system-error.ts';

export interface LoopDevice {
  readonly path: string;
  readonly fileName: string;
  readonly readOnly: boolean;
  /** It goes away by itself when its last user closes it (LO_FLAGS_AUTOCLEAR); a cleared device in use looks so. */
  readonly goingAway: boolean;
  /** The device number of the file system that the file lies on: `FileStatus.fileSystemDevice`. */
  readonly fileSystemDevice: number;
}

/** The bytes that a loop device's name can hold, without the zero at its end. */
export const maximumFileNameBytes = 63;

const sectorBytes = 4096;
const configureAttempts = 32;
const nodePollMs = 10;
const nodeWaitMs = 1000;

/** All loop devices that are set up. Does not ask the files' servers, as long as these said that attributes last. */
export async function listLoopDevices(limit: TimeLimit): Promise<LoopDevice[]> {
  const names = fs.readdirSync('/sys/block').filter((name) => /^loop\d+$/.test(name) && fs.existsSync(`/sys/block/${name}/loop`));
  const devices: LoopDevice[] = [];
  for (const name of names) {
    const device = await inspect(`/dev/${name}`, limit);
    if (device !== null) devices.push(device);
  }
  return devices;
}

/**
 * Sets up a free loop device over an open file: direct I/O, 4 KiB sectors. The descriptor may be closed afterwards.
 * Answers the device's path. StoreError `unavailable` when the file's server does not answer in time; if it answers
 * later, the device is taken down again.
 */
export async function configureLoopDevice(
  options: TimeLimit & { readonly descriptor: number; readonly fileName: string; readonly readOnly: boolean },
): Promise<string> {
  for (let attempt = 0; attempt < configureAttempts; attempt++) {
    const path = `/dev/loop${await freeNumber(options)}`;
    const device = await openWhenThere(path, options);
    try {
      await configure(device, path, options);
      return path;
    } catch (error) {
      // Between asking for a free one and taking it, somebody else took it.
      if (!isSystemError(error, 'EBUSY')) throw storeErrorOf(error, `cannot set up ${path}`);
    } finally {
      await closeQuietly(device, options);
    }
  }
  throw new StoreError('unavailable', `no loop device could be had in ${configureAttempts} attempts: others take them as fast`);
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
 * goes away when that closes it: wait with `waitUntilGone`. The name guards against a device that became another's.
 */
export async function clearLoopDevice(
  path: string,
  options: TimeLimit & { readonly fileName: string; readonly evenInUse?: boolean },
): Promise<void> {
  try {
    await withDevice(path, { ...options, exclusive: options.evenInUse !== true }, async (device) => {
      const found = await status(device, path, options);
      if (found?.fileName !== options.fileName) return;
      await clearFileOf(device, path, options);
    });
  } catch (error) {
    if (isSystemError(error, 'ENXIO', 'ENODEV', 'ENOENT')) return;
    if (!isSystemError(error, 'EBUSY')) throw storeErrorOf(error, `cannot detach ${path}`);
    throw new StoreError('in-use', `${path} (${options.fileName}) is mounted or held by a program: unmount it first`, { cause: error });
  }
}

/** Waits until the device is not set up under this name any more; false when that took longer than `withinMs`. */
export async function waitUntilGone(
  path: string,
  options: TimeLimit & { readonly fileName: string; readonly withinMs: number },
): Promise<boolean> {
  const deadline = performance.now() + options.withinMs;
  for (let pauseMs = 2; ; pauseMs = Math.min(2 * pauseMs, 100)) {
    const device = await inspect(path, options);
    if (device === null || device.fileName !== options.fileName) return true;
    if (performance.now() >= deadline) return false;
    await delay(pauseMs);
  }
}

/** Null when the device is not set up, or is being taken down. */
async function inspect(path: string, limit: TimeLimit): Promise<LoopDevice | null> {
  try {
    return await withDevice(path, { ...limit, exclusive: false }, (device) => status(device, path, limit));
  } catch (error) {
    if (isSystemError(error, 'ENXIO', 'ENODEV', 'ENOENT')) return null;
    throw storeErrorOf(error, `cannot inspect ${path}`);
  }
}

async function status(device: number, path: string, limit: TimeLimit): Promise<LoopDevice | null> {
  const information = new Structure(informationBytes);
  try {
    await systemCallAsync('ioctl', [device, getStatus, information.address], {
      purpose: `inspect ${path}`,
      timeoutMs: limit.timeoutMs,
      memory: information,
      descriptors: [device],
    });
  } catch (error) {
    if (isSystemError(error, 'ENXIO')) return null;
    throw error;
  }
  const flags = information.view.getUint32(flagsOffset, true);
  const name = information.bytes.subarray(nameOffset, nameOffset + maximumFileNameBytes + 1);
  const end = name.indexOf(0);
  return {
    path,
    fileName: Buffer.from(end < 0 ? name : name.subarray(0, end)).toString('utf8'),
    readOnly: (flags & flagReadOnly) !== 0,
    goingAway: (flags & flagAutoclear) !== 0,
    fileSystemDevice: Number(information.view.getBigUint64(0, true)),
  };
}

async function freeNumber(limit: TimeLimit): Promise<number> {
  let control: number;
  try {
    control = fs.openSync('/dev/loop-control', fs.constants.O_RDWR);
  } catch (error) {
    throw new StoreError('failed-precondition', 'cannot open /dev/loop-control: run as root, with the kernel module loop loaded and the device allowed', { cause: error });
  }
  try {
    return await systemCallAsync('ioctl', [control, getFree], { purpose: 'get a free loop device', timeoutMs: limit.timeoutMs, descriptors: [control] });
  } catch (error) {
    throw storeErrorOf(error, 'cannot get a free loop device');
  } finally {
    closeDescriptor(control);
  }
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

// linux/loop.h; offsets in struct loop_info64
const clearFile = 0x4c01; // LOOP_CLR_FD
const getStatus = 0x4c05; // LOOP_GET_STATUS64
const setCapacity = 0x4c07; // LOOP_SET_CAPACITY
const configureFile = 0x4c0a; // LOOP_CONFIGURE
const getFree = 0x4c82; // LOOP_CTL_GET_FREE
const flagReadOnly = 1;
const flagAutoclear = 4;
const flagDirect = 16;
const informationBytes = 232;
const flagsOffset = 52;
const nameOffset = 56;
