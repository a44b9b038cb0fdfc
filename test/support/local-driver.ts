/**
 * A whole driver for a program that uses it: `chunkstore local` in a folder of its own, with clients for CSI, for the
 * store and for the operator's commands. `stop` ends it as an operator would and then looks whether anything is left;
 * it takes down by force what is, and says so. Every wait has a limit.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { detachLoopDevice, listLoopDevices, presentSequence, waitUntilDetached, type LoopDevice } from '../../src/linux/loop-device.ts';
import { statePaths } from '../../src/local/state-paths.ts';
import { StoreClient } from '../../src/store/wire/client.ts';
import { runCommand } from '../../src/util/exec.ts';
import { commandPath } from './machine.ts';
import { connectCsi, type CsiClient } from './csi-client.ts';
import { describeEnd, endsWithin, hasEnded } from './process-end.ts';

export interface DriverOptions {
  /** Holds all that the driver keeps, and the mounts of whoever uses it; made if missing, removed at the end. */
  readonly folder: string;
  /** Of the pool, as the command takes it: "4GiB". */
  readonly size: string;
  /** More flags of `chunkstore local`. */
  readonly flags?: readonly string[];
}

const startLimitMs = 60_000;
/** The driver itself waits 30 s for what is still in use. */
const stopLimitMs = 60_000;
const killLimitMs = 10_000;
const unmountLimitMs = 20_000;
const commandLimitMs = 60_000;
/** Formatting and checking a file system is part of some calls. */
const callLimitMs = 60_000;
const deviceLimitMs = 5_000;
const logLinesKept = 40;

export class LocalDriver {
  readonly folder: string;
  readonly csi: CsiClient;
  readonly store: StoreClient;
  readonly poolId: string;
  readonly #process: ChildProcess;
  readonly #log: readonly string[];

  private constructor(parts: {
    readonly folder: string;
    readonly process: ChildProcess;
    readonly csi: CsiClient;
    readonly store: StoreClient;
    readonly poolId: string;
    readonly log: readonly string[];
  }) {
    this.folder = parts.folder;
    this.csi = parts.csi;
    this.store = parts.store;
    this.poolId = parts.poolId;
    this.#process = parts.process;
    this.#log = parts.log;
  }

  /** Promises a driver that serves. When it fails, nothing of it is left but the folder. */
  static async start(options: DriverOptions): Promise<LocalDriver> {
    const { folder } = options;
    const state = stateOf(folder);
    const endpoint = `unix://${path.join(folder, 'csi.sock')}`;
    fs.mkdirSync(folder, { recursive: true });
    const parameters = ['local', '--state', state, '--size', options.size, '--endpoint', endpoint, ...(options.flags ?? [])];
    // A group of its own, so that Ctrl-C reaches only us: the driver ends after what we have mounted.
    const child = spawn(commandPath, parameters, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const log: string[] = [];
    try {
      await ready(child, log);
      const store = new StoreClient({ target: `unix://${statePaths(state).storeSocket}` });
      const { id } = await store.getPool();
      return new LocalDriver({ folder, process: child, csi: connectCsi(endpoint, { timeoutMs: callLimitMs }), store, poolId: id, log });
    } catch (error) {
      await endByForce([child.pid ?? 0, ...descendantsOf(child.pid ?? 0)]);
      throw new Error(`the driver did not start: ${(error as Error).message}\n${log.join('\n')}`, { cause: error });
    }
  }

  /** The last lines of the driver's log. */
  get log(): readonly string[] {
    return this.#log;
  }

  /** The driver's processes by id: the parent, and those that it started. */
  processes(): readonly number[] {
    return [this.#process.pid ?? 0, ...descendantsOf(this.#process.pid ?? 0)];
  }

  /** Runs an operator command and answers the document that it prints. */
  async operate<Answer>(...words: readonly string[]): Promise<Answer> {
    const parameters = [...words, '--state', stateOf(this.folder), '--output', 'json'];
    const { output } = await runCommand(commandPath, parameters, { timeoutMs: commandLimitMs });
    return JSON.parse(output) as Answer;
  }

  /** The pool's devices that are set up on this machine. */
  async devices(): Promise<readonly LoopDevice[]> {
    return (await listLoopDevices({ timeoutMs: deviceLimitMs })).filter(({ fileName }) => fileName.startsWith(`${this.poolId}.`));
  }

  /**
   * Sends the parent a signal and waits until it and all that it started have ended; answers how the parent ended:
   * "status 0", "SIGKILL". The folder stays, so that another driver can be started there.
   */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<string> {
    const processes = this.processes();
    this.csi.close();
    this.store.close();
    this.#process.kill(signal);
    if (!(await endsWithin(this.#process, stopLimitMs))) throw new Error(`the driver did not end on ${signal}\n${this.#log.join('\n')}`);
    const left = await alive(processes, { withinMs: killLimitMs });
    if (left.length > 0) throw new Error(`processes outlived the driver: ${left.map(describeProcess).join(', ')}`);
    return describeEnd(this.#process);
  }

  /**
   * Unmounts all below the folder, ends the driver, removes the folder. Answers what did not go as it should, in words;
   * after that nothing is left unless the words say so.
   */
  async stop(): Promise<readonly string[]> {
    // Devices whose server died do not tell their names any more; that they are mounted here says whose they are.
    const devices = [...(await this.#ownDevices()), ...mountedDevices(this.folder)];
    const problems = await unmountAll(this.folder);
    const processes = this.processes();
    this.csi.close();
    this.store.close();
    if (!hasEnded(this.#process)) {
      this.#process.kill('SIGTERM');
      const ended = await endsWithin(this.#process, stopLimitMs);
      if (!ended) problems.push(`the driver did not stop within ${stopLimitMs / 1000} s of SIGTERM`, ...this.#log);
      else if (this.#process.exitCode !== 0) problems.push(`the driver stopped with ${describeEnd(this.#process)}`, ...this.#log);
    } else {
      problems.push(`the driver had ended by itself, with ${describeEnd(this.#process)}`, ...this.#log);
    }
    const left = await alive(processes, { withinMs: 2_000 });
    if (left.length > 0) {
      problems.push(`processes were left behind and had to be killed: ${left.map(describeProcess).join(', ')}`);
      await endByForce(left);
    }
    problems.push(...(await clearDevices(devices)));
    if (mountsBelow(this.folder).length === 0) fs.rmSync(this.folder, { recursive: true, force: true });
    return problems;
  }

  async #ownDevices(): Promise<readonly Device[]> {
    return this.devices().catch(() => []);
  }
}

type Device = Pick<LoopDevice, 'path' | 'sequence'>;

async function clearDevices(devices: readonly Device[]): Promise<string[]> {
  const problems: string[] = [];
  for (const device of devices) {
    if (presentSequence(device.path) !== device.sequence) continue;
    problems.push(`the loop device ${device.path} was left behind`);
    try {
      await detachLoopDevice(device, { timeoutMs: deviceLimitMs, evenInUse: true });
      if (!(await waitUntilDetached(device, { withinMs: deviceLimitMs }))) problems.push(`${device.path} does not go away`);
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  return problems;
}

/** Loop devices that are mounted, or bound as block devices, below a folder. */
function mountedDevices(folder: string): Device[] {
  const devices = new Map<string, Device>();
  for (const line of fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [, , , root = '', target = ''] = line.split(' ');
    const [, source = ''] = line.split(' - ')[1]?.split(' ') ?? [];
    if (!target.startsWith(`${folder}/`)) continue;
    const path = [source, `/dev${root}`].find((name) => /^\/dev\/loop\d+$/.test(name));
    const sequence = path === undefined ? null : presentSequence(path);
    if (path !== undefined && sequence !== null) devices.set(path, { path, sequence });
  }
  return [...devices.values()];
}

/** Unmounts all below a folder, the topmost mount first; answers what did not go in words. */
export async function unmountAll(folder: string): Promise<string[]> {
  const problems: string[] = [];
  for (const target of mountsBelow(folder).toReversed()) {
    try {
      await runCommand('umount', [target], { timeoutMs: unmountLimitMs });
    } catch (error) {
      problems.push(`${target} could only be unmounted lazily: ${(error as Error).message}`);
      await runCommand('umount', ['--lazy', target], { timeoutMs: unmountLimitMs }).catch((again: Error) => problems.push(again.message));
    }
  }
  return problems;
}

/** Mount points below a folder, the bottom first. The folder's name must need no escapes, as that of mkdtemp does not. */
export function mountsBelow(folder: string): string[] {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((target) => target.startsWith(`${folder}/`));
}

function stateOf(folder: string): string {
  return path.join(folder, 'state');
}

async function ready(child: ChildProcess, log: string[]): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const keep = (line: string): void => {
    log.push(line);
    if (log.length > logLinesKept) log.shift();
  };
  createInterface({ input: child.stdout! }).on('line', (line) => {
    if (line.startsWith('ready ')) resolve();
    else keep(line);
  });
  createInterface({ input: child.stderr! }).on('line', keep);
  child.once('error', reject);
  child.once('close', () => reject(new Error(`it ended with ${describeEnd(child)}`)));
  const timer = setTimeout(() => reject(new Error(`it was not ready within ${startLimitMs / 1000} s`)), startLimitMs);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
  }
}

async function endByForce(processes: readonly number[]): Promise<void> {
  for (const id of processes) {
    try {
      if (id > 1) process.kill(id, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
  await alive(processes, { withinMs: killLimitMs });
}

/** Those of the processes that are still there after the wait. */
async function alive(processes: readonly number[], options: { readonly withinMs: number }): Promise<number[]> {
  const deadline = performance.now() + options.withinMs;
  for (;;) {
    const left = processes.filter((id) => id > 1 && stateOfProcess(id) !== null);
    if (left.length === 0 || performance.now() >= deadline) return left;
    await delay(50);
  }
}

/** All that a process has started, and they in turn. */
function descendantsOf(parent: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of fs.readdirSync('/proc')) {
    const state = /^\d+$/.test(name) ? stateOfProcess(Number(name)) : null;
    if (state !== null) children.set(state.parent, [...(children.get(state.parent) ?? []), Number(name)]);
  }
  const found: number[] = [];
  const queue = parent > 0 ? [parent] : [];
  for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
    const started = children.get(id) ?? [];
    found.push(...started);
    queue.push(...started);
  }
  return found;
}

/** Null when there is no such process, or only its exit status waits to be fetched. */
function stateOfProcess(id: number): { readonly parent: number } | null {
  try {
    // The name stands in parentheses and may hold any character.
    const [state, parent] = fs.readFileSync(`/proc/${id}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return state === 'Z' || state === 'X' ? null : { parent: Number(parent) };
  } catch {
    return null;
  }
}

function describeProcess(id: number): string {
  try {
    return `${id} (${fs.readFileSync(`/proc/${id}/comm`, 'utf8').trim()})`;
  } catch {
    return `${id}`;
  }
}
