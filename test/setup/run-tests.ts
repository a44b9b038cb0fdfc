/**
 * Runs the layers of tests one after another, each as a jest process of its own, and closes with one line
 * `N passed, N failed, N skipped` over all of them.
 *
 * What counts as a failure beside a failed test: a test file that cannot be loaded, a layer without a single test, a
 * jest that dies, hangs or does not end, and anything left behind on the machine.
 *
 *   node test/setup/run-tests.ts [LAYER…]
 *
 * TEST_SUMMARY_FILE=PATH writes the closing line there instead of printing it.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { addTotals, describeTotals, readReport, type LayerResult } from './test-totals.ts';

interface Layer {
  readonly name: string;
  /** Of jest.config.js: the layer's own, if not given. */
  readonly projects?: readonly string[];
  readonly timeoutMs: number;
  /** Layers that use the machine's devices have it to themselves. */
  readonly workers: number;
  /** Runs only when it is named. */
  readonly onRequest?: boolean;
}

const minuteMs = 60_000;
const layers: readonly Layer[] = [
  { name: 'unit', timeoutMs: 15 * minuteMs, workers: 2 },
  // Its tests mostly wait, for processes that start.
  { name: 'system', projects: ['system', 'system-alone'], timeoutMs: 30 * minuteMs, workers: 2 },
  { name: 'sanity', timeoutMs: 20 * minuteMs, workers: 1 },
  // Its tests mostly wait, for Kubernetes.
  { name: 'e2e', projects: ['e2e', 'e2e-alone'], timeoutMs: 75 * minuteMs, workers: 3, onRequest: true },
];
const clusterProgram = join(import.meta.dirname, '../e2e/cluster/cluster');
/** Of a test that names no other: for one that hangs, not for one on a busy machine. Jest's own limit is 5 s. */
const testLimitMs = 60_000;
/** How long jest may take to end once its report is written; after that some test has left a handle open. */
const endingLimitMs = 30_000;

const repository = join(import.meta.dirname, '../..');
const leaks = join(import.meta.dirname, 'leaks.sh');

const chosen = chooseLayers(parseArgs({ allowPositionals: true }).positionals);
const stopping = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => stopping.abort(name));
const folder = mkdtempSync(join(tmpdir(), 'test-run-'));
const results: LayerResult[] = [];
try {
  for (const layer of chosen) {
    if (!stopping.signal.aborted) results.push(await runLayer(layer, stopping.signal));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
finish(results);

function chooseLayers(names: readonly string[]): readonly Layer[] {
  const unknown = names.filter((name) => !layers.some((layer) => layer.name === name));
  if (unknown.length > 0) throw new Error(`no such layer: ${unknown.join(', ')}; there are ${layers.map(({ name }) => name).join(', ')}`);
  return names.length === 0 ? layers.filter(({ onRequest }) => onRequest !== true) : layers.filter(({ name }) => names.includes(name));
}

async function runLayer(layer: Layer, stop: AbortSignal): Promise<LayerResult> {
  console.log(`\n== ${layer.name}`);
  const before = join(folder, `${layer.name}-before`);
  writeFileSync(before, spawnSync('sh', [leaks, 'list'], { encoding: 'utf8' }).stdout);

  const reportFile = join(folder, `${layer.name}.json`);
  const keepsCluster = layer.name !== 'e2e' || isClusterUp() || process.env['E2E_KEEP'] === '1';
  const troubles = await runJest({ layer, reportFile, stop });
  // A jest that was killed could not take its cluster down.
  if (!keepsCluster) spawnSync(clusterProgram, ['down'], { stdio: 'inherit', timeout: 5 * minuteMs });
  const result = readReport({ layer: layer.name, text: existsSync(reportFile) ? readFileSync(reportFile, 'utf8') : undefined, troubles });

  // What is kept on purpose is no leak.
  if (layer.name === 'e2e' && keepsCluster) return result;
  const leakCheck = spawnSync('sh', [leaks, 'compare', before], { encoding: 'utf8', timeout: 2 * minuteMs });
  if (leakCheck.status === 0) return result;
  return { ...result, failures: [...result.failures, `${layer.name}: ${leakCheck.stderr.trim() || 'the leak check did not end'}`] };
}

function isClusterUp(): boolean {
  return spawnSync(clusterProgram, ['is-up'], { timeout: minuteMs }).status === 0;
}

/** Promises what went wrong with jest itself; failed tests are in its report. */
function runJest(options: { layer: Layer; reportFile: string; stop: AbortSignal }): Promise<string[]> {
  const { layer, reportFile, stop } = options;
  const { promise, resolve } = Promise.withResolvers<string[]>();
  const troubles: string[] = [];
  const child = spawn(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      join(repository, 'node_modules/jest/bin/jest.js'),
      '--selectProjects',
      ...(layer.projects ?? [layer.name]),
      '--ci',
      `--testTimeout=${testLimitMs}`,
      '--json',
      `--outputFile=${reportFile}`,
      layer.workers === 1 ? '--runInBand' : `--maxWorkers=${layer.workers}`,
    ],
    // A group of its own, so that a jest that hangs goes together with what its tests started. Its standard output holds
    // the report once more; what is meant for people goes to standard error.
    { cwd: repository, stdio: ['ignore', 'ignore', 'inherit'], detached: true },
  );

  const kill = (reason: string) => {
    troubles.push(`${layer.name}: ${reason}`);
    killGroup(child);
  };
  const layerTimer = setTimeout(() => kill(`jest did not end within ${layer.timeoutMs / minuteMs} minutes`), layer.timeoutMs);
  let endingTimer: NodeJS.Timeout | undefined;
  const reportWatch = setInterval(() => {
    if (endingTimer !== undefined || !existsSync(reportFile)) return;
    endingTimer = setTimeout(() => kill('jest did not end after its last test: a test leaves something open'), endingLimitMs);
  }, 1000);
  const onStop = () => kill(`stopped by ${String(stop.reason)}`);
  stop.addEventListener('abort', onStop);

  child.on('error', (error) => troubles.push(`${layer.name}: jest could not be started: ${error.message}`));
  child.on('close', (status, signal) => {
    clearTimeout(layerTimer);
    clearTimeout(endingTimer);
    clearInterval(reportWatch);
    stop.removeEventListener('abort', onStop);
    if (troubles.length === 0 && signal !== null) troubles.push(`${layer.name}: jest was ended by ${signal}`);
    if (troubles.length === 0 && status !== 0 && !existsSync(reportFile)) troubles.push(`${layer.name}: jest failed with status ${status}`);
    resolve(troubles);
  });
  return promise;
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

function finish(all: readonly LayerResult[]): void {
  const totals = addTotals(all);
  const shorten = (text: string) => text.replaceAll(`${repository}/`, '');
  for (const reason of new Set(all.flatMap(({ skipped }) => skipped))) console.log(`SKIPPED ${shorten(reason)}`);
  for (const failure of all.flatMap(({ failures }) => failures)) console.log(`FAILED ${shorten(failure)}`);
  const line = describeTotals(totals);
  const summaryFile = process.env['TEST_SUMMARY_FILE'];
  if (summaryFile === undefined) console.log(`\n${line}`);
  else writeFileSync(summaryFile, `${line}\n`);
  process.exitCode = totals.failed === 0 ? 0 : 1;
}
