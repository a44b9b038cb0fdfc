/**
 * What the demo shows: each step with its time, the space that it cost in the pool, and what was checked. A step that
 * fails ends the demo; the table up to there is still printed.
 */
import { formatBytes, formatTable } from '../../src/operator/output.ts';

/** Something is not what it must be. */
export class CheckFailed extends Error {
  override readonly name = 'CheckFailed';
}

interface Row {
  readonly title: string;
  readonly durationMs: number;
  /** Null where the pool is not there to be asked. */
  readonly usedBytes: number | null;
  readonly costBytes: number | null;
  readonly outcome: string;
}

export interface LedgerPorts {
  readonly print: (line: string) => void;
  readonly nowMs: () => number;
}

export class Ledger {
  readonly #ports: LedgerPorts;
  readonly #rows: Row[] = [];
  #signal: AbortSignal | null = null;
  #usedBytes: (() => Promise<number>) | null = null;
  #lastUsedBytes = 0;
  #checks = 0;

  constructor(ports: LedgerPorts) {
    this.#ports = ports;
  }

  /** How many checks have held. */
  get checks(): number {
    return this.#checks;
  }

  /** From now on the space of each step is asked for here; null: no more. */
  measureSpace(usedBytes: (() => Promise<number>) | null): void {
    this.#usedBytes = usedBytes;
  }

  /** Once it is aborted, no further step begins. */
  endOn(signal: AbortSignal): void {
    this.#signal = signal;
  }

  /** Runs a step; its time is that of `action` alone. */
  async step<Result>(title: string, action: () => Promise<Result>): Promise<Result> {
    return (await this.#run(title, action, 'done')).result;
  }

  /** The same, and answers the change of used space in bytes. */
  async stepWithCost<Result>(
    title: string,
    action: () => Promise<Result>,
  ): Promise<{ readonly result: Result; readonly costBytes: number }> {
    return this.#run(title, action, 'done');
  }

  /** A step that looks: `look` throws CheckFailed through `mustBe` where something is wrong. */
  async check(title: string, look: (mustBe: MustBe) => Promise<void>): Promise<void> {
    const before = this.#checks;
    const mustBe: MustBe = (what, holds) => {
      if (!holds) throw new CheckFailed(`${title}: it does not hold that ${what}`);
      this.#checks += 1;
    };
    await this.#run(
      `  ${title}`,
      () => look(mustBe),
      () => `${this.#checks - before} ok`,
    );
  }

  lines(): string[] {
    return formatTable(this.#rows, [
      { title: 'STEP', text: (row) => row.title },
      { title: 'TIME', text: (row) => formatDuration(row.durationMs), right: true },
      { title: 'SPACE', text: (row) => formatCost(row.costBytes), right: true },
      { title: 'POOL USED', text: (row) => (row.usedBytes === null ? '' : formatBytes(row.usedBytes)), right: true },
      { title: 'RESULT', text: (row) => row.outcome },
    ]);
  }

  async #run<Result>(
    title: string,
    action: () => Promise<Result>,
    outcome: string | (() => string),
  ): Promise<{ readonly result: Result; readonly costBytes: number }> {
    this.#signal?.throwIfAborted();
    const startMs = this.#ports.nowMs();
    try {
      const result = await action();
      const durationMs = this.#ports.nowMs() - startMs;
      const usedBytes = (await this.#usedBytes?.()) ?? null;
      const costBytes = usedBytes === null ? null : usedBytes - this.#lastUsedBytes;
      this.#lastUsedBytes = usedBytes ?? this.#lastUsedBytes;
      this.#add({ title, durationMs, usedBytes, costBytes, outcome: typeof outcome === 'string' ? outcome : outcome() });
      return { result, costBytes: costBytes ?? 0 };
    } catch (error) {
      this.#add({
        title,
        durationMs: this.#ports.nowMs() - startMs,
        usedBytes: null,
        costBytes: null,
        outcome: this.#signal?.aborted === true ? 'interrupted' : 'FAILED',
      });
      throw error;
    }
  }

  #add(row: Row): void {
    this.#rows.push(row);
    const cost = row.costBytes === null ? '' : `, ${formatCost(row.costBytes)}`;
    this.#ports.print(`${row.title}: ${row.outcome} (${formatDuration(row.durationMs)}${cost})`);
  }
}

/** Claims, in words, something that must hold. */
export type MustBe = (what: string, holds: boolean) => void;

function formatDuration(durationMs: number): string {
  if (durationMs < 10) return `${durationMs.toFixed(1)} ms`;
  return durationMs < 10_000 ? `${Math.round(durationMs)} ms` : `${(durationMs / 1000).toFixed(1)} s`;
}

function formatCost(costBytes: number | null): string {
  if (costBytes === null) return '';
  if (costBytes === 0) return '0';
  return `${costBytes < 0 ? '-' : '+'}${formatBytes(Math.abs(costBytes))}`;
}
