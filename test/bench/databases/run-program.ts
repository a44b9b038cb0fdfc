/** Runs a program of a database to its end. */
import { execFile } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

export interface RunOptions {
  readonly limitMs: number;
  /** Ends it by force. */
  readonly signal: AbortSignal;
  readonly uid?: number;
  readonly gid?: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

const outputLimitBytes = 256 * 2 ** 20;
/** How long a killed program may take to end. */
const endLimitMs = 10_000;

/** Answers what it printed; fails with what it said. When it fails, the program has ended: its files are closed. */
export async function runProgram(program: string, words: readonly string[], { limitMs, ...options }: RunOptions): Promise<string> {
  const limits = { timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: outputLimitBytes } as const;
  const running = promisify(execFile)(program, words, { ...limits, ...options });
  const closed = new Promise((resolve) => running.child.once('close', resolve));
  try {
    return (await running).stdout;
  } catch (error) {
    await Promise.race([closed, delay(endLimitMs, undefined, { ref: false })]);
    throw error;
  }
}
