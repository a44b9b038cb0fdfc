/**
 * Numbers of loop devices that are free to be set up.
 *
 * The kernel names the same free device to everybody who asks, and goes on naming it until somebody has set it up. So of
 * many who ask at once all but one would be refused and ask again; and a setting up that waits for the server of its file
 * holds everybody up who merely opens that device. Hence whoever asks here gets a number that nobody else got here, and that
 * nobody on this machine has begun to set up, which shows in sysfs.
 */
import fs from 'node:fs';
import { StoreError } from '../util/errors.ts';
import type { TimeLimit } from './files.ts';
import { closeDescriptor } from './files.ts';
import { systemCallAsync } from './libc.ts';
import { isSystemError, storeErrorOf } from './system-error.ts';

/** Beyond it no device is looked for: a node attaches some hundred volumes at most. */
const mostTaken = 1024;

export class LoopNumbers {
  readonly #taken = new Set<number>();

  /** A number that is the caller's until `give`. The device's node in /dev may appear somewhat later. StoreError
   * `failed-precondition` where there are no loop devices, `unavailable` when all that may be looked at are taken. */
  async take(limit: TimeLimit): Promise<number> {
    const control = openControl();
    try {
      const named = await callControl(control, getFree, 0, limit);
      for (let number = named; number < named + mostTaken; number++) {
        if (this.#taken.has(number) || isBeingSetUp(number)) continue;
        this.#taken.add(number);
        if (number !== named) await this.#make(control, number, limit);
        return number;
      }
    } catch (error) {
      throw storeErrorOf(error, 'cannot get a free loop device');
    } finally {
      closeDescriptor(control);
    }
    throw new StoreError('unavailable', `${mostTaken} loop devices are being set up: ask again when some of that is over`);
  }

  give(number: number): void {
    this.#taken.delete(number);
  }

  async #make(control: number, number: number, limit: TimeLimit): Promise<void> {
    try {
      await callControl(control, addDevice, number, limit);
    } catch (error) {
      if (isSystemError(error, 'EEXIST')) return;
      this.give(number);
      throw error;
    }
  }
}

/** Also before it is set up: the kernel shows its file as soon as it has it. */
function isBeingSetUp(number: number): boolean {
  return fs.existsSync(`/sys/block/loop${number}/loop`);
}

function openControl(): number {
  try {
    return fs.openSync('/dev/loop-control', fs.constants.O_RDWR);
  } catch (error) {
    throw new StoreError(
      'failed-precondition',
      'cannot open /dev/loop-control: run as root, with the kernel module loop loaded and the device allowed',
      { cause: error },
    );
  }
}

function callControl(control: number, command: number, parameter: number, limit: TimeLimit): Promise<number> {
  return systemCallAsync('ioctl', [control, command, parameter], {
    purpose: 'get a free loop device',
    timeoutMs: limit.timeoutMs,
    descriptors: [control],
  });
}

// linux/loop.h
const addDevice = 0x4c80; // LOOP_CTL_ADD
const getFree = 0x4c82; // LOOP_CTL_GET_FREE
