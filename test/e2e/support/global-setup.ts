/**
 * Before the tests of this layer: a cluster, the images on its nodes, the packaged chart installed. What is there already
 * is used and kept: a cluster that was up stays up, with the image brought up to date.
 *
 *   KUBECONFIG=FILE        another cluster than our own; it gets images as E2E_LOAD says, and tests that kill are skipped
 *   E2E_LOAD='COMMAND'     loads an image archive into that cluster ("kind load image-archive"); without it, the cluster
 *                          must be able to pull E2E_IMAGE (repository:tag) and E2E_TOOLS_IMAGE
 *   E2E_KEEP=1             leaves cluster and driver up at the end
 *   E2E_BUILD=0            takes the images as they are on the nodes
 *   E2E_INSTALL=0          takes the driver as it is installed, or not
 *   E2E_SOURCE=REVISION    builds the driver from a commit instead of the work tree
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, runAny } from './command.ts';
import { Driver } from './driver.ts';
import { Kube } from './kube.ts';
import { publishSettings, type Settings } from './settings.ts';
import { OwnCluster } from './cluster.ts';
import { takeRunLock } from './run-lock.ts';

const repository = join(import.meta.dirname, '../../..');
const clusterProgram = join(repository, 'test/e2e/cluster/cluster');
const imageProgram = join(repository, 'test/e2e/images/build');
const ownNamespaces = process.env['CLUSTER_NAMESPACE'] ?? 'cse2e';
const clusterFolder = process.env['CLUSTER_DIR'] ?? '/var/lib/chunkstore-e2e';

const secondMs = 1000;
const minuteMs = 60 * secondMs;
/** The modules' first build takes a quarter of an hour on two cores. */
const buildLimitMs = 40 * minuteMs;
const imageLimitMs = 20 * minuteMs;
const upLimitMs = 5 * minuteMs;
const otherRunLimitMs = 30 * minuteMs;

/** What the teardown has to end; in the same process. */
export interface Started {
  readonly settings: Settings;
  readonly proxy: ChildProcess | null;
  readonly ownsCluster: boolean;
  readonly ownsRelease: boolean;
  readonly folder: string;
  readonly endRun: () => void;
}

declare global {
  var chunkstoreE2e: Started | undefined;
}

// oxlint-disable-next-line import/no-default-export -- jest wants it so
export default async function setUp(): Promise<void> {
  const artifacts = join(repository, '.tools/e2e-artifacts', new Date().toISOString().replaceAll(/[:.]/g, '-'));
  const version = (JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { version: string }).version;
  const base = {
    lack: null,
    namespace: 'chunkstore',
    release: 'chunkstore',
    artifacts,
    driverImage: imageNamed(process.env['E2E_IMAGE'] ?? `chunkstore/chunkstore:${version}`),
    toolsImage: process.env['E2E_TOOLS_IMAGE'] ?? 'chunkstore-e2e/tools:1',
  };
  const foreign = process.env['KUBECONFIG'];
  const lacks = foreign === undefined ? await lacksForOwnCluster() : [];
  if (lacks.length > 0) {
    process.stderr.write(`e2e: SKIPPING all tests, because this machine cannot run the cluster: ${lacks.join('; ')}\n`);
    publishSettings({ ...base, ...nowhere, lack: lacks.join('; ') });
    return;
  }
  mkdirSync(artifacts, { recursive: true });
  keepLatest(join(artifacts, '..'));

  const folder = mkdtempSync(join(tmpdir(), 'e2e-'));
  const ownsCluster = foreign === undefined && !(await isUp());
  let proxy: ChildProcess | null = null;
  let endRun = () => {};
  try {
    await step('programs', () => run(clusterProgram, ['build'], { timeoutMs: buildLimitMs, shown: true }));
    const helm = (await run(clusterProgram, ['path', 'helm'], { timeoutMs: minuteMs })).trim();
    const buildsNone = process.env['E2E_BUILD'] === '0' || (foreign !== undefined && loadWords().length === 0);
    const [archives] = await bothOf(
      buildsNone ? Promise.resolve([]) : buildImages(foreign !== undefined),
      ownsCluster ? step('cluster', () => run(clusterProgram, ['up', '2'], { timeoutMs: upLimitMs, shown: true })) : Promise.resolve(''),
    );
    if (foreign === undefined) endRun = await takeRunLock(join(clusterFolder, 'run.lock'), { timeoutMs: otherRunLimitMs });
    await step('images on the nodes', () => loadImages(archives, foreign !== undefined));
    await step('chart', () =>
      run(helm, ['package', join(repository, 'charts/chunkstore'), '--destination', folder], { timeoutMs: minuteMs }),
    );
    if (foreign !== undefined) proxy = await startProxy(foreign, join(folder, 'api.sock'));

    const settings: Settings = {
      ...base,
      prefix: foreign === undefined ? ['nsenter', `--net=/run/netns/${ownNamespaces}`] : [],
      kubeconfig: foreign ?? join(clusterFolder, 'admin.conf'),
      apiSocket: foreign === undefined ? join(clusterFolder, 'api.sock') : join(folder, 'api.sock'),
      ownCluster: foreign === undefined ? { program: clusterProgram } : null,
      helm,
      chart: join(folder, readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? 'no-chart'),
      values: [join(repository, 'test/e2e/values.yaml'), ...(process.env['E2E_VALUES']?.split(',') ?? [])],
    };
    const ownsRelease = process.env['E2E_INSTALL'] !== '0' && (await step('driver', () => installDriver(settings)));
    publishSettings(settings);
    globalThis.chunkstoreE2e = { settings, proxy, ownsCluster, ownsRelease, folder, endRun };
  } catch (error) {
    proxy?.kill();
    endRun();
    if (ownsCluster && !isKept()) await runAny(clusterProgram, ['down'], { timeoutMs: upLimitMs, shown: true });
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

export function isKept(): boolean {
  return process.env['E2E_KEEP'] === '1';
}

const nowhere = { prefix: [], kubeconfig: '', apiSocket: '', ownCluster: null, helm: '', chart: '', values: [] } as const;

async function lacksForOwnCluster(): Promise<string[]> {
  const answers = await Promise.all([clusterProgram, imageProgram].map((program) => runAny(program, ['lacks'], { timeoutMs: minuteMs })));
  return answers.flatMap(({ output }) => output.split('\n').filter((line) => line !== ''));
}

async function isUp(): Promise<boolean> {
  return (await runAny(clusterProgram, ['is-up'], { timeoutMs: minuteMs })).status === 0;
}

/** Builds what is out of date, one after another; answers the archives. Another cluster pulls the sidecars. */
async function buildImages(foreign: boolean): Promise<readonly string[]> {
  const archives: string[] = [];
  for (const image of foreign ? ['tools', 'driver'] : ['sidecars', 'tools', 'driver']) {
    const printed = await step(`image: ${image}`, () => run(imageProgram, [image], { timeoutMs: imageLimitMs, shown: true }));
    archives.push(...printed.trim().split('\n'));
  }
  return archives;
}

/** Another cluster gets them as E2E_LOAD says. */
async function loadImages(archives: readonly string[], foreign: boolean): Promise<void> {
  const [program = clusterProgram, ...parameters] = foreign ? loadWords() : [clusterProgram, 'image'];
  for (const archive of archives) await run(program, [...parameters, archive], { timeoutMs: imageLimitMs });
}

function loadWords(): readonly string[] {
  return process.env['E2E_LOAD']?.split(' ') ?? [];
}

/**
 * Installs the driver, or brings one that is there to this chart and image. Answers whether it was not there before.
 * An image of the same name may have new content, so pods of an earlier one are replaced.
 */
async function installDriver(settings: Settings): Promise<boolean> {
  const kube = new Kube(settings);
  const cluster = settings.ownCluster === null ? null : new OwnCluster({ program: settings.ownCluster.program, kube });
  const driver = new Driver({ kube, settings, cluster });
  const status = await kube.helm(['status', settings.release, `--namespace=${settings.namespace}`], { timeoutMs: minuteMs });
  const wasThere = status.status === 0;
  const hasSnapshotController =
    !wasThere && (await kube.api.list('CustomResourceDefinition')).some(({ metadata }) => metadata.name === snapshotCrd);
  const result = await driver.install(
    ...(hasSnapshotController && settings.ownCluster === null ? ['snapshotController.enabled=false'] : []),
  );
  if (result.status !== 0) {
    const pods = await kube.kubectlAny(['get', 'pods', `--namespace=${settings.namespace}`, '--output=wide']);
    throw new Error(`helm could not install the driver: ${result.errorOutput}\n${pods.output}`);
  }
  if (wasThere && process.env['E2E_BUILD'] !== '0') await driver.restartAll();
  await driver.waitUntilReady();
  return !wasThere;
}

const snapshotCrd = 'volumesnapshots.snapshot.storage.k8s.io';

/** The way to the API server of a cluster that is not our own. */
async function startProxy(kubeconfig: string, socket: string): Promise<ChildProcess> {
  const child = spawn('kubectl', ['proxy', `--unix-socket=${socket}`, '--disable-filter=true'], {
    stdio: 'ignore',
    env: { ...process.env, KUBECONFIG: kubeconfig },
  });
  const deadline = performance.now() + 30 * secondMs;
  while (!existsSync(socket)) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`kubectl proxy does not run with ${kubeconfig}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return child;
}

function imageNamed(name: string): { readonly repository: string; readonly tag: string } {
  const [, repository = name, tag = 'latest'] = /^(.+?)(?::([\w.-]+))?$/.exec(name) ?? [];
  return { repository, tag };
}

/** Both results; and where one fails, that failure, but only when the other is over too. */
async function bothOf<One, Other>(one: Promise<One>, other: Promise<Other>): Promise<[One, Other]> {
  await Promise.allSettled([one, other]);
  return Promise.all([one, other]);
}

async function step<Result>(name: string, action: () => Promise<Result>): Promise<Result> {
  const start = performance.now();
  const result = await action();
  process.stderr.write(`e2e: ${name}: ${((performance.now() - start) / secondMs).toFixed(1)} s\n`);
  return result;
}

/** The artifacts of a few runs are enough. */
function keepLatest(folder: string): void {
  const runs = readdirSync(folder).sort();
  for (const name of runs.slice(0, -runsKept)) rmSync(join(folder, name), { recursive: true, force: true });
}

const runsKept = 5;
