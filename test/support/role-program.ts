/** One role from source, as the first process of a container runs it: no parent, its flags, signals. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { eventually } from './eventually.ts';

const MAIN = path.join(import.meta.dirname, '../../src/main.ts');
const START_LIMIT_MS = 20_000;

export interface RoleProgram {
  readonly process: ChildProcess;
  /** Lines of standard error: its log, and words for people. */
  readonly lines: readonly string[];
  /** Resolves with its exit status, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  ready(): Promise<void>;
}

export function startRoleProgram(...words: readonly string[]): RoleProgram {
  const { NODE_OPTIONS: _flags, CHUNKSTORE_PARENT_PID: _parent, ...env } = process.env;
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'ignore', 'pipe'], env });
  const lines: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => lines.push(...text.split('\n').filter((line) => line !== '')));
  const ended = once(child, 'exit').then(([status, signal]) => (status ?? signal) as number | string);
  return {
    process: child,
    lines,
    ended,
    ready: () =>
      eventually(
        'the role is ready',
        () => {
          if (child.exitCode !== null) throw new Error(`it ended: ${lines.join('\n')}`);
          return lines.some((line) => line.includes('"msg":"ready"'));
        },
        START_LIMIT_MS,
      ),
  };
}

/** A port of this machine that nobody uses at this moment. */
export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
