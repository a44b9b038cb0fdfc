/** Runs other programs for tests: an argument vector, a time limit, and text on their standard input where they want it. */
import { spawn } from 'node:child_process';
import { describeCommand, lastWords } from '../../../src/util/exec.ts';

export interface RunOptions {
  readonly timeoutMs: number;
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Also shows on standard error what the program says, for those that take minutes. */
  readonly shown?: boolean;
}

export interface RunResult {
  /** -1 when a signal ended it. */
  readonly status: number;
  readonly output: string;
  readonly errorOutput: string;
}

/** Promises how it ended, whatever its status. Fails when it cannot be started or does not end in time; it is killed then. */
export function runAny(program: string, parameters: readonly string[], options: RunOptions): Promise<RunResult> {
  const { promise, resolve, reject } = Promise.withResolvers<RunResult>();
  // A group of its own, so that what it started ends with it.
  const child = spawn(program, parameters, {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...options.environment },
  });
  const output: Buffer[] = [];
  const errorOutput: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => output.push(piece));
  child.stderr.on('data', (piece: Buffer) => {
    errorOutput.push(piece);
    if (options.shown === true) process.stderr.write(piece);
  });
  const result = (status: number) => ({
    status,
    output: Buffer.concat(output).toString('utf8'),
    errorOutput: Buffer.concat(errorOutput).toString('utf8'),
  });

  const timer = setTimeout(() => {
    if (child.pid !== undefined) killGroup(child.pid);
    // Its pipes may be held by a process that cannot be killed.
    child.stdout.destroy();
    child.stderr.destroy();
    child.unref();
    const words = lastWords(result(-1));
    reject(new Error(`${describeCommand(program, parameters)} did not end within ${options.timeoutMs} ms; it said: ${words}`));
  }, options.timeoutMs);
  child.on('error', (cause) => {
    clearTimeout(timer);
    reject(new Error(`${describeCommand(program, parameters)} could not be started: ${cause.message}`, { cause }));
  });
  child.on('close', (status) => {
    clearTimeout(timer);
    resolve(result(status ?? -1));
  });
  // One that ends early does not read all of it.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  return promise;
}

/** The standard output of a program that must succeed. */
export async function run(program: string, parameters: readonly string[], options: RunOptions): Promise<string> {
  const result = await runAny(program, parameters, options);
  if (result.status !== 0) {
    throw new Error(`${describeCommand(program, parameters)} failed with status ${result.status}: ${lastWords(result)}`);
  }
  return result.output;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}
