/**
 * Drivers one after another on one folder, for tests that restart and kill them. `cleanUp` leaves nothing, also after a
 * test that failed anywhere: no process, mount or loop device, and no folder.
 */
import { afterEach, expect } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { clearLoopDevice, listLoopDevices, type LoopDevice } from '../../src/linux/loop-device.ts';
import { statePaths } from '../../src/local/state-paths.ts';
import { runCommand, type CommandResult } from '../../src/util/exec.ts';
import { LocalDriver, mountsBelow, unmountAll } from './local-driver.ts';
import { commandPath } from './machine.ts';

export type Role = 'keeper' | 'store' | 'controller' | 'node';

const commandLimitMs = 60_000;
const deviceLimitMs = 5_000;

interface DriverBedOptions {
  readonly size: string;
  readonly flags?: readonly string[];
}

/** For a suite whose tests start a bed each: starts it, and after the test expects that it leaves nothing behind. */
export function bedOfEachTest(limit: { readonly timeoutMs: number }): (options: DriverBedOptions) => Promise<DriverBed> {
  let bed: DriverBed | null = null;
  afterEach(async () => {
    const problems = (await bed?.cleanUp()) ?? [];
    bed = null;
    expect(problems).toEqual([]);
  }, limit.timeoutMs);
  return async (options) => {
    bed = new DriverBed(options);
    await bed.start();
    return bed;
  };
}

export class DriverBed {
  readonly folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-system-'));
  readonly #size: string;
  readonly #flags: readonly string[];
  readonly #pools = new Set<string>();
  #driver: LocalDriver | null = null;

  constructor(options: DriverBedOptions) {
    this.#size = options.size;
    this.#flags = options.flags ?? [];
  }

  get driver(): LocalDriver {
    if (this.#driver === null) throw new Error('no driver is running');
    return this.#driver;
  }

  get state(): string {
    return path.join(this.folder, 'state');
  }

  get poolFolder(): string {
    return statePaths(this.state).pool;
  }

  /** A path in the folder, whose parent exists. */
  place(...names: readonly string[]): string {
    const place = path.join(this.folder, ...names);
    fs.mkdirSync(path.dirname(place), { recursive: true });
    return place;
  }

  async start(options: { readonly size?: string } = {}): Promise<LocalDriver> {
    this.#driver = await LocalDriver.start({ folder: this.folder, size: options.size ?? this.#size, flags: this.#flags });
    this.#pools.add(this.#driver.poolId);
    return this.#driver;
  }

  /** Ends the driver by a signal; answers how it ended. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<string> {
    const end = await this.driver.end(signal);
    this.#driver = null;
    return end;
  }

  async restart(signal: 'SIGTERM' | 'SIGKILL'): Promise<LocalDriver> {
    await this.end(signal);
    return this.start();
  }

  /** The process of a role, by the title that it gives itself. */
  processOf(role: Role): number | null {
    return this.driver.processes().find((id) => titleOf(id) === `chunkstore ${role}`) ?? null;
  }

  kill(role: Role): void {
    const id = this.processOf(role);
    if (id === null) throw new Error(`there is no process "chunkstore ${role}"`);
    process.kill(id, 'SIGKILL');
  }

  /** Runs an operator command as a person does, in this driver's state. */
  command(words: readonly string[], options: { readonly statuses?: readonly number[] } = {}): Promise<CommandResult> {
    return runCommand(commandPath, [...words, '--state', this.state], {
      timeoutMs: commandLimitMs,
      ...(options.statuses === undefined ? {} : { expectedStatuses: options.statuses }),
    });
  }

  /** Loop devices of the pools that were here, whether a driver runs or not. */
  async devices(): Promise<readonly LoopDevice[]> {
    const devices = await listLoopDevices({ timeoutMs: deviceLimitMs });
    return devices.filter(({ fileName }) => this.#pools.has(fileName.split('.')[0] ?? ''));
  }

  /** Answers what did not go as it should, in words, like LocalDriver.stop. */
  async cleanUp(): Promise<readonly string[]> {
    const problems = this.#driver === null ? await unmountAll(this.folder) : [...(await this.#driver.stop())];
    this.#driver = null;
    for (const { path: devicePath, fileName } of await this.devices()) {
      problems.push(`the loop device ${devicePath} of ${fileName} was left behind`);
      await clearLoopDevice(devicePath, { fileName, timeoutMs: deviceLimitMs, evenInUse: true });
    }
    const mounts = mountsBelow(this.folder);
    if (mounts.length === 0) fs.rmSync(this.folder, { recursive: true, force: true });
    else problems.push(`still mounted: ${mounts.join(', ')}`);
    return problems;
  }
}

function titleOf(id: number): string {
  try {
    return fs.readFileSync(`/proc/${id}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}
