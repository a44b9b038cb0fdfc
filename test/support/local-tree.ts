/**
 * `chunkstore local` from source in a folder of its own, for tests that kill parts of it. Whoever uses it unmounts what it
 * mounted, and calls `end`.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { clearLoopDevice } from '../../src/linux/loop-device.ts';
import { LoopDeviceList } from '../../src/linux/loop-device-list.ts';
import { statePaths } from '../../src/local/state-paths.ts';
import { StoreClient } from '../../src/store/wire/client.ts';
import { eventually } from './eventually.ts';
import { hasEnded } from './process-end.ts';

const MAIN = path.join(import.meta.dirname, '../../src/main.ts');
const COMMAND_LIMIT_MS = 60_000;
/** Devices of others may not answer; they are passed over. */
const DEVICE_LIMIT_MS = 1_000;

export type TreeRole = 'keeper' | 'store' | 'controller' | 'node';

export class LocalTree {
  readonly folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-tree-'));
  readonly state = path.join(this.folder, 'state');
  readonly csiSocket = path.join(this.folder, 'csi.sock');
  output = '';
  errors = '';
  #process: ChildProcess | null = null;
  #store: StoreClient | null = null;

  /** Starts it; resolves when it is ready or has ended. Answers whether it is ready. */
  async start(...flags: readonly string[]): Promise<boolean> {
    this.output = '';
    this.errors = '';
    const args = [MAIN, 'local', '--state', this.state, '--endpoint', `unix://${this.csiSocket}`, '--node', 'n1', ...flags];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], env: withoutJest() });
    child.stdout.on('data', (data: Buffer) => (this.output += data.toString()));
    child.stderr.on('data', (data: Buffer) => (this.errors += data.toString()));
    this.#process = child;
    await eventually('it is ready or has ended', () => this.output.includes('ready') || hasEnded(child), COMMAND_LIMIT_MS);
    return this.output.includes('ready');
  }

  get store(): StoreClient {
    this.#store ??= new StoreClient({ target: `unix://${statePaths(this.state).storeSocket}` });
    return this.#store;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.#process === null || hasEnded(this.#process);
  }

  get exitCode(): number | null {
    return this.#process?.exitCode ?? null;
  }

  /** The lines for people, without the log. */
  get words(): string[] {
    return this.errors.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  }

  /** The processes of the tree but the parent, by role. */
  roles(): Map<string, number> {
    const { stdout } = spawnSync('ps', ['-o', 'pid=,stat=,args=', '--ppid', String(this.pid)], { encoding: 'utf8' });
    const roles = new Map<string, number>();
    for (const line of stdout.split('\n')) {
      const match = /^\s*(\d+)\s+([A-Z])\S*\s+chunkstore (\w+)/.exec(line);
      if (match !== null && match[2] !== 'Z') roles.set(match[3]!, Number(match[1]));
    }
    return roles;
  }

  pidOf(role: TreeRole): number {
    const pid = this.roles().get(role);
    if (pid === undefined) throw new Error(`there is no ${role} process`);
    return pid;
  }

  /** SIGKILL to one role; resolves when another process has its place. */
  async killRole(role: TreeRole): Promise<void> {
    const pid = this.pidOf(role);
    process.kill(pid, 'SIGKILL');
    await eventually(`a new ${role}`, () => (this.roles().get(role) ?? pid) !== pid, 20_000);
  }

  signal(name: NodeJS.Signals): void {
    this.#process?.kill(name);
  }

  async ended(): Promise<void> {
    if (this.#process !== null && !hasEnded(this.#process)) await once(this.#process, 'exit');
  }

  /** Runs an operator command. */
  operate(...words: readonly string[]): { status: number | null; output: string; error: string } {
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...words, '--state', this.state], {
      encoding: 'utf8',
      timeout: COMMAND_LIMIT_MS,
      env: withoutJest(),
    });
    return { status, output: stdout.trim(), error: stderr.trim() };
  }

  /** Loop devices of a pool that are set up. */
  async devicesOf(poolId: string): Promise<string[]> {
    const { devices } = await new LoopDeviceList().read({ timeoutMs: DEVICE_LIMIT_MS });
    return devices.filter(({ fileName }) => fileName.startsWith(`${poolId}.`)).map((device) => device.path);
  }

  /** Ends what still runs, by force if need be, and removes the folder. */
  async end(): Promise<void> {
    this.#store?.close();
    const roles = [...this.roles().values()];
    this.signal('SIGKILL');
    await this.ended();
    await eventually('the roles are gone', () => roles.every((pid) => !isAlive(pid)), 10_000).catch(() => {
      for (const pid of roles) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    });
    const identity = path.join(this.state, 'pool/pool.json');
    if (fs.existsSync(identity)) await clearDevices((JSON.parse(fs.readFileSync(identity, 'utf8')) as { id: string }).id);
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

async function clearDevices(poolId: string): Promise<void> {
  const { devices } = await new LoopDeviceList().read({ timeoutMs: DEVICE_LIMIT_MS });
  for (const { path: devicePath, fileName } of devices) {
    if (fileName.startsWith(`${poolId}.`)) await clearLoopDevice(devicePath, { fileName, timeoutMs: DEVICE_LIMIT_MS, evenInUse: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** jest's own flags are no business of the programs under test. */
function withoutJest(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _nodeOptions, ...environment } = process.env;
  return environment;
}
