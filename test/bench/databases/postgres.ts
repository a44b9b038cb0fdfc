/**
 * PostgreSQL under pgbench's own transactions (TPC-B like), with the settings that it comes with but for a shorter log. The
 * server runs only while a load does, as an ordinary user, and is reached through a socket in a folder of its own, never
 * over the network.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { endsWithin } from '../../support/process-end.ts';
import type { Database, DatabaseKind, DatabaseOptions } from './database.ts';
import { findPostgres, type PostgresPrograms } from './postgres-programs.ts';
import { runProgram } from './run-program.ts';
import type { Transaction } from './transactions.ts';

/** Of pgbench's tables: 100,000 accounts each, some 16 MB. */
const scale = 10;
const clients = 8;
const threads = 2;
const setUpLimitMs = 120_000;
const startLimitMs = 60_000;
/** A fast shutdown writes a checkpoint. */
const stopLimitMs = 60_000;
const killLimitMs = 10_000;
/** Beyond the time of the load. */
const marginMs = 60_000;

export const postgresKind: DatabaseKind = {
  name: 'postgresql-pgbench',
  lack: () => {
    const found = findPostgres();
    return typeof found === 'string' ? found : undefined;
  },
  make: async (options) => {
    const programs = findPostgres();
    if (typeof programs === 'string') throw new Error(programs);
    const server = new PostgresServer(programs, options);
    options.atEnd(() => server.end());
    await server.make();
    return server;
  },
};

class PostgresServer implements Database {
  readonly #programs: PostgresPrograms;
  readonly #data: string;
  readonly #signal: AbortSignal;
  /** Sockets have short names, and folders of measurements long ones. Only the database's user and root may enter. */
  readonly #socketFolder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-postgres-'));
  #server: ChildProcess | null = null;

  constructor(programs: PostgresPrograms, { folder, signal }: DatabaseOptions) {
    this.#programs = programs;
    this.#data = path.join(folder, 'data');
    this.#signal = signal;
  }

  async make(): Promise<void> {
    const { uid, gid } = this.#programs.user;
    fs.mkdirSync(this.#data, { mode: 0o700 });
    for (const folder of [this.#data, this.#socketFolder]) fs.chownSync(folder, uid, gid);
    const words = [`--pgdata=${this.#data}`, '--username=postgres', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-instructions'];
    await this.#run('initdb', words, { limitMs: setUpLimitMs });
    await this.#whileServed(() =>
      this.#run('pgbench', [...this.#connection(), '--initialize', '--quiet', `--scale=${scale}`], { limitMs: setUpLimitMs }),
    );
  }

  async load({ seconds, begins }: Parameters<Database['load']>[0]): Promise<readonly Transaction[]> {
    const prefix = path.join(this.#socketFolder, 'transactions');
    const load = [`--client=${clients}`, `--jobs=${threads}`, `--time=${seconds}`, '--protocol=prepared', '--no-vacuum'];
    const words = [...this.#connection(), ...load, '--log', `--log-prefix=${prefix}`];
    await this.#whileServed(() => {
      begins();
      return this.#run('pgbench', words, { limitMs: seconds * 1000 + marginMs });
    });
    const transactions: Transaction[] = [];
    for (const name of fs.readdirSync(this.#socketFolder).filter((entry) => entry.startsWith('transactions.'))) {
      const file = path.join(this.#socketFolder, name);
      for (const line of fs.readFileSync(file, 'utf8').split('\n')) if (line !== '') transactions.push(readLogLine(line));
      fs.rmSync(file);
    }
    return transactions;
  }

  /** Whatever it is doing. */
  async end(): Promise<void> {
    await this.#stop();
    fs.rmSync(this.#socketFolder, { recursive: true, force: true });
  }

  async #whileServed(use: () => Promise<void>): Promise<void> {
    await this.#start();
    try {
      await use();
    } finally {
      await this.#stop();
    }
  }

  async #start(): Promise<void> {
    this.#signal.throwIfAborted();
    const settings = { listen_addresses: '', unix_socket_directories: this.#socketFolder, max_wal_size: '512MB', lc_messages: 'C' };
    const words = ['-D', this.#data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
    // In a group of its own, so that Ctrl-C reaches only us, and it ends in order.
    const server = spawn(path.join(this.#programs.folder, 'postgres'), words, {
      ...this.#processOptions(),
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    this.#server = server;
    let said = '';
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.stderr.on('data', (data: Buffer) => {
      // It goes on to talk; nobody needs more than why it did not start.
      if (said.length < 65_536) said += data.toString();
      if (said.includes('ready to accept connections')) resolve();
    });
    server.once('error', reject);
    server.once('close', () => reject(new Error(`postgres ended:\n${said}`)));
    const timer = setTimeout(() => reject(new Error(`postgres was not ready within ${startLimitMs / 1000} s:\n${said}`)), startLimitMs);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** SIGINT: clients are sent away, a checkpoint is written. SIGQUIT: without that; its other processes end, too. */
  async #stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null || server.pid === undefined) return;
    for (const [signal, limitMs] of [
      ['SIGINT', stopLimitMs],
      ['SIGQUIT', killLimitMs],
      ['SIGKILL', killLimitMs],
    ] as const) {
      server.kill(signal);
      if (await endsWithin(server, limitMs)) return;
    }
    throw new Error(`postgres (process ${server.pid}) does not end`);
  }

  async #run(program: string, words: readonly string[], { limitMs }: { readonly limitMs: number }): Promise<void> {
    await runProgram(path.join(this.#programs.folder, program), words, { ...this.#processOptions(), limitMs, signal: this.#signal });
  }

  #processOptions() {
    return { ...this.#programs.user, cwd: this.#socketFolder, env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', HOME: this.#socketFolder } };
  }

  #connection(): string[] {
    return [`--host=${this.#socketFolder}`, '--username=postgres'];
  }
}

/** `client transaction latency_us script epoch_s epoch_us`, as "Per-Transaction Logging" of pgbench's manual has it. */
function readLogLine(line: string): Transaction {
  const [, , latencyUs, , seconds, microseconds] = line.split(' ').map(Number);
  return { endMs: seconds! * 1000 + microseconds! / 1000, latencyUs: latencyUs! };
}
