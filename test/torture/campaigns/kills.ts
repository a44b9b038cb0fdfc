/**
 * Kills the store again and again, at moments chosen in its code (test/support/death-points.ts) and at random ones, under
 * verified loads: writers with a model, fio with crc32c on two volumes, a file system, and snapshots, clones, reverts and
 * deletions all the while. Nothing acknowledged may be lost, no I/O may fail, every cut holds what it must, and `check` is
 * clean at the end. Tells how long I/O paused.
 *
 *   make torture CAMPAIGN=kills SECONDS=120 SEED=1
 *   node test/torture/campaigns/kills.ts --seconds 120 --seed 1 [--moment WORDS]
 *
 * The first is the usual way; the second (after `make build`) dies at chosen moments only.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { DEATH_ORDER_VARIABLE, DEATH_POINTS, type DeathOrder } from '../../support/death-points.ts';
import { eventually } from '../../support/eventually.ts';
import { HangWatch } from '../../support/hang-watch.ts';
import { type KnownSnapshot, ModelledVolume } from '../../support/modelled-volume.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { StoreBed, type BedProcess, type Load } from '../../support/store-bed.ts';

export interface KillsOptions {
  readonly seconds: number;
  readonly seed: number;
  readonly log: (line: string) => void;
  /** Only points whose moment has these words, and no random ones. */
  readonly moment?: string;
}

export interface KillsReport {
  /** Deaths. */
  readonly cases: number;
  /** Deaths at their chosen moment, by moment. */
  readonly moments: ReadonlyMap<string, number>;
  readonly pauses: Pauses;
}

/** In milliseconds: of I/O that waited when the store died once, and the longest wait over several deaths in a row. */
export interface Pauses {
  readonly deaths: number;
  readonly medianMs: number;
  readonly p90Ms: number;
  readonly longestMs: number;
  readonly longestInARowMs: number;
}

const MIB = 2 ** 20;
const STOPPING = ['SIGINT', 'SIGTERM'] as const;
const MODEL_BYTES = 16 * MIB;
const LOAD_BYTES = 48 * MIB;
const FILE_SYSTEM_BYTES = 64 * MIB;
const FILE_MIB = 16;
/** For the begin, the last start and the verification. */
const OVERTIME_MS = 150_000;
const COMMAND_LIMIT_MS = 60_000;
const END_LIMIT_MS = 120_000;
/** A life in which the chosen moment does not come ends at a random one. */
const LIFE_MS = { least: 50, most: 4000 };
const RANDOM_SHARE = 0.2;
const KNOWN_SNAPSHOTS = 4;
const CACHE_PAUSE_MS = 3000;
const MOST_RATES = '--rate_iops=300,300';
const SUPPORT = path.join(import.meta.dirname, '../../support');
const PRELOADED = ['death-points', 'death-at-call'];
const CHECKED_WRITER = path.join(import.meta.dirname, '../../e2e/support/programs/checked-writer.ts');

export async function run(options: KillsOptions): Promise<KillsReport> {
  const campaign = new Kills(options);
  const stop = (signal: NodeJS.Signals): void => campaign.stop(`stopped by ${signal}`);
  for (const signal of STOPPING) process.once(signal, stop);
  try {
    return await campaign.run();
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${replayOf(options)}`, { cause: error });
  } finally {
    await campaign.cleanUp();
    for (const signal of STOPPING) process.off(signal, stop);
  }
}

/** What dies when follows from the seed; where the loads are then does not. */
function replayOf({ seconds, seed, moment }: KillsOptions): string {
  const all = Math.ceil(seconds);
  if (moment === undefined) return `replay: make torture SECONDS=${all} CAMPAIGN=kills SEED=${seed}`;
  return `replay: node test/torture/campaigns/kills.ts --seconds ${all} --seed ${seed} --moment '${moment}'`;
}

interface Death {
  readonly moment: string;
  readonly atMs: number;
  /** It had served since the death before. */
  readonly afterServing: boolean;
}

class Kills {
  readonly #options: KillsOptions;
  readonly #random: SeededRandom;
  readonly #bed = new StoreBed({ poolSize: '768MiB', built: true });
  readonly #deaths: Death[] = [];
  readonly #moments = new Map<string, number>();
  readonly #loads: Load[] = [];
  readonly #preload: string;
  #volume: ModelledVolume | null = null;
  #fileSystem: FileSystem | null = null;
  #store: BedProcess | null = null;
  readonly #watch: HangWatch;
  readonly #stopped = Promise.withResolvers<void>();
  /** Set when the first thing goes wrong; everything ends then. */
  #fault: Error | null = null;
  #ending = false;
  #snapshots = 0;
  #clones = 0;
  #reverts = 0;
  #known: KnownSnapshot[] = [];

  constructor(options: KillsOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.#preload = writePreload(this.#bed.folder);
    this.#watch = new HangWatch({ limitMs: options.seconds * 1000 + OVERTIME_MS });
  }

  /** From outside: it ends soon, as a failure. */
  stop(reason: string): void {
    this.#fail(new Error(reason));
    this.#stopped.resolve();
  }

  async run(): Promise<KillsReport> {
    const { log, seconds } = this.#options;
    this.#watch.tell('campaign', 'begins');
    await this.#begin();
    const endMs = performance.now() + seconds * 1000;
    const controls = this.#drive(() => this.#control());
    const other = this.#drive(() => this.#controlLoad());
    const refusal = await dropCaches(1);
    if (refusal !== null) log(`SKIPPED: the page cache is not dropped in between (${refusal})`);
    const caches = refusal === null ? this.#drive(() => this.#dropSomeCache()) : Promise.resolve();
    await this.#killUntil(endMs);
    this.#ending = true;
    this.#watch.tell('campaign', 'starts the last store');
    await this.#serve();
    this.#watch.tell('campaign', 'waits for what goes on');
    await Promise.all([controls, other, caches]);
    this.#requireNoFault();
    this.#watch.tell('campaign', 'verifies');
    await this.#verifyEnd();
    this.#requireNoFault();
    const report = { cases: this.#deaths.length, moments: this.#moments, pauses: this.#pauses() };
    this.#tell(report);
    return report;
  }

  async cleanUp(): Promise<void> {
    this.#ending = true;
    // What waits for I/O ends only while somebody serves it, or when nobody holds the connections any more.
    if (this.#store?.hasEnded === true) await this.#serve().catch(() => {});
    await this.#fileSystem?.leave();
    this.#volume?.abandon();
    await this.#bed.cleanUp();
    await this.#volume?.stop();
    await this.#watch.stop();
  }

  async #begin(): Promise<void> {
    const bed = this.#bed;
    await bed.startKeeper();
    this.#store = await bed.startStore({ pod: null });
    this.#volume = await ModelledVolume.make(bed, { name: 'model', sizeBytes: MODEL_BYTES, random: this.#random });
    for (const name of ['load-a', 'load-b']) {
      const device = await bed.makeDevice(name, LOAD_BYTES);
      this.#loads.push(bed.load(device, LOAD_BYTES, [MOST_RATES, '--buffered=0']));
    }
    this.#fileSystem = await FileSystem.make(await bed.makeDevice('files', FILE_SYSTEM_BYTES), bed.folder);
  }

  async #killUntil(endMs: number): Promise<void> {
    const { moment } = this.#options;
    const points = DEATH_POINTS.flatMap((point, index) => (moment === undefined || point.moment.includes(moment) ? [index] : []));
    if (points.length === 0) throw new Error(`no point has a moment "${moment}"`);
    let left: number[] = [];
    let afterServing = true;
    await this.#store!.kill();
    this.#deaths.push({ moment: 'random', atMs: Date.now(), afterServing });
    while (performance.now() < endMs && this.#fault === null) {
      if (left.length === 0) left = [...points];
      const chosen = moment === undefined && this.#random.chance(RANDOM_SHARE) ? -1 : left.splice(this.#random.below(left.length), 1)[0]!;
      afterServing = await this.#oneLife(chosen, afterServing);
      this.#look();
    }
    this.#requireNoFault();
  }

  /** Starts a store and sees it die, at the chosen point or at a random moment; answers whether it served. */
  async #oneLife(index: number, servedBefore: boolean): Promise<boolean> {
    const point = DEATH_POINTS[index];
    const order: DeathOrder = {
      main: this.#bed.main,
      point: index,
      call: 1 + this.#random.below(point?.calls ?? 1),
      round: point?.rounds === undefined ? 0 : 1 + this.#random.below(point.rounds),
      checkpointTicks: 1 + this.#random.below(8),
    };
    const environment = { NODE_OPTIONS: `--import=${this.#preload}`, [DEATH_ORDER_VARIABLE]: JSON.stringify(order) };
    this.#watch.tell('campaign', `a store is to die: ${point?.moment ?? 'at random'}`);
    const store = this.#bed.spawnStore({ pod: null, environment });
    this.#store = store;
    const served = store.says('"ready"', { limitMs: END_LIMIT_MS }).then(
      () => true,
      () => false,
    );
    const isServing = await served;
    if (isServing) {
      const lifeMs = point === undefined ? this.#random.between(LIFE_MS.least, LIFE_MS.most) : LIFE_MS.most;
      await Promise.race([store.ended(), delay(lifeMs), this.#stopped.promise]);
    }
    const atItsMoment = store.hasEnded;
    await store.kill();
    const how = await store.ended();
    const moment = atItsMoment && point !== undefined ? point.moment : 'random';
    if (how !== 'SIGKILL' || (atItsMoment && point === undefined)) {
      this.#fail(new Error(`a store ended by itself (${how}; it was to die: ${point?.moment ?? 'at random'}):\n${store.log.slice(-4000)}`));
    }
    this.#moments.set(moment, (this.#moments.get(moment) ?? 0) + 1);
    this.#deaths.push({ moment, atMs: Date.now(), afterServing: servedBefore });
    return isServing;
  }

  /** A store that stays. */
  async #serve(): Promise<void> {
    this.#store = this.#bed.spawnStore({ pod: null });
    await this.#store.says('"ready"', { limitMs: END_LIMIT_MS });
    await this.#bed.untilServed(END_LIMIT_MS);
  }

  /** One thing after another until the end, or the first fault. */
  async #drive(step: () => Promise<void>): Promise<void> {
    try {
      while (!this.#ending && this.#fault === null) await step();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #control(): Promise<void> {
    const volume = this.#volume!;
    const kind = this.#random.weighted({ snapshot: 4, verify: 2, clone: 3, revert: 2 });
    this.#watch.tell('model', kind);
    const source = this.#known.length === 0 ? null : this.#random.pick(this.#known);
    if (kind === 'snapshot' || source === null) await this.#remember(await volume.snapshot(`snapshot-${this.#snapshots++}`));
    else if (kind === 'verify') await volume.verify(source);
    else if (kind === 'clone') {
      const id = await volume.clone(`clone-${this.#clones++}`, this.#random.chance(0.5) ? source : null);
      await this.#bed.again((client) => client.resizeVolume(id, MODEL_BYTES + MIB));
      await this.#bed.again((client) => client.deleteVolume(id));
    } else await this.#remember(await volume.revert(source, `safety-${this.#reverts++}`));
  }

  async #remember(known: KnownSnapshot): Promise<void> {
    this.#known.push(known);
    while (this.#known.length > KNOWN_SNAPSHOTS) {
      const [gone] = this.#known.splice(this.#random.below(this.#known.length), 1);
      await this.#bed.again((client) => client.deleteSnapshot(gone!.id));
    }
  }

  /** What needs no model: the volumes under fio are cut, cloned, and let go again. */
  async #controlLoad(): Promise<void> {
    const bed = this.#bed;
    const name = `passing-${this.#snapshots++}`;
    this.#watch.tell('other', name);
    const loaded = (await bed.again((client) => client.listVolumes())).filter((volume) => volume.name.startsWith('load-'));
    const source = this.#random.pick(loaded);
    const { snapshot } = await bed.again((client) => client.createSnapshot({ name, sourceVolumeId: source.id, attributes: {} }));
    const from = { kind: 'snapshot' as const, id: snapshot.id };
    const request = { name, sizeBytes: LOAD_BYTES, source: from, attributes: {} };
    const { volume } = await bed.again((client) => client.createVolume(request));
    const scratch = { name: `${name}-scratch`, sizeBytes: MIB, source: null, attributes: {} };
    const { volume: empty } = await bed.again((client) => client.createVolume(scratch));
    const safety = { name: `${name}-safety`, attributes: {} };
    const reverted = await bed.again(async (client) => {
      const cut = await client.createSnapshot({ name: `${name}-of-clone`, sourceVolumeId: volume.id, attributes: {} });
      return client.revertVolume({ id: volume.id, snapshotId: cut.snapshot.id, safety });
    });
    const cuts = (await bed.again((client) => client.listSnapshots())).filter((each) => each.name.startsWith(name));
    if (!cuts.some((cut) => cut.id === reverted.safety!.id)) throw new Error(`${safety.name} was answered and is not listed`);
    for (const id of [volume.id, empty.id]) await bed.again((client) => client.deleteVolume(id));
    for (const cut of cuts) await bed.again((client) => client.deleteSnapshot(cut.id));
  }

  async #dropSomeCache(): Promise<void> {
    await delay(CACHE_PAUSE_MS);
    this.#watch.tell('caches', 'drops');
    const refusal = await dropCaches(1 + this.#random.below(3));
    if (refusal !== null) throw new Error(`the kernel does not drop its caches any more: ${refusal}`);
    this.#watch.tell('caches', 'waits');
  }

  /** What goes on besides must be well. */
  #look(): void {
    for (const load of this.#loads) if (!load.isRunning || load.errors !== '') this.#fail(new Error(`fio: ${load.errors}`));
    const faults = [...(this.#volume?.faults ?? []), ...(this.#fileSystem?.faults ?? [])];
    if (faults.length > 0) this.#fail(new Error(faults.join('\n')));
  }

  async #verifyEnd(): Promise<void> {
    const volume = this.#volume!;
    for (const load of this.#loads) {
      const complaints = await load.stop();
      if (complaints !== '') throw new Error(`fio: ${complaints}`);
    }
    await this.#fileSystem!.end();
    await volume.verifyAll();
    for (const known of this.#known) await volume.verify(known);
    await volume.stop();
    if (volume.faults.length > 0) throw new Error(volume.faults.join('\n'));
    const { problems } = await this.#bed.client.check();
    if (problems.length > 0) throw new Error(`check finds: ${problems.join('\n')}`);
  }

  #fail(error: Error): void {
    this.#fault ??= error;
  }

  #requireNoFault(): void {
    if (this.#fault !== null) throw this.#fault;
  }

  #pauses(): Pauses {
    const stalls = this.#volume!.stalls;
    const longestAt = (atMs: number): number =>
      Math.max(0, ...stalls.filter((stall) => stall.atMs <= atMs + 50 && stall.atMs + stall.tookMs >= atMs).map((stall) => stall.tookMs));
    const single: number[] = [];
    let longestInARowMs = 0;
    for (const [index, death] of this.#deaths.entries()) {
      const pauseMs = longestAt(death.atMs);
      longestInARowMs = Math.max(longestInARowMs, pauseMs);
      const nextServes = this.#deaths[index + 1]?.afterServing ?? true;
      if (death.afterServing && nextServes && pauseMs > 0) single.push(pauseMs);
    }
    const sorted = single.toSorted((a, b) => a - b);
    const quantile = (share: number): number => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
    return {
      deaths: sorted.length,
      medianMs: quantile(0.5),
      p90Ms: quantile(0.9),
      longestMs: quantile(1),
      longestInARowMs: Math.round(longestInARowMs),
    };
  }

  #tell({ cases, moments, pauses }: KillsReport): void {
    const { log } = this.#options;
    const chosen = [...moments].filter(([moment]) => moment !== 'random');
    log(`${cases} deaths, ${chosen.reduce((sum, [, count]) => sum + count, 0)} of them at ${chosen.length} chosen moments`);
    for (const [moment, count] of [...moments].toSorted(([a], [b]) => (a < b ? -1 : 1))) log(`  ${count} ${moment}`);
    const missed = DEATH_POINTS.filter((point) => !moments.has(point.moment)).map((point) => point.moment);
    if (missed.length > 0 && missed.length < chosen.length) log(`  never: ${missed.join('; ')}`);
    log(
      `I/O paused ${pauses.medianMs} ms (median of ${pauses.deaths} single deaths), ${pauses.p90Ms} ms (p90), ${pauses.longestMs} ms at most; ` +
        `${pauses.longestInARowMs} ms at most over several deaths in a row`,
    );
    log(
      `${this.#volume!.operations} operations of the model, ${this.#snapshots} snapshots, ${this.#clones} clones, ${this.#reverts} reverts`,
    );
  }
}

/** ext4 with a writer of files of known content (checked-writer.ts). */
class FileSystem {
  readonly #devicePath: string;
  readonly #folder: string;
  #writer: ChildProcess | null = null;
  #output = '';
  #isMounted = false;

  private constructor(devicePath: string, folder: string) {
    this.#devicePath = devicePath;
    this.#folder = path.join(folder, 'files');
  }

  static async make(devicePath: string, folder: string): Promise<FileSystem> {
    const files = new FileSystem(devicePath, folder);
    fs.mkdirSync(files.#folder);
    command('mkfs.ext4', '-q', '-F', devicePath);
    command('mount', '-o', 'errors=remount-ro', devicePath, files.#folder);
    files.#isMounted = true;
    const { NODE_OPTIONS: _nodeOptions, ...env } = process.env;
    const writer = spawn(process.execPath, [CHECKED_WRITER, path.join(files.#folder, 'data'), String(FILE_MIB)], { env });
    files.#writer = writer;
    for (const stream of [writer.stdout, writer.stderr]) stream.on('data', (data: Buffer) => (files.#output += data.toString()));
    await eventually('the writer in the file system writes', () => files.#output.includes('writing'), COMMAND_LIMIT_MS);
    return files;
  }

  get faults(): readonly string[] {
    return this.#writer === null || this.#writer.exitCode === null ? [] : [`the writer in the file system ended: ${this.#output}`];
  }

  /** Everything written is there, and the file system is whole. */
  async end(): Promise<void> {
    const writer = this.#writer!;
    fs.writeFileSync(path.join(this.#folder, 'data.stop'), '');
    if (writer.exitCode === null) await once(writer, 'exit', { signal: AbortSignal.timeout(END_LIMIT_MS) });
    if (writer.exitCode !== 0) throw new Error(`the writer in the file system ended: ${this.#output}`);
    this.#writer = null;
    command('umount', this.#folder);
    this.#isMounted = false;
    command('e2fsck', '-f', '-n', this.#devicePath);
  }

  /** Kills the writer. */
  async leave(): Promise<void> {
    if (this.#writer !== null && this.#writer.exitCode === null) {
      this.#writer.kill('SIGKILL');
      await Promise.race([once(this.#writer, 'exit'), delay(2000)]);
    }
    if (this.#isMounted) spawnSync('umount', ['-l', this.#folder], { timeout: COMMAND_LIMIT_MS });
    this.#isMounted = false;
  }
}

function command(name: string, ...parameters: readonly string[]): void {
  const { status, stderr, stdout } = spawnSync(name, parameters, { encoding: 'utf8', timeout: COMMAND_LIMIT_MS });
  if (status !== 0) throw new Error(`${name} ${parameters.join(' ')}: ${stdout}${stderr}`);
}

/** death-at-call.ts as JavaScript: to take the types out of it at every start of each thread would make all pauses longer. */
function writePreload(folder: string): string {
  const files = PRELOADED.map((name) => {
    const source = fs.readFileSync(path.join(SUPPORT, `${name}.ts`), 'utf8');
    const file = path.join(folder, `${name}.mjs`);
    fs.writeFileSync(file, stripTypeScriptTypes(source).replaceAll(".ts';", ".mjs';"));
    return file;
  });
  return files.at(-1)!;
}

/**
 * Has the kernel drop page cache, inodes and names, in turns, in a process of its own: it may have to wait for volumes.
 * Answers null, or why the kernel does not let us.
 */
async function dropCaches(what: number): Promise<string | null> {
  const child = spawn('sh', ['-c', `echo ${what} > /proc/sys/vm/drop_caches`], { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  const [status] = (await once(child, 'exit', { signal: AbortSignal.timeout(END_LIMIT_MS) })) as [number | null];
  return status === 0 ? null : errors.trim();
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { seconds: { type: 'string' }, seed: { type: 'string' }, moment: { type: 'string' } } });
  const seed = Number(values.seed ?? Date.now() % 2 ** 31);
  const only = values.moment === undefined ? {} : { moment: values.moment };
  await run({ seconds: Number(values.seconds ?? 120), seed, log: (line) => console.log(line), ...only });
}
