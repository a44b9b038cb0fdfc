/** Many at once: ten claims, their snapshots and their clones, and all of it deleted in any order without a trace. */
import { expect, test } from '@jest/globals';
import { SeededRandom } from '../../support/seeded-random.ts';
import type { Reference } from '../support/api.ts';
import { callTimes, meanMs, type CallTimes } from '../support/call-times.ts';
import * as manifests from '../support/manifests.ts';
import type { Space } from '../support/space.ts';
import { describeOnCluster, type ClusterBed } from '../support/suite.ts';
import type { KnownData } from '../support/volumes.ts';

const mebibyte = 1024 * 1024;
const goneLimitMs = 120_000;
/** Of the order in which everything is deleted. */
const seed = Number(process.env['E2E_SEED'] ?? 20_261_122);

interface Member {
  readonly name: string;
  readonly volumeMode: 'Filesystem' | 'Block';
  /** Five of them in a pod. */
  readonly pod: string;
}

const crowd: readonly Member[] = Array.from({ length: 10 }, (_, index) => ({
  name: `member-${index}`,
  volumeMode: index % 5 === 4 ? 'Block' : 'Filesystem',
  pod: `pod-${index % 2}`,
}));
const podNames = [...new Set(crowd.map(({ pod }) => pod))];

function dataOf({ name, volumeMode }: Member): KnownData {
  const path = volumeMode === 'Block' ? `/dev/${name}` : `/data/${name}/known`;
  return { path, seed: name, sizeBytes: mebibyte + 12_345 };
}

/** A claim by the paths at which a pod of its has it: `claimOf` tells which. */
function podOptions(pod: string, claimOf: (member: Member) => string) {
  const members = crowd.filter((member) => member.pod === pod);
  const paths = (mode: string, folder: string) =>
    Object.fromEntries(
      members.filter(({ volumeMode }) => volumeMode === mode).map((member) => [`${folder}/${member.name}`, claimOf(member)]),
    );
  return { mounts: paths('Filesystem', '/data'), devices: paths('Block', '/dev') };
}

describeOnCluster('ten claims, ten snapshots and ten clones at once', {}, (bed) => {
  const { driver, inSpace, kube, timings } = bed;

  test(
    'hold their data, and leave nothing when they are deleted in any order',
    inSpace(async (space) => {
      const nodes = await driver.nodes();
      const before = await driversPart(bed);
      await Promise.all(crowd.map(({ name, volumeMode }) => space.claim({ name, volumeMode, size: '32Mi' })));
      const bound = crowd.map(({ name }) => timings.time('PVC to bound, ten at once', () => space.claimBound(name)));
      await Promise.all(
        podNames.map(async (name, index) => {
          const node = nodes[index % nodes.length] ?? '';
          await space.pod({ name, node, ...podOptions(name, (member) => member.name) });
        }),
      );
      await Promise.all(bound);
      await Promise.all(crowd.map((member) => space.write(member.pod, dataOf(member))));

      await Promise.all(crowd.map(({ name }) => cutSnapshot(space, name)));
      // Half of them from the snapshots, half from the living claims.
      const cloned = crowd.map(async ({ name, volumeMode }, index) => {
        const source =
          index % 4 < 2 ? ({ kind: 'VolumeSnapshot', name: `of-${name}` } as const) : ({ kind: 'PersistentVolumeClaim', name } as const);
        await space.claim({ name: `clone-${name}`, volumeMode, size: '32Mi', source });
        await timings.time('clone to bound, ten at once', () => space.claimBound(`clone-${name}`));
      });
      await Promise.all(
        podNames.map((name) => space.pod({ name: `clones-${name}`, ...podOptions(name, (member) => `clone-${member.name}`) })),
      );
      await Promise.all(cloned);
      await Promise.all(crowd.map((member) => space.verify(`clones-${member.pod}`, dataOf(member))));
      await Promise.all(crowd.map((member) => space.write(`clones-${member.pod}`, { ...dataOf(member), seed: `clone of ${member.name}` })));
      await Promise.all(crowd.map((member) => space.verify(member.pod, dataOf(member))));
      recordDriversPart(bed, before, await driversPart(bed));
      await requireCleanStores(bed);

      const everything = objectsOf(space);
      shuffle(everything, new SeededRandom(seed));
      await timings.time('ten claims, snapshots, clones deleted', async () => {
        for (const reference of everything) await kube.api.remove(reference, { graceSeconds: 1 });
        await Promise.all(everything.map((reference) => kube.waitUntilGone(reference, { timeoutMs: goneLimitMs })));
        await driver.waitUntilEmpty({ timeoutMs: goneLimitMs });
      });
      await requireCleanStores(bed);
      await kube.until('the pools use nothing', () => usageLeft(bed), { timeoutMs: 60_000, namespaces: [driver.namespace] });
    }),
  );

  async function cutSnapshot(space: Space, name: string): Promise<void> {
    await timings.time('snapshot to ready, ten at once', async () => {
      await space.apply(manifests.snapshot({ name: `of-${name}`, claim: name }));
      await space.snapshotReady(`of-${name}`);
    });
  }
});

type DriversPart = readonly { readonly role: 'controller' | 'store'; readonly times: CallTimes }[];

function driversPart({ driver }: ClusterBed): Promise<DriversPart> {
  return Promise.all((['controller', 'store'] as const).map(async (role) => ({ role, times: await callTimes(driver, role) })));
}

/** The controller's part contains the store's. */
function recordDriversPart({ timings }: ClusterBed, before: DriversPart, after: DriversPart): void {
  for (const [index, { role, times }] of after.entries()) {
    for (const call of role === 'controller' ? ['CreateVolume', 'CreateSnapshot'] : ['createVolume', 'createSnapshot']) {
      const mean = meanMs(before[index]?.times ?? new Map(), times, call);
      if (mean !== null) timings.record(`ten at once: mean ${call} in the ${role}`, mean);
    }
  }
}

function objectsOf(space: Space): Reference[] {
  const namespace = space.name;
  return [
    ...crowd.flatMap(({ name }) => [
      { kind: 'PersistentVolumeClaim', name, namespace },
      { kind: 'PersistentVolumeClaim', name: `clone-${name}`, namespace },
      { kind: 'VolumeSnapshot', name: `of-${name}`, namespace },
    ]),
    ...podNames.flatMap((name) => [
      { kind: 'Pod', name, namespace },
      { kind: 'Pod', name: `clones-${name}`, namespace },
    ]),
  ];
}

function shuffle(list: unknown[], random: SeededRandom): void {
  for (let at = list.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [list[at], list[other]] = [list[other], list[at]];
  }
}

/** Every reference count is what the trees say. */
async function requireCleanStores({ driver }: ClusterBed): Promise<void> {
  for (const node of await driver.nodes()) {
    const { problems } = JSON.parse(await driver.command(node, 'check', '--output=json')) as { problems: unknown[] };
    expect({ node, problems }).toEqual({ node, problems: [] });
  }
}

async function usageLeft({ driver }: ClusterBed): Promise<true | string> {
  const left: string[] = [];
  for (const node of await driver.nodes()) {
    const { pool } = JSON.parse(await driver.command(node, 'space', '--output=json')) as { pool: Record<string, number> };
    for (const figure of ['usedBytes', 'provisionedBytes', 'volumes', 'snapshots']) {
      if (pool[figure] !== 0) left.push(`${figure} of ${node} is ${pool[figure]}`);
    }
  }
  return left.length === 0 || left.join(', ');
}
