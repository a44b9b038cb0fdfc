/**
 * The operator commands: each asks a running store and prints what it did. Results go to standard output; a failure is
 * one line on standard error and status 1, a finding of `check` or `scrub` too.
 */
import path from 'node:path';
import { statePaths } from '../local/state-paths.ts';
import { KeeperClients, makeLoopDevices } from '../roles/node.ts';
import { UsageError, type Config } from '../config.ts';
import { StoreClient } from '../store/wire/client.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { printCheck } from './check-report.ts';
import { defragment } from './defragment.ts';
import { findObject, listObjects, ofSnapshot, ofVolume, type FoundObject } from './find.ts';
import { formatBytes, formatTable, formatTime, printResult, counted } from './output.ts';
import { scrub } from './scrub.ts';
import { drawTree } from './tree.ts';

interface Context {
  readonly config: Config;
  readonly store: StoreClient;
  readonly log: Logger;
  /** Prints lines for people, or the document for scripts. */
  readonly print: (lines: readonly string[], document: unknown) => void;
}

type Command = (context: Context) => Promise<void>;

export const OPERATOR_COMMANDS: Readonly<Record<string, Command>> = {
  list,
  space,
  create,
  delete: remove,
  snapshot,
  clone,
  revert,
  resize,
  attach,
  detach,
  check,
  scrub: ({ config, store }) => scrub(config, store),
  defragment: ({ config, store }) => defragment(config, store),
};

/** Runs an operator command against the store that the flags name. */
export async function runOperatorCommand(config: Config, log: Logger): Promise<void> {
  const command = OPERATOR_COMMANDS[config.command];
  if (command === undefined) throw new UsageError(`${config.command} is no operator command`);
  const store = new StoreClient({ target: storeTarget(config) });
  try {
    await command({ config, store, log, print: (lines, document) => printResult(config, lines, document) });
  } finally {
    store.close();
  }
}

function storeTarget(config: Config): string {
  const endpoint = config.flags.optionalText('endpoint');
  if (endpoint !== null) return endpoint;
  return `unix://${statePaths(stateOf(config)).storeSocket}`;
}

function stateOf(config: Config): string {
  const state = config.flags.optionalText('state');
  if (state === null)
    throw new UsageError(`${config.command}: give --state DIR of a running "chunkstore local", or --endpoint unix:///…/store.sock`);
  return path.resolve(state);
}

async function list({ store, print }: Context): Promise<void> {
  const objects = await listObjects(store);
  const lines = formatTable(drawTree(objects), [
    { title: 'NAME', text: ({ item, prefix }) => prefix + item.name },
    { title: 'KIND', text: ({ item }) => item.kind },
    { title: 'SIZE', text: ({ item }) => formatBytes(item.sizeBytes), right: true },
    { title: 'CREATED', text: ({ item }) => formatTime(item.createdAtMs) },
    { title: 'ATTACHED', text: ({ item }) => (item.attached ? 'yes' : '') },
    { title: 'ID', text: ({ item }) => item.id },
  ]);
  print(objects.length === 0 ? ['no volumes'] : lines, objects);
}

async function space({ store, print }: Context): Promise<void> {
  const [pool, objects, usages] = await Promise.all([store.getPool(), listObjects(store), store.listUsage()]);
  const usageOf = new Map(usages.map((usage) => [usage.id, usage]));
  const lines = drawTree(objects).map(({ item, prefix }) => {
    const { usedBytes, exclusiveBytes } = usageOf.get(item.id) ?? { usedBytes: 0, exclusiveBytes: 0 };
    const { name, id, kind, sizeBytes } = item;
    return {
      prefix,
      row: { name, id, kind, provisionedBytes: sizeBytes, usedBytes, exclusiveBytes, sharedBytes: usedBytes - exclusiveBytes },
    };
  });
  const total = [
    `pool ${pool.id} on ${pool.node}, chunks of ${formatBytes(pool.chunkSizeBytes)}`,
    `size ${formatBytes(pool.sizeBytes)}, used ${formatBytes(pool.usedBytes)}${pool.counted ? '' : ' or less (still counting)'}, free ${formatBytes(pool.freeBytes)}`,
    `provisioned ${formatBytes(pool.provisionedBytes)} of ${formatBytes(pool.provisionLimitBytes)} in ${counted(pool.volumes, 'volume')}; ${counted(pool.snapshots, 'snapshot')}`,
    ...(pool.lost ? ['declared lost: nothing is made from it or attached until spec.lost of its ChunkStorePool is false'] : []),
    ...(pool.parkedWrites > 0 ? [`${counted(pool.parkedWrites, 'write')} waiting for room`] : []),
  ];
  const table = formatTable(lines, [
    { title: 'NAME', text: ({ prefix, row }) => prefix + row.name },
    { title: 'KIND', text: ({ row }) => row.kind },
    { title: 'PROVISIONED', text: ({ row }) => formatBytes(row.provisionedBytes), right: true },
    { title: 'USED', text: ({ row }) => formatBytes(row.usedBytes), right: true },
    { title: 'EXCLUSIVE', text: ({ row }) => formatBytes(row.exclusiveBytes), right: true },
    { title: 'SHARED', text: ({ row }) => formatBytes(row.sharedBytes), right: true },
  ]);
  print([...total, ...(lines.length === 0 ? [] : ['', ...table])], { pool, objects: lines.map(({ row }) => row) });
}

async function create({ config, store, print }: Context): Promise<void> {
  const name = word(config, 0);
  const { volume, existed } = await store.createVolume({ name, sizeBytes: config.flags.sizeBytes('size'), source: null, attributes: {} });
  if (existed) throw new StoreError('already-exists', `there is a volume ${JSON.stringify(name)} already: ${volume.id}`);
  printObject(print, 'created', ofVolume(volume));
}

async function remove({ config, store, print }: Context): Promise<void> {
  const object = await findObject(store, word(config, 0), null);
  if (object.kind === 'volume') await store.deleteVolume(object.id);
  else await store.deleteSnapshot(object.id);
  printObject(print, 'deleted', object);
}

async function snapshot({ config, store, print }: Context): Promise<void> {
  const source = await findObject(store, word(config, 0), 'volume');
  const name = word(config, 1);
  const answer = await store.createSnapshot({ name, sourceVolumeId: source.id, attributes: {} });
  if (answer.existed) throw new StoreError('already-exists', `there is a snapshot ${JSON.stringify(name)} already: ${answer.snapshot.id}`);
  printObject(print, 'created', ofSnapshot(answer.snapshot));
}

async function clone({ config, store, print }: Context): Promise<void> {
  const source = await findObject(store, word(config, 0), null);
  const name = word(config, 1);
  // What the source is formatted with, its clone is too.
  const request = {
    name,
    sizeBytes: config.flags.optionalSizeBytes('size') ?? 0,
    source: { kind: source.kind, id: source.id },
    attributes: source.attributes,
  };
  const { volume, existed } = await store.createVolume(request);
  if (existed) throw new StoreError('already-exists', `there is a volume ${JSON.stringify(name)} already: ${volume.id}`);
  printObject(print, 'created', ofVolume(volume));
}

async function revert({ config, store, print }: Context): Promise<void> {
  const volume = await findObject(store, word(config, 0), 'volume');
  const target = await findObject(store, word(config, 1), 'snapshot');
  const safety = config.flags.has('no-safety-snapshot') ? null : { name: config.flags.optionalText('safety-name') ?? '', attributes: {} };
  const answer = await store.revertVolume({ id: volume.id, snapshotId: target.id, safety });
  const kept = answer.safety === null ? [] : [`what it held is kept as snapshot ${answer.safety.name} (${answer.safety.id})`];
  print([`reverted volume ${volume.name} to snapshot ${target.name}`, ...kept], { volume: answer.volume, safety: answer.safety });
}

async function resize({ config, store, print }: Context): Promise<void> {
  const volume = await findObject(store, word(config, 0), 'volume');
  printObject(print, 'resized', ofVolume(await store.resizeVolume(volume.id, config.flags.sizeBytes('size'))));
}

async function attach(context: Context): Promise<void> {
  const object = await findObject(context.store, word(context.config, 0), null);
  await withDevices(context, async (devices) => {
    const { devicePath, sizeBytes } = await devices.attach(object.id);
    context.print([devicePath], { id: object.id, devicePath, sizeBytes, readOnly: object.kind === 'snapshot' });
  });
}

async function detach(context: Context): Promise<void> {
  const object = await findObject(context.store, word(context.config, 0), null);
  await withDevices(context, (devices) => devices.detach(object.id));
  printObject(context.print, 'detached', object);
}

async function check({ config, store }: Context): Promise<void> {
  printCheck(config, await store.check());
}

/** Block devices of this machine, set up by this very process. */
async function withDevices(context: Context, use: (devices: ReturnType<typeof makeLoopDevices>) => Promise<void>): Promise<void> {
  const { config, store, log } = context;
  const keepers = new KeeperClients(config.flags.optionalText('keeper') ?? statePaths(stateOf(config)).keeperSocket);
  try {
    await use(makeLoopDevices({ store, keepers, log }));
  } finally {
    await keepers.close();
  }
}

function printObject(print: Context['print'], deed: string, object: FoundObject): void {
  print([`${deed} ${object.kind} ${object.name} (${object.id}), ${formatBytes(object.sizeBytes)}`], object);
}

function word(config: Config, index: number): string {
  const text = config.positionals[index];
  if (text === undefined) throw new UsageError(`${config.command}: a word is missing`);
  return text;
}
