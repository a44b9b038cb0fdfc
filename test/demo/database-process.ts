/** The demo's database at work: test/demo/database.ts as a process that can be watched, and ends within a limit. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { eventually } from '../support/eventually.ts';
import { hasEnded } from '../support/process-end.ts';
import { commandOf } from './programs.ts';

const limitMs = 30_000;

export class DatabaseWriter {
  readonly #process: ChildProcess;
  #committed = 0;
  #errors = '';

  constructor(file: string) {
    const [program, ...words] = commandOf('database.ts');
    this.#process = spawn(program, [...words, 'write', file], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    createInterface({ input: this.#process.stdout! }).on('line', (line) => {
      this.#committed = Number(line);
    });
    this.#process.stderr!.on('data', (data: Buffer) => {
      this.#errors += data.toString('utf8');
    });
    // Where it has ended already, its status tells.
    this.#process.stdin!.on('error', () => {});
  }

  /** The newest transaction that is known to be committed. */
  get committed(): number {
    return this.#committed;
  }

  async waitFor(transactions: number): Promise<void> {
    await eventually(
      `the database commits ${transactions} transactions`,
      () => {
        if (this.#process.exitCode !== null) throw new Error(`the database's writer ended: ${this.#errors}`);
        return this.#committed >= transactions;
      },
      limitMs,
    );
  }

  /** Lets it finish its transaction and close; fails when it had failed before. */
  async stop(): Promise<void> {
    this.#process.stdin!.end();
    await this.#ended(limitMs);
    if (this.#process.exitCode !== 0) throw new Error(`the database's writer ended with status ${this.#process.exitCode}: ${this.#errors}`);
  }

  /** For the clean-up: gone at once, whatever it does. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended(5_000).catch(() => {});
  }

  async #ended(withinMs: number): Promise<void> {
    if (hasEnded(this.#process)) return;
    await once(this.#process, 'close', { signal: AbortSignal.timeout(withinMs) });
  }
}
