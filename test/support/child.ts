/** A child process of a test: started on a TypeScript file, waited for by a line that it prints, ended with the test. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import path from 'node:path';

export interface Child {
  readonly process: ChildProcess;
  /** Lines printed so far, on standard output and standard error. */
  readonly lines: readonly string[];
  /** Kills it, if it is still there, and waits for its end. */
  kill(): Promise<void>;
  /** Closes its standard input and waits for its end; answers its exit status. */
  end(): Promise<number | null>;
}

/** `descriptors` become its numbers 3, 4 and so on. Waits for the line `readyLine`. */
export async function startChild(
  file: string,
  options: {
    readonly parameters: readonly string[];
    readonly readyLine?: string;
    readonly descriptors?: readonly number[];
    /** It leads a process group of its own, so that a test can kill it with all that it has started. */
    readonly ownGroup?: boolean;
  },
): Promise<Child> {
  const script = path.join(import.meta.dirname, file);
  const stdio: StdioOptions = ['pipe', 'pipe', 'pipe', ...(options.descriptors ?? [])];
  const child = spawn(process.execPath, [script, ...options.parameters], { stdio, detached: options.ownGroup === true });
  const lines: string[] = [];
  const ready = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      if (line === options.readyLine) ready.resolve();
    });
  }
  const ended = once(child, 'exit');
  // A run that is over ends, also when a test forgot its child.
  child.unref();
  void ended.then(() => ready.reject(new Error(`${file} ended: ${lines.join('\n')}`)));
  if (options.readyLine === undefined) ready.resolve();
  ready.promise.catch(() => {});
  await ready.promise;
  return {
    process: child,
    lines,
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    async end() {
      child.stdin?.end();
      await ended;
      return child.exitCode;
    },
  };
}
