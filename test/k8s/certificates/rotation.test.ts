/**
 * Everybody together through generations of authorities: controllers and stores that are killed, an API that is away, and
 * pictures of it that are as old as they may be. At every moment everybody believes what anybody shows.
 */
import { afterEach, expect, test } from '@jest/globals';
import type { TlsIdentity } from '../../../src/util/tls-identity.ts';
import { believes, CertificateCluster, DAY_MS, HOUR_MS, MINUTE_MS, TEST_POLICY } from '../../support/certificate-cluster.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { StaleView } from '../../support/stale-view.ts';

/** Generations of two days, and troubles of less than the time that is allowed for news to reach everybody. */
const POLICY = {
  ...TEST_POLICY,
  authorityLifetimeMs: 5 * DAY_MS,
  rotateAfterMs: 2 * DAY_MS,
  propagationMs: 5 * HOUR_MS,
  storeLifetimeMs: DAY_MS,
  controllerLifetimeMs: DAY_MS,
};
const MOST_TROUBLE_HOURS = 4;
const DAYS = 10;

interface Party {
  identity: TlsIdentity & { stop(): Promise<void> };
  view: StaleView;
  staleForHours: number;
  readonly start: (view: StaleView) => Party['identity'];
}

let cluster: CertificateCluster;
let controllers: Party[];
let stores: Party[];
let leaders: { stop(): Promise<void> }[];
afterEach(() => cluster.end());

function party(start: Party['start']): Party {
  const view = new StaleView();
  return { identity: start(view), view, staleForHours: 0, start };
}

/** With each of these it is found out when a wait is left out: that for news to arrive, or that for certificates to expire. */
const SEEDS = [8, 9, 10];

test.each(SEEDS)('everybody believes everybody, through four authorities (seed %d)', async (seed) => {
  cluster = new CertificateCluster({ policy: POLICY });
  const random = new SeededRandom(seed);
  lead();
  controllers = [1, 2].map(() => party((view) => cluster.controller(view)));
  stores = ['a', 'b'].map((letter) => party((view) => cluster.store(letter.repeat(26), `node-${letter}`, view)));
  await cluster.pass(MINUTE_MS);
  const authorities = new Set<string>();
  for (let hour = 0; hour < DAYS * 24; hour++) {
    await trouble(random);
    await cluster.pass(HOUR_MS);
    check();
    refresh();
    authorities.add(cluster.authorities().current.certificate);
    expect(cluster.bundle().length).toBeLessThanOrEqual(2);
  }
  expect(authorities.size).toBeGreaterThanOrEqual(4);
});

function lead(): void {
  leaders = [cluster.keeper(), cluster.signer()];
}

function check(): void {
  const nowMs = cluster.clock.nowMs();
  for (const controller of controllers) {
    for (const store of stores) {
      const [left, right] = [controller.identity.current(), store.identity.current()];
      if (left === null || right === null) continue;
      expect([believes(left, right, nowMs), believes(right, left, nowMs)]).toEqual([true, true]);
    }
  }
}

function refresh(): void {
  for (const each of [...controllers, ...stores]) if (each.view.held && --each.staleForHours <= 0) each.view.release();
}

/** Now and then something dies, or the API or its news stay away. */
async function trouble(random: SeededRandom): Promise<void> {
  const parties = [...controllers, ...stores];
  const chosen = parties[random.below(parties.length)]!;
  switch (random.below(12)) {
    case 0:
      for (const leader of leaders) await cluster.kill(leader);
      await cluster.pass(random.below(MOST_TROUBLE_HOURS) * HOUR_MS);
      refreshAll();
      lead();
      break;
    case 1:
      await cluster.kill(chosen.identity);
      chosen.view = new StaleView();
      chosen.identity = chosen.start(chosen.view);
      break;
    case 2:
      refreshAll();
      cluster.kubernetes.goAway();
      await cluster.pass(random.below(MOST_TROUBLE_HOURS) * HOUR_MS);
      cluster.kubernetes.comeBack();
      break;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
      if (chosen.view.held) break;
      chosen.view.hold();
      chosen.staleForHours = random.between(1, MOST_TROUBLE_HOURS);
      break;
    default:
  }
}

function refreshAll(): void {
  for (const each of [...controllers, ...stores]) each.view.release();
}
