/**
 * Whatever dies while volumes are made, cut, cloned, staged and deleted: everything converges, nothing is leaked or made
 * twice, and I/O in pods goes on without an error or a wrong byte. E2E_SEED repeats the random choices of a run: which
 * disturbance meets which node, and when.
 */
import { afterAll, expect, test } from '@jest/globals';
import { SeededRandom } from '../../support/seeded-random.ts';
import type { Fields } from '../support/api.ts';
import { compareBooks } from '../support/books.ts';
import { watchListings, type Listing } from '../support/listings.ts';
import { describeOnCluster } from '../support/suite.ts';
import { Turmoil } from '../support/turmoil.ts';

const booksLimitMs = 120_000;
const recoveryLimitMs = 120_000;
/** With half of the controllers gone, whoever leads is replaced after its lease. */
const awayLimitMs = 90_000;
const listingsMs = 25_000;
const cutWithinMs = 600;
/** gRPC's UNAVAILABLE. */
const unavailable = 14;

describeOnCluster('under failures', { ownCluster: true }, (bed) => {
  const { cluster, driver, inSpace, kube, timings } = bed;
  const seed = Number(process.env['E2E_SEED'] ?? Date.now() % 1_000_000_000);

  const disturbances: readonly (readonly [string, (node: string) => Promise<void>])[] = [
    ['the node pod deleted', (node) => driver.restart('node', node)],
    ['the store pod deleted', (node) => driver.restart('store', node)],
    ['the keeper pod deleted', (node) => driver.restart('keeper', node)],
    ['the node program killed', (node) => driver.killAndWait('node', { node })],
    ['the store killed', (node) => driver.killAndWait('store', { node })],
    ['the keeper killed', (node) => driver.killAndWait('keeper', { node })],
    ['the kubelet restarted', (node) => cluster.restartKubelet(node)],
    ['all controllers killed', async () => killControllers()],
  ];

  const killControllers = async () => {
    const kill = async ({ spec, status }: Fields) => {
      const container = status?.['containerStatuses'].find(({ name }: Fields) => name === 'controller');
      await cluster.killContainer(spec?.['nodeName'], container.containerID);
    };
    await Promise.all((await driver.pods('controller')).map(kill));
    await driver.waitUntilReady();
  };

  const expectBooksAgree = () =>
    kube.until(
      'stores and API have the same volumes and snapshots',
      async () => {
        const differences = await compareBooks(kube, driver);
        return differences.length === 0 || differences.join('; ');
      },
      { timeoutMs: booksLimitMs, namespaces: [driver.namespace] },
    );

  /** What `kubectl get chunkstorepools` shows under READY. */
  const poolSays = (node: string, ready: string) =>
    kube.until(
      `the pool of ${node} has Ready=${ready}`,
      async () => {
        const condition = (await driver.poolOf(node))['status'].conditions.find(({ type }: Fields) => type === 'Ready');
        return condition.status === ready || `it is ${condition.status}: ${condition.message}`;
      },
      { timeoutMs: recoveryLimitMs, namespaces: [driver.namespace] },
    );

  /** What programs and pods suffer on the nodes, and the controllers. Each node at its own pace: it may meet anything of the other's. */
  const disturb = async (turmoils: readonly Turmoil[], random: SeededRandom) => {
    const left = [...disturbances];
    const dealt = turmoils.map((turmoil) => ({
      turmoil,
      hand: Array.from({ length: disturbances.length / turmoils.length }, () => left.splice(random.below(left.length), 1)).flat(),
    }));
    await Promise.all(
      dealt.map(async ({ turmoil, hand }) => {
        for (const [what, disturbance] of hand) await turmoil.round(what, () => disturbance(turmoil.node));
      }),
    );
  };

  /** A node that is cut off goes on by itself and comes back whole, and the other one never stops. */
  const cutOff = async ({ here, away }: { readonly here: Turmoil; readonly away: Turmoil }) => {
    const controller = await driver.pod('controller', here.node);
    let listings: readonly Listing[] = [];
    let returnedAt = 0;
    const lostAndBack = async () => {
      await cluster.lose(away.node);
      try {
        const place = { namespace: driver.namespace, pod: controller.metadata.name };
        const watching = watchListings(kube, place, { forMs: listingsMs });
        await here.round('the other node away', async () => {}, { limitMs: awayLimitMs });
        await cluster.waitUntilNotReady(away.node);
        await poolSays(away.node, 'Unknown');
        listings = await watching;
      } finally {
        await cluster.back(away.node);
      }
      returnedAt = performance.now();
      await Promise.all([
        timings.time('node back to pool ready', () => poolSays(away.node, 'True')),
        timings.time('node back to claims bound', () => away.claimsBound()),
        timings.time('node back to snapshot ready', () => away.snapshotReady()),
      ]);
    };
    // So soon that most of what is asked for is not done yet.
    await away.round('a node cut off and back', lostAndBack, { withinMs: cutWithinMs });
    timings.record('node back to all operations done', performance.now() - returnedAt);
    await cluster.waitUntilReady(away.node);
    await driver.waitUntilReady({ timeoutMs: recoveryLimitMs });
    const answered = listings.filter(({ code }) => code === 0);
    expect(listings.filter(({ code }) => code !== 0 && code !== unavailable)).toEqual([]);
    expect(listings.length - answered.length).toBeGreaterThan(0);
    // A listing that was answered has what was there all the time, on both nodes.
    const bases = await Promise.all([here, away].map((turmoil) => turmoil.baseHandle()));
    for (const { ids } of answered.filter(({ call }) => call === 'ListVolumes')) expect(ids).toEqual(expect.arrayContaining(bases));
  };

  test(
    'of programs, pods, controllers and the network of a node, all converges and I/O goes on',
    inSpace(async (space) => {
      const random = new SeededRandom(seed);
      process.stderr.write(`failures: E2E_SEED=${seed}\n`);
      const [first, second] = (await driver.nodes()).map(
        (node) => new Turmoil({ bed, space, node, random: new SeededRandom(random.bits()) }),
      );
      if (first === undefined || second === undefined) throw new Error('these tests need two nodes');
      await Promise.all([first.start(), second.start()]);

      await disturb([first, second], random);
      await expectBooksAgree();
      await cutOff({ here: first, away: second });
      await expectBooksAgree();

      for (const { node } of [first, second]) expect(await driver.command(node, 'check')).toContain('every count is what the trees say');
      const waits = await Promise.all([first, second].map((turmoil) => turmoil.stop()));
      for (const { rounds, longestMs } of waits) {
        expect(rounds).toBeGreaterThan(0);
        timings.record('longest I/O of a verified load, with failures', longestMs);
      }
    }),
  );

  afterAll(async () => {
    await driver.waitUntilEmpty({ timeoutMs: booksLimitMs });
  });
});
