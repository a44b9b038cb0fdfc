/**
 * The loop devices of this machine. What a device is asked for costs a system call that may wait for the server of its
 * file, and that is away just when a list is wanted most. So each setting up of a device is asked but once; what can
 * change later stands in sysfs, which waits for nobody.
 */
import fs from 'node:fs';
import { StoreError } from '../util/errors.ts';
import { inspectLoopDevice, loopDevicePaths, presentSequence, type LoopDevice } from './loop-device.ts';
import type { TimeLimit } from './files.ts';

export interface LoopDevicesFound {
  readonly devices: readonly LoopDevice[];
  /** Paths of devices that could not be asked, because the servers of their files do not answer. */
  readonly silent: readonly string[];
}

export class LoopDeviceList {
  /** By path; only what is still set up. */
  #known = new Map<string, LoopDevice>();

  /** All that are set up, in the order of their numbers. The limit is that of each device. */
  async read(limit: TimeLimit): Promise<LoopDevicesFound> {
    const known = new Map<string, LoopDevice>();
    const silent: string[] = [];
    for (const path of loopDevicePaths()) {
      const before = this.#known.get(path);
      try {
        const device = before?.sequence === presentSequence(path) ? before : await inspectLoopDevice(path, limit);
        if (device !== null) known.set(path, { ...device, goingAway: isGoingAway(path) });
      } catch (error) {
        if (!(error instanceof StoreError) || error.code !== 'unavailable') throw error;
        silent.push(path);
      }
    }
    this.#known = known;
    return { devices: [...known.values()], silent };
  }
}

function isGoingAway(path: string): boolean {
  try {
    return fs.readFileSync(`/sys/block/${path.slice('/dev/'.length)}/loop/autoclear`, 'utf8').trim() === '1';
  } catch {
    // It went away meanwhile.
    return true;
  }
}
