/**
 * Holds the shared memory and the FUSE connections, as the keeper does, and runs the child that serves them. The host
 * opens the files only off its event loop and with a time limit; the child that serves them never does.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { closeDescriptor, closeSlowly, openDevice } from '../../src/linux/files.ts';
import { createEventDescriptor, signalEvent } from '../../src/linux/eventfd.ts';
import { type FuseMount, createFuseMount } from '../../src/linux/fuse-mount.ts';
import { LoopNumbers } from '../../src/linux/loop-numbers.ts';
import { configureLoopDevice, detachLoopDevice, presentSequence, waitUntilDetached } from '../../src/linux/loop-device.ts';
import { SharedMemory } from '../../src/linux/memory.ts';
import { type ChildCommand, type ChildSetup, memoryBytes } from './data-thread-child.ts';

const timeoutMs = 10_000;

export interface HostOptions {
  readonly file: string;
  readonly devices: number;
  readonly deviceBytes: number;
  readonly readOnly?: boolean;
  readonly spinRounds?: number;
  readonly readsPerTurn?: number;
  readonly nodeFlags?: readonly string[];
}

export class DataThreadHost {
  readonly mounts: FuseMount[] = [];
  readonly #options: HostOptions;
  readonly #memory = SharedMemory.create({ name: 'chunkstore-test', sizeBytes: memoryBytes });
  readonly #wakeDescriptor = createEventDescriptor({ blocking: false });
  readonly #loops = new Map<string, number>();
  #child: ChildProcess | null = null;
  #lines: string[] = [];
  #waiting: (() => void)[] = [];
  errors = '';
  /** What Node itself printed, for instance with --trace-gc. */
  readonly traces: string[] = [];

  constructor(options: HostOptions) {
    this.#options = options;
    for (let index = 0; index < options.devices; index++) this.mounts.push(createFuseMount({ source: `chunkstore-test-${index}` }));
  }

  /** Starts the child; answers what it says of its recovery. */
  async start(): Promise<{ readonly answered: number; readonly submitted: number }> {
    // In the child: 3 memory, 4 eventfd, 5 commands, 6 and on the connections.
    const setup: ChildSetup = {
      file: this.#options.file,
      deviceBytes: this.#options.deviceBytes,
      memoryDescriptor: 3,
      wakeDescriptor: 4,
      commandDescriptor: 5,
      devices: this.mounts.map((_, index) => ({
        connection: index + 1,
        incarnation: 1,
        fuseDescriptor: 6 + index,
        readOnly: this.#options.readOnly ?? false,
      })),
      ...(this.#options.spinRounds === undefined ? {} : { spinRounds: this.#options.spinRounds }),
      ...(this.#options.readsPerTurn === undefined ? {} : { readsPerTurn: this.#options.readsPerTurn }),
    };
    const program = path.join(import.meta.dirname, 'data-thread-child.ts');
    const descriptors = [
      this.#memory.descriptor,
      this.#wakeDescriptor,
      'pipe' as const,
      ...this.mounts.map(({ fuseDescriptor }) => fuseDescriptor),
    ];
    const child = spawn(process.execPath, [...(this.#options.nodeFlags ?? []), program, JSON.stringify(setup)], {
      stdio: ['ignore', 'pipe', 'pipe', ...descriptors],
    });
    this.#child = child;
    this.#lines = [];
    let text = '';
    child.stdout!.on('data', (data: Buffer) => {
      text += data.toString('utf8');
      const lines = text.split('\n');
      text = lines.pop()!;
      this.#lines.push(...lines.filter((line) => line.startsWith('{')));
      this.traces.push(...lines.filter((line) => !line.startsWith('{')));
      for (const wake of this.#waiting.splice(0)) wake();
    });
    child.stderr!.on('data', (data: Buffer) => void (this.errors += data.toString('utf8')));
    const { recovered } = (await this.#answer('ready')) as { recovered: { answered: number; submitted: number } };
    return recovered;
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    const child = this.#child!;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    this.#child = null;
  }

  send(command: ChildCommand): void {
    const streams: readonly unknown[] = this.#child!.stdio;
    const pipe = streams[5] as NodeJS.WritableStream;
    pipe.write(`${JSON.stringify(command)}\n`, () => signalEvent(this.#wakeDescriptor));
  }

  async ask(command: ChildCommand, answer: string): Promise<Record<string, unknown>> {
    this.send(command);
    return this.#answer(answer);
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#child!.once('exit', resolve));
    this.send({ kind: 'stop' });
    await gone;
    this.#child = null;
  }

  /** Makes a loop device over the connection's file. */
  async attach(index: number, options: { readonly readOnly?: boolean } = {}): Promise<string> {
    const readOnly = options.readOnly ?? false;
    const file = `/proc/self/fd/${this.mounts[index]!.mountDescriptor}`;
    const descriptor = await openDevice(file, { readOnly, direct: true, timeoutMs });
    try {
      const loop = await configureLoopDevice({
        numbers: new LoopNumbers(),
        descriptor,
        fileName: this.#loopName(index),
        readOnly,
        timeoutMs,
      });
      this.#loops.set(loop, presentSequence(loop)!);
      return loop;
    } finally {
      await closeSlowly(descriptor, { timeoutMs });
    }
  }

  async detach(path: string): Promise<void> {
    const device = { path, sequence: this.#loops.get(path)! };
    await detachLoopDevice(device, { timeoutMs });
    if (!(await waitUntilDetached(device, { withinMs: timeoutMs }))) throw new Error(`${path} is still in use`);
    this.#loops.delete(path);
  }

  /** Lets go of a connection: with the last holder the kernel ends it. */
  closeConnection(index: number): void {
    closeDescriptor(this.mounts[index]!.fuseDescriptor);
  }

  /** Ends everything that this host made. */
  async close(): Promise<void> {
    for (const loop of [...this.#loops.keys()]) await this.detach(loop);
    if (this.#child !== null && this.#child.exitCode === null) await this.kill();
    for (const { fuseDescriptor, mountDescriptor } of this.mounts) {
      closeDescriptor(fuseDescriptor);
      closeDescriptor(mountDescriptor);
    }
    closeDescriptor(this.#wakeDescriptor);
    fs.closeSync(this.#memory.descriptor);
  }

  #loopName(index: number): string {
    return `chunkstore-test-${process.pid}-${index}`;
  }

  async #answer(key: string): Promise<Record<string, unknown>> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      for (const [index, line] of this.#lines.entries()) {
        const message = JSON.parse(line) as Record<string, unknown>;
        if (!(key in message)) continue;
        this.#lines.splice(index, 1);
        return message;
      }
      if (Date.now() > deadline || this.#child === null) throw new Error(`the child does not say ${key}: ${this.errors}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 500);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }
}

/** Runs a program with a time limit. */
export async function run(program: string, parameters: readonly string[], timeoutMs = 20_000): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(program, parameters, { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 1 << 24 });
}
