/**
 * Runs campaigns one after another, each in a process of its own, so that one that hangs or takes its process down
 * costs the others nothing.
 */
import { fork } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { CampaignMessage } from './campaign-process.ts';
import { replayLine } from './campaign.ts';

export interface CampaignRun {
  readonly name: string;
  readonly cases: number;
  readonly seconds: number;
  /** What it failed with, and the line that runs the failed case again. */
  readonly failure: string | null;
}

export interface RunOptions {
  readonly files: readonly string[];
  /** For all of them together; each gets the same share. */
  readonly seconds: number;
  readonly seed: number;
  readonly log: (line: string) => void;
  /** A campaign that needs this much longer than its share hangs. */
  readonly patienceSeconds?: number;
  readonly stop?: AbortSignal;
}

const defaultPatienceSeconds = 300;
/** How long a campaign that is told to end may take to clean up. */
const endingLimitMs = 30_000;

export function campaignFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => join(folder, name));
}

export function campaignName(file: string): string {
  return basename(file, '.ts');
}

export async function runCampaigns(options: RunOptions): Promise<CampaignRun[]> {
  const runs: CampaignRun[] = [];
  for (const file of options.files) {
    if (options.stop?.aborted) break;
    const run = await runCampaign(file, { ...options, seconds: options.seconds / options.files.length });
    options.log(describeRun(run, options.seed));
    runs.push(run);
  }
  return runs;
}

export function describeRun(run: CampaignRun, seed: number): string {
  const spent = `${run.seconds.toFixed(1)} s, seed ${seed}`;
  return run.failure === null ? `${run.name}: ${run.cases} cases in ${spent}` : `${run.name}: FAILED after ${spent}\n${run.failure}`;
}

async function runCampaign(file: string, options: RunOptions): Promise<CampaignRun> {
  const { seconds, seed, log, stop } = options;
  const name = campaignName(file);
  const child = fork(join(import.meta.dirname, 'campaign-process.ts'), [file, '--seconds', String(seconds), '--seed', String(seed)]);
  let end: CampaignMessage | null = null;
  let killed: string | null = null;
  child.on('message', (message: CampaignMessage) => {
    if ('line' in message) log(`${name}: ${message.line}`);
    else end = message;
  });
  const timers: NodeJS.Timeout[] = [];
  const kill = (reason: string): void => {
    killed ??= reason;
    child.kill('SIGTERM');
    timers.push(setTimeout(() => child.kill('SIGKILL'), endingLimitMs));
  };
  const patienceSeconds = options.patienceSeconds ?? defaultPatienceSeconds;
  timers.push(setTimeout(() => kill(`it did not end within ${patienceSeconds} s after its time`), (seconds + patienceSeconds) * 1000));
  const onStop = (): void => kill('stopped');
  stop?.addEventListener('abort', onStop);
  const exit = await new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('exit', (status, signal) => resolve(signal === null ? `status ${status}` : signal));
  });
  for (const timer of timers) clearTimeout(timer);
  stop?.removeEventListener('abort', onStop);
  return judge({ name, seed, seconds, end, trouble: killed ?? `its process ended with ${exit}` });
}

function judge(options: {
  readonly name: string;
  readonly seed: number;
  readonly seconds: number;
  readonly end: CampaignMessage | null;
  readonly trouble: string;
}): CampaignRun {
  const { name, seed, end } = options;
  if (end !== null && 'cases' in end && end.cases > 0) return { name, cases: end.cases, seconds: end.seconds, failure: null };
  const failure = end === null ? options.trouble : 'failure' in end ? end.failure : 'it did no case at all';
  const replay = failure.includes('replay:') ? '' : `\n${replayLine({ campaign: name, seed })}`;
  return { name, cases: 0, seconds: end !== null && 'seconds' in end ? end.seconds : options.seconds, failure: failure + replay };
}
