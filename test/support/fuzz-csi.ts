/**
 * The CSI services over gRPC, with stores and a machine in memory: whatever is sent, each call ends with one of the codes
 * that CSI names, none by a bug of ours, and the server goes on.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { createController } from '../../src/csi/controller/controller.ts';
import { createIdentity } from '../../src/csi/identity.ts';
import { lockedController, lockedNode } from '../../src/csi/locking.ts';
import { createNode } from '../../src/csi/node/node.ts';
import { csiService, loadCsiPackage, type CsiServiceName } from '../../src/csi/proto.ts';
import { CsiServer } from '../../src/csi/server.ts';
import { BusyLocks } from '../../src/util/busy-locks.ts';
import { silentLogger } from '../../src/util/log.ts';
import { FakeMachine } from './fake-machine.ts';
import { FakeDirectory, FakeStore } from './fake-stores.ts';
import type { FuzzTarget } from './fuzz.ts';
import { RawCalls, unaryMethods } from './raw-calls.ts';
import type { SeededRandom } from './seeded-random.ts';
import { WireMessages, type Vocabulary } from './wire-messages.ts';

/** Codes that a call may end with (CSI 1.13, "Error Scheme"), whatever it was sent. */
const PROPER: ReadonlySet<status> = new Set([
  status.OK,
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.RESOURCE_EXHAUSTED,
  status.FAILED_PRECONDITION,
  status.ABORTED,
  status.OUT_OF_RANGE,
  status.UNIMPLEMENTED,
  status.UNAVAILABLE,
]);

/** What has to succeed for other calls to get far; half of all calls are of these. */
const BUILDING: ReadonlySet<string> = new Set([
  ...['CreateVolume', 'CreateSnapshot', 'ControllerExpandVolume'],
  ...['NodeStageVolume', 'NodePublishVolume', 'NodeExpandVolume', 'NodeGetVolumeStats'],
]);

const CALLS_A_ROUND = 400;
const MIB = 1 << 20;

export interface CsiFuzzOptions {
  /** Counts how each method ended. */
  readonly tally?: Map<string, number>;
  /** Put around the store before a round; for canaries. */
  readonly prepare?: (store: FakeStore) => void;
}

export function csiFuzz(options: CsiFuzzOptions = {}): FuzzTarget {
  return { testFile: 'test/csi/fuzz.test.ts', round: (random) => round(random, options) };
}

async function round(random: SeededRandom, options: CsiFuzzOptions): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'chunkstore-fuzz-'));
  const store = new FakeStore({ sizeBytes: 2 ** 36 });
  const machine = new FakeMachine(store);
  options.prepare?.(store);
  const locks = new BusyLocks();
  const { nodeDevices: devices, mounter } = machine;
  const server = new CsiServer({
    identity: createIdentity({ version: '1', isReady: () => Promise.resolve(true) }),
    controller: lockedController(createController(new FakeDirectory([store])), locks),
    node: lockedNode(createNode({ devices, mounter, nodeId: 'a', topologyNode: 'node-a', maximumVolumes: 256 }), locks),
    log: silentLogger(),
    newRequestId: () => 'request',
    nowMs: () => performance.now(),
  });
  const calls = new RawCalls(`unix:${folder}/csi.sock`);
  try {
    await server.listen(`unix://${folder}/csi.sock`);
    return await fuzzCsiServer(random, { calls, vocabulary: vocabularyOf(store), count: CALLS_A_ROUND, tally: options.tally ?? new Map() });
  } finally {
    calls.close();
    await server.stop({ timeoutMs: 1_000 });
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Sends messages to all methods, several at a time, and holds every ending against what CSI allows. */
export async function fuzzCsiServer(
  random: SeededRandom,
  options: { readonly calls: RawCalls; readonly vocabulary: Vocabulary; readonly count: number; readonly tally: Map<string, number> },
): Promise<number> {
  const { calls, vocabulary, count, tally } = options;
  const definition = loadCsiPackage();
  const messages = new WireMessages({ definition, vocabulary });
  const services: readonly CsiServiceName[] = ['Identity', 'Controller', 'Node'];
  const methods = services.flatMap((name) => unaryMethods(csiService(definition, name)));
  const deep = methods.filter(({ name }) => BUILDING.has(name));
  for (let sent = 0; sent < count;) {
    const together = random.weighted({ 1: 4, 3: 1 });
    const batch = Array.from({ length: Number(together) }, () => {
      const method = random.chance(0.5) ? random.pick(methods) : random.pick(deep);
      return { method, bytes: messages.draw(random, method.type) };
    });
    const outcomes = await Promise.all(batch.map(({ method, bytes }) => calls.call(method.path, bytes)));
    for (const [index, { code, details, answer }] of outcomes.entries()) {
      const { method, bytes } = batch[index]!;
      // What is no message at all is refused before anything of ours sees it.
      const isUnreadable = code === status.INTERNAL && /deserializing request/.test(details);
      if (!PROPER.has(code) && !isUnreadable)
        throw new Error(
          `${method.name} ended with ${status[code]} (${details}) after ${bytes.length} bytes: ${bytes.toString('hex').slice(0, 1_000)}`,
        );
      if (code !== status.OK && details === '') throw new Error(`${method.name} ended with ${status[code]} and no word why`);
      if (details.includes('\n')) throw new Error(`${method.name} answers more than one line: ${JSON.stringify(details)}`);
      if (answer !== null) method.decode(answer);
      const ending = `${method.name} ${isUnreadable ? 'unreadable' : status[code]}`;
      tally.set(ending, (tally.get(ending) ?? 0) + 1);
    }
    sent += batch.length;
  }
  const probe = methods.find(({ name }) => name === 'Probe')!;
  const { code } = await calls.call(probe.path, Buffer.alloc(0));
  if (code !== status.OK) throw new Error(`after ${count} calls the server answers a probe with ${status[code]}`);
  return count;
}

function vocabularyOf(store: FakeStore): Vocabulary {
  const missing = `${store.poolId}.${'z'.repeat(26)}`;
  const volumes = (): string[] => [...store.volumes.keys(), ...store.volumes.keys(), ...store.volumes.keys(), missing];
  const snapshots = (): string[] => [...store.snapshots.keys(), missing];
  return csiVocabulary({ volumes, snapshots, node: store.node, folder: '/kubelet' });
}

export function csiVocabulary(world: {
  readonly volumes: () => readonly string[];
  readonly snapshots: () => readonly string[];
  readonly node: string;
  /** Below it all paths lie that are meant well. */
  readonly folder: string;
}): Vocabulary {
  const { volumes, snapshots, node, folder } = world;
  const fixed: Readonly<Record<string, readonly (string | number | boolean)[] | 'absent'>> = {
    name: ['one', 'two', 'three', 'four', 'five', 'six'],
    fsType: ['', '', 'ext4', 'xfs', 'btrfs'],
    mountFlags: ['noatime', 'ro', 'rw', 'discard'],
    volumeMountGroup: 'absent',
    mutableParameters: 'absent',
    block: 'absent',
    mode: [1, 1, 2, 6, 7],
    requiredBytes: [0, 20 * MIB, 64 * MIB, 65 * MIB + 1, 300 * MIB],
    limitBytes: [0, 0, 500 * MIB],
    maxEntries: [0, 1, 5],
    startingToken: [''],
    stagingTargetPath: [`${folder}/staging-a`, `${folder}/staging-b`],
    targetPath: [`${folder}/target-a`, `${folder}/target-b`],
    volumePath: [`${folder}/target-a`, `${folder}/target-b`, `${folder}/staging-a`, `${folder}/staging-b`],
    volumeContentSource: 'absent',
    parameters: 'absent',
    accessibilityRequirements: 'absent',
    accessibleTopology: 'absent',
    key: ['csi.chunkstore.dev/node', 'freeze', 'placement', 'csi.storage.k8s.io/fstype'],
    value: [node, 'true', 'any', 'ext4'],
  };
  return (field) => {
    if (field === 'volumeId' || field === 'sourceVolumeId') return volumes();
    if (field === 'snapshotId') return snapshots();
    return fixed[field] ?? null;
  };
}
