/** The thread of hang-watch.ts. It reads nothing of other processes that could make it wait for one that hangs in its exec. */
import fs from 'node:fs';
import { workerData } from 'node:worker_threads';
import type { HangWatchData } from './hang-watch.ts';

const { limitMs, state, text } = workerData as HangWatchData;
const words = new Int32Array(state);
if (Atomics.wait(words, 0, 0, limitMs) === 'timed-out') {
  const children = childrenOf('self');
  const doing = Buffer.from(text).toString('utf8', 0, words[1]);
  const report = [`the run hangs: no end after ${limitMs} ms; ${doing}`, ...ownThreads(), ...children.flatMap(threadsOf)];
  fs.writeSync(2, `${report.join('\n')}\nkilling the processes ${children.join(', ')}\n`);
  for (const child of children) process.kill(child, 'SIGKILL');
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

function threads(id: string): string[] {
  return fs.readdirSync(`/proc/${id}/task`).map((thread) => `/proc/${id}/task/${thread}`);
}

function childrenOf(id: string): number[] {
  return threads(id)
    .flatMap((thread) => read(`${thread}/children`).split(' '))
    .filter((word) => word !== '')
    .map(Number);
}

/** With their stacks in the kernel, where they wait for a device. */
function ownThreads(): string[] {
  return threads('self').flatMap((thread) => {
    const stack = read(`${thread}/stack`);
    return [describe(thread), ...(/submit_bio|fuse|blk|jbd2|ext4|anon_pipe_read/.test(stack) ? [stack] : [])];
  });
}

function threadsOf(child: number): string[] {
  return [`process ${child}`, ...threads(String(child)).map(describe)];
}

function describe(thread: string): string {
  return `${thread} ${read(`${thread}/comm`)}: ${/^State:\s*(.*)$/m.exec(read(`${thread}/status`))?.[1] ?? ''}, ${read(`${thread}/wchan`)}`;
}
