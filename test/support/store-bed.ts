/**
 * Store processes and one keeper on one folder, as the pods of a node have them, for tests of hand-overs: stores named by
 * their pods come, go and are killed, and a verified load runs on a device meanwhile. `cleanUp` leaves no process, device
 * or folder behind.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { LoopDevices } from '../../src/block/node-devices.ts';
import { clearLoopDevice, listLoopDevices } from '../../src/linux/loop-device.ts';
import { KeeperClients, makeLoopDevices } from '../../src/roles/node.ts';
import { StoreClient } from '../../src/store/wire/client.ts';
import { createLogger } from '../../src/util/log.ts';
import { completedRequests } from './block-statistics.ts';
import { eventually } from './eventually.ts';
import { describeEnd, hasEnded } from './process-end.ts';

const MAIN = path.join(import.meta.dirname, '../../src/main.ts');
/** The same program as another tree of files: as `make build` compiled it. */
export const COMPILED_MAIN = path.join(import.meta.dirname, '../../dist/main.js');
const BUILT_MAIN = path.join(import.meta.dirname, '../../dist/main.js');
const START_LIMIT_MS = 30_000;
const COMMAND_LIMIT_MS = 30_000;
const END_LIMIT_MS = 60_000;
const DEVICE_LIMIT_MS = 5_000;
const PAUSE_POLL_MS = 5;
const AGAIN_LIMIT_MS = 120_000;
const AGAIN_PAUSE_MS = 50;
/** Codes of what passes when a store serves, or when whoever looked at a device has closed it. */
const PASSING = new Set<unknown>(['unavailable', 'busy', 'in-use']);

export interface StoreProcessOptions {
  /** Null: outside a pod. */
  readonly pod: string | null;
  readonly flags?: readonly string[];
  /** Not the bed's own socket. */
  readonly endpoint?: string;
  /** Set beside this process's own. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Not the bed's own size of the pool. */
  readonly poolSize?: string;
}

export interface BedProcessOptions {
  readonly main: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** A process of the program, with its log. */
export class BedProcess {
  readonly child: ChildProcess;
  log = '';

  constructor(role: string, flags: readonly string[], options: BedProcessOptions) {
    // jest's own flags are no business of the programs under test.
    const { NODE_OPTIONS: _nodeOptions, ...environment } = process.env;
    this.child = spawn(process.execPath, [options.main, role, ...flags, '--log-level', 'debug'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...environment, ...options.environment },
    });
    this.child.stderr?.on('data', (data: Buffer) => {
      this.log += data.toString();
      this.child.emit('log');
    });
    // Whoever waits for words finds out that there will be none.
    this.child.once('exit', () => this.child.emit('log'));
  }

  get hasEnded(): boolean {
    return hasEnded(this.child);
  }

  /** How often it has said this. */
  said(words: string): number {
    return this.log.split(words).length - 1;
  }

  /** Resolves as soon as it has said this so often, without a pause between its saying and this. */
  async says(words: string, options: { readonly times?: number; readonly limitMs?: number } = {}): Promise<void> {
    const limit = AbortSignal.timeout(options.limitMs ?? START_LIMIT_MS);
    while (this.said(words) < (options.times ?? 1)) {
      if (this.hasEnded) throw new Error(`it ended and never said "${words}":\n${this.log}`);
      try {
        await once(this.child, 'log', { signal: limit });
      } catch (cause) {
        throw new Error(`it does not say "${words}":\n${this.log}`, { cause });
      }
    }
  }

  signal(name: NodeJS.Signals): void {
    if (!this.hasEnded) this.child.kill(name);
  }

  /** Resolves with how it ended: "status 0", "SIGKILL". */
  async ended(): Promise<string> {
    if (!this.hasEnded) await once(this.child, 'exit', { signal: AbortSignal.timeout(END_LIMIT_MS) });
    return describeEnd(this.child);
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.ended();
  }
}

/** fio, which writes and verifies what it wrote until it is stopped. */
export class Load {
  readonly #child: ChildProcess;
  readonly #devicePath: string;
  #errors = '';

  constructor(devicePath: string, options: { readonly folder: string; readonly sizeBytes: number; readonly flags?: readonly string[] }) {
    this.#devicePath = devicePath;
    const parameters = [
      '--name=load',
      `--filename=${devicePath}`,
      `--size=${options.sizeBytes}`,
      '--rw=randrw',
      '--bsrange=4k-64k',
      '--ba=4k',
      '--iodepth=8',
      '--ioengine=io_uring',
      '--direct=1',
      '--verify=crc32c',
      '--verify_fatal=1',
      '--verify_backlog=128',
      '--verify_state_save=0',
      '--fsync=256',
      '--randrepeat=0',
      '--time_based',
      '--runtime=600',
      '--rate_iops=2000,2000',
      `--aux-path=${options.folder}`,
      '--output-format=terse',
      ...(options.flags ?? []),
    ];
    this.#child = spawn('fio', parameters, { stdio: ['ignore', 'ignore', 'pipe'], cwd: options.folder });
    this.#child.stderr?.on('data', (data: Buffer) => (this.#errors += data.toString()));
  }

  /** Requests of the device that were answered, by whom ever. */
  get completed(): number {
    return completedRequests(this.#devicePath);
  }

  /** It has met no error so far. */
  get isRunning(): boolean {
    return !hasEnded(this.#child);
  }

  get errors(): string {
    return this.#errors;
  }

  /** Watches for as long as `use` takes; answers the longest time in which nothing of the device was answered. */
  async longestPauseMs(use: () => Promise<void>): Promise<number> {
    let [completed, sinceMs, longestMs] = [this.completed, performance.now(), 0];
    const look = (): void => {
      longestMs = Math.max(longestMs, performance.now() - sinceMs);
      const present = this.completed;
      if (present !== completed) [completed, sinceMs] = [present, performance.now()];
    };
    const timer = setInterval(look, PAUSE_POLL_MS);
    try {
      await use();
      look();
    } finally {
      clearInterval(timer);
    }
    return Math.round(longestMs);
  }

  /** Waits until so many more requests were answered; throws at once when it has ended or complained instead. */
  async goesOn(requests: number): Promise<void> {
    const before = this.completed;
    const isOver = (): boolean => !this.isRunning || this.errors !== '';
    await eventually('the load goes on', () => this.completed > before + requests || isOver(), 20_000);
    if (isOver()) throw new Error(`the load does not go on (${this.isRunning ? 'it runs' : 'it has ended'}): ${this.errors}`);
  }

  /** Ends it in order; answers what it had to complain of. */
  async stop(): Promise<string> {
    if (!this.isRunning) return `it ended by itself: ${this.#errors}`;
    this.#child.kill('SIGINT');
    await once(this.#child, 'exit', { signal: AbortSignal.timeout(END_LIMIT_MS) });
    // Being stopped is no complaint.
    return this.#errors
      .split('\n')
      .filter((line) => line !== '' && !line.includes('terminating on signal'))
      .join('\n');
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

export class StoreBed {
  readonly folder: string;
  readonly endpoint: string;
  readonly keeperSocket: string;
  readonly client: StoreClient;
  readonly #poolSize: string;
  /** The program that its processes run. */
  readonly main: string;
  readonly #processes: BedProcess[] = [];
  readonly #loads: Load[] = [];
  #poolId = '';

  /** With `built` the processes run what `make build` made, which starts sooner than the source. The folder is made in
   * `parent`, or among the temporary ones. */
  constructor(options: { readonly poolSize?: string; readonly built?: boolean; readonly parent?: string } = {}) {
    this.folder = fs.mkdtempSync(path.join(options.parent ?? os.tmpdir(), 'chunkstore-stores-'));
    this.endpoint = `unix://${this.folder}/run/store.sock`;
    this.keeperSocket = path.join(this.folder, 'run/keeper.sock');
    this.client = new StoreClient({ target: this.endpoint, timeoutMs: 5_000 });
    this.#poolSize = options.poolSize ?? '512MiB';
    this.main = options.built === true ? BUILT_MAIN : MAIN;
  }

  /** As in a pod: it lingers at its end. */
  async startKeeper(): Promise<BedProcess> {
    const keeper = this.spawnKeeper();
    await keeper.says('"ready"');
    return keeper;
  }

  /** Starts a keeper, and does not wait for it. */
  spawnKeeper(): BedProcess {
    const keeper = new BedProcess('keeper', ['--socket', this.keeperSocket, '--linger', '80'], { main: this.main });
    this.#processes.push(keeper);
    return keeper;
  }

  /** Starts a store, and does not wait for it. */
  spawnStore(options: StoreProcessOptions): BedProcess {
    const flags = [
      ...[
        '--pool',
        path.join(this.folder, 'pool'),
        '--size',
        options.poolSize ?? this.#poolSize,
        '--endpoint',
        options.endpoint ?? this.endpoint,
      ],
      ...['--keeper', this.keeperSocket, '--node', 'n1'],
      ...(options.pod === null ? [] : ['--pod-uid', options.pod]),
      ...(options.flags ?? []),
    ];
    const store = new BedProcess('store', flags, { main: this.main, environment: options.environment ?? {} });
    this.#processes.push(store);
    return store;
  }

  async startStore(options: StoreProcessOptions): Promise<BedProcess> {
    const store = this.spawnStore(options);
    await store.says('"ready"');
    this.#poolId = (await this.client.getPool()).id;
    return store;
  }

  /** A new volume as a block device. */
  async makeDevice(name: string, sizeBytes: number): Promise<string> {
    await this.client.createVolume({ name, sizeBytes, source: null, attributes: {} });
    return this.operate('attach', name, '--keeper', this.keeperSocket);
  }

  load(devicePath: string, sizeBytes: number, flags: readonly string[] = []): Load {
    const load = new Load(devicePath, { folder: this.folder, sizeBytes, flags });
    this.#loads.push(load);
    return load;
  }

  /** Runs an operator command against whoever serves; it must succeed. */
  operate(...words: readonly string[]): string {
    const { status, output, errors } = this.run(...words);
    if (status !== 0) throw new Error(`${words.join(' ')}: ${errors}`);
    return output.trim();
  }

  /** The same, whatever becomes of it. */
  run(...words: readonly string[]): { readonly status: number | null; readonly output: string; readonly errors: string } {
    const { NODE_OPTIONS: _nodeOptions, ...env } = process.env;
    const parameters = [this.main, ...words, '--endpoint', this.endpoint];
    const { status, stdout, stderr } = spawnSync(process.execPath, parameters, { encoding: 'utf8', timeout: COMMAND_LIMIT_MS, env });
    return { status, output: stdout, errors: stderr };
  }

  /**
   * Calls whoever serves, again and again while nobody does: stores come and go. Each time over a connection of its own,
   * because one that was refused is not tried again for a while.
   */
  async again<Answer>(call: (client: StoreClient) => Promise<Answer>): Promise<Answer> {
    const deadline = performance.now() + AGAIN_LIMIT_MS;
    for (;;) {
      const client = new StoreClient({ target: this.endpoint, timeoutMs: 5_000 });
      try {
        return await call(client);
      } catch (error) {
        const { code } = error as { readonly code?: unknown };
        if (!PASSING.has(code) || performance.now() > deadline) throw error;
        await delay(AGAIN_PAUSE_MS);
      } finally {
        client.close();
      }
    }
  }

  /** Makes an object a block device as the node role does it; answers its path. */
  attachAgain(id: string): Promise<string> {
    return this.again((client) => this.#withDevices(client, async (devices) => (await devices.attach(id)).devicePath));
  }

  detachAgain(id: string): Promise<void> {
    return this.again((client) => this.#withDevices(client, (devices) => devices.detach(id)));
  }

  async #withDevices<Answer>(store: StoreClient, use: (devices: LoopDevices) => Promise<Answer>): Promise<Answer> {
    const keepers = new KeeperClients(this.keeperSocket);
    try {
      return await use(makeLoopDevices({ store, keepers, log: createLogger({ role: 'test', level: 'fatal' }) }));
    } finally {
      await keepers.close();
    }
  }

  /** Who has the pool and who had it, as it is written down. */
  get succession(): { readonly holder: string | null; readonly promised: string | null; readonly past: readonly string[] } {
    const name = fs.readdirSync(path.join(this.folder, 'run')).find((entry) => entry.endsWith('.succession'));
    if (name === undefined) return { holder: null, promised: null, past: [] };
    return JSON.parse(fs.readFileSync(path.join(this.folder, 'run', name), 'utf8')) as ReturnType<() => StoreBed['succession']>;
  }

  /** Somebody answers calls, also ones that need the disk. */
  async untilServed(limitMs = 20_000): Promise<void> {
    await eventually(
      'a store serves',
      () =>
        this.client.getPool().then(
          () => true,
          () => false,
        ),
      limitMs,
    );
  }

  async cleanUp(): Promise<void> {
    for (const load of this.#loads) load.kill();
    this.client.close();
    // The devices first: while a store serves, they go in order.
    await this.#clearDevices();
    for (const bedProcess of this.#processes) await bedProcess.kill();
    await this.#clearDevices();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  async #clearDevices(): Promise<void> {
    if (this.#poolId === '') return;
    for (const { path: devicePath, fileName } of await listLoopDevices({ timeoutMs: DEVICE_LIMIT_MS })) {
      if (fileName.startsWith(`${this.#poolId}.`))
        await clearLoopDevice(devicePath, { fileName, timeoutMs: DEVICE_LIMIT_MS, evenInUse: true });
    }
  }
}
