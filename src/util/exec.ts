/**
 * Runs other programs: an argument vector (never a shell), a time limit, captured output. A program that cannot be
 * killed (waiting for a device) is given up at the limit, so that its caller always gets an answer.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { StoreError, type ErrorCode } from './errors.ts';

export interface CommandOptions {
  readonly timeoutMs: number;
  /** Exit statuses that are an answer, not a failure; [0] by default. */
  readonly expectedStatuses?: readonly number[];
  /** The code of the error for every other status; 'unavailable' by default. */
  readonly failureCode?: ErrorCode;
}

export interface CommandResult {
  readonly status: number;
  /** At most 1 MiB each; the rest is dropped. */
  readonly output: string;
  readonly errorOutput: string;
}

/**
 * Promises the result once the program has ended with an expected status. Errors: `failed-precondition` when it is not
 * installed, `unavailable` when it did not end in time (it is killed, and left behind when it does not die), otherwise
 * `failureCode` with the last lines that it printed. Messages are in English whatever the machine's locale.
 */
export function runCommand(program: string, parameters: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const { promise, resolve, reject } = Promise.withResolvers<CommandResult>();
  const commandLine = describeCommand(program, parameters);
  const child = spawn(program, parameters, {
    stdio: ['ignore', 'pipe', 'pipe'],
    // A process group of its own, so that what the program started ends with it.
    detached: true,
    env: { ...process.env, LC_ALL: 'C', PATH: programPath() },
  });
  const output = capture(child, 'stdout');
  const errorOutput = capture(child, 'stderr');

  const timer = setTimeout(() => {
    killGroup(child);
    abandon(child);
    reject(new StoreError('unavailable', `${commandLine} did not finish within ${options.timeoutMs} ms`));
  }, options.timeoutMs);

  child.on('error', (cause) => {
    clearTimeout(timer);
    const missing = 'code' in cause && cause.code === 'ENOENT';
    reject(
      missing
        ? new StoreError('failed-precondition', `the program ${program} is not installed on this node; install it`, { cause })
        : new StoreError('unavailable', `${commandLine} could not be started: ${cause.message}`, { cause }),
    );
  });
  child.on('close', (status, signal) => {
    clearTimeout(timer);
    const result = { status: status ?? -1, output: output(), errorOutput: errorOutput() };
    if ((options.expectedStatuses ?? [0]).includes(result.status)) {
      resolve(result);
      return;
    }
    const ending = signal === null ? `failed with status ${result.status}` : `was ended by ${signal}`;
    reject(new StoreError(options.failureCode ?? 'unavailable', `${commandLine} ${ending}: ${lastWords(result)}`));
  });
  return promise;
}

/** The command as a person would type it. */
export function describeCommand(program: string, parameters: readonly string[]): string {
  return [program, ...parameters].map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ');
}

/** What the program said at the end, on one line, for an error message. */
export function lastWords(result: Pick<CommandResult, 'output' | 'errorOutput'>): string {
  const said = result.errorOutput.trim() === '' ? result.output : result.errorOutput;
  // Some explain all their options after the reason, which would hide it.
  const reason =
    said
      .split(/^usage:/im, 1)
      .join('')
      .trim() || said;
  const lines = reason.split('\n').map((line) => line.trim());
  const last = lines.filter((line) => line !== '').slice(-lastWordsLines);
  return last.join('; ').slice(-lastWordsLength) || 'it said nothing';
}

function capture(child: ChildProcess, name: 'stdout' | 'stderr'): () => string {
  const pieces: Buffer[] = [];
  let sizeBytes = 0;
  child[name]?.on('data', (piece: Buffer) => {
    if (sizeBytes >= outputLimitBytes) return;
    pieces.push(piece.subarray(0, outputLimitBytes - sizeBytes));
    sizeBytes += piece.length;
  });
  return () => Buffer.concat(pieces).toString('utf8');
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

/** Lets go of a process that may never end, so that it keeps neither our event loop nor its pipes alive. */
function abandon(child: ChildProcess): void {
  child.stdout?.destroy();
  child.stderr?.destroy();
  child.unref();
}

/** File system programs stand in sbin, which a service's PATH often lacks. */
function programPath(): string {
  return `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin:/usr/local/sbin`;
}

const outputLimitBytes = 1024 * 1024;
const lastWordsLines = 4;
const lastWordsLength = 600;
