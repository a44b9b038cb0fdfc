/** Runs flips in processes of their own, and starts another one where a flip ended it or kept it from going on. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import type { Flip, FlipOutcome } from './bit-flips.ts';

/** `crash`: the process ended; `hang`: it did not go on within the limit. */
export type ProcessOutcome = FlipOutcome | 'crash' | 'hang';

export interface FlipResult {
  readonly flip: Flip;
  readonly outcome: ProcessOutcome | 'violation';
  readonly words: string;
}

/** Longer than any flip takes on a machine that does much else. */
const limitMs = 30_000;
const program = path.join(import.meta.dirname, 'bit-flip-process.ts');

/** @param folder empty, and removed by the caller */
export async function runFlips(folder: string, flips: readonly Flip[]): Promise<FlipResult[]> {
  const results: FlipResult[] = [];
  while (results.length < flips.length) {
    const rest = flips.slice(results.length);
    const list = path.join(folder, `list-${results.length}.json`);
    fs.writeFileSync(list, JSON.stringify(rest));
    const { lines, ending } = await runProcess(folder, list);
    for (const [index, line] of lines.entries()) {
      const violation = line.startsWith('violation ');
      results.push({
        flip: rest[index]!,
        outcome: violation ? 'violation' : (line as FlipOutcome),
        words: violation ? line.slice(10) : '',
      });
    }
    if (lines.length < rest.length)
      results.push({ flip: rest[lines.length]!, outcome: ending.hung ? 'hang' : 'crash', words: ending.words });
  }
  return results;
}

async function runProcess(
  folder: string,
  list: string,
): Promise<{ readonly lines: string[]; readonly ending: { readonly hung: boolean; readonly words: string } }> {
  const child = spawn(process.execPath, [program, folder, list], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  let errors = '';
  let hung = false;
  const watch = (): NodeJS.Timeout =>
    setTimeout(() => {
      hung = true;
      child.kill('SIGKILL');
    }, limitMs);
  let timer = watch();
  child.stdout.on('data', (data: Buffer) => {
    text += data.toString('utf8');
    clearTimeout(timer);
    timer = watch();
  });
  child.stderr.on('data', (data: Buffer) => void (errors = (errors + data.toString('utf8')).slice(-2_000)));
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => child.once('close', (...end) => resolve(end)));
  clearTimeout(timer);
  return { lines: text.split('\n').slice(0, -1), ending: { hung, words: `status ${code}, signal ${signal}: ${errors}` } };
}
