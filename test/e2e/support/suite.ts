/**
 * How a test file of this layer begins: `describeOnCluster` gives its tests the cluster and the driver, or skips them with
 * the reason in the suite's name; `inSpace` gives one test a namespace of its own.
 */
import { describe, expect, jest } from '@jest/globals';
import { keepArtifacts } from './artifacts.ts';
import { OwnCluster } from './cluster.ts';
import { Driver } from './driver.ts';
import { Kube } from './kube.ts';
import { readSettings, type Settings } from './settings.ts';
import { Space, type Bed } from './space.ts';
import { Timings } from './timings.ts';

export interface ClusterBed extends Bed {
  /** Throws when the cluster is not the tests' own; suites that need it say `ownCluster: true`. */
  readonly cluster: OwnCluster;
  /** A test in a namespace of its own, which is deleted afterwards. */
  readonly inSpace: (body: (space: Space) => Promise<void>) => () => Promise<void>;
}

const testLimitMs = 5 * 60_000;

/** `ownCluster`: the tests kill processes or cut nodes off, which only a cluster of our own allows. */
export function describeOnCluster(name: string, options: { readonly ownCluster?: boolean }, body: (bed: ClusterBed) => void): void {
  const settings = readSettings();
  const lack = lackOf(settings, options.ownCluster ?? false);
  if (settings === null || lack !== null) {
    // oxlint-disable-next-line jest/no-disabled-tests -- it says why
    describe.skip(`${name} [skipped: ${lack}]`, () => {
      body(skippedBed);
    });
    return;
  }
  jest.setTimeout(testLimitMs);
  // oxlint-disable-next-line jest/valid-title -- it is the caller's
  describe(name, () => {
    body(makeBed(settings));
  });
}

function lackOf(settings: Settings | null, needsOwnCluster: boolean): string | null {
  if (settings === null) return 'the e2e layer was not set up; run it by make e2e';
  if (settings.lack !== null) return settings.lack;
  return needsOwnCluster && settings.ownCluster === null ? 'it needs the cluster of test/e2e/cluster, and KUBECONFIG names another' : null;
}

function makeBed(settings: Settings): ClusterBed {
  const kube = new Kube(settings);
  const cluster = settings.ownCluster === null ? null : new OwnCluster({ program: settings.ownCluster.program, kube });
  const driver = new Driver({ kube, settings, cluster });
  const bed: Bed = { settings, kube, driver, timings: new Timings(settings.artifacts) };
  return {
    ...bed,
    get cluster(): OwnCluster {
      if (cluster === null) throw new Error("this cluster is not the tests' own: say { ownCluster: true } in describeOnCluster");
      return cluster;
    },
    inSpace: (body) => () => runInSpace(bed, body),
  };
}

async function runInSpace(bed: Bed, body: (space: Space) => Promise<void>): Promise<void> {
  const space = await Space.make(bed);
  try {
    await body(space);
    await space.close();
  } catch (error) {
    const folder = await keepArtifacts({
      api: bed.kube.api,
      folder: bed.settings.artifacts,
      // Of tests that run at the same time, the name may be another's.
      test: `${expect.getState().currentTestName ?? 'test'} ${space.name}`,
      namespaces: [space.name, bed.settings.namespace],
    });
    process.stderr.write(`what is known of the failed test is in ${folder}\n`);
    // What it made must not get in the way of the next one; why that fails is told by the first error already.
    await space.close().catch((second: unknown) => process.stderr.write(`and its namespace could not be cleared: ${String(second)}\n`));
    throw error;
  }
}

/** The bodies of skipped suites run too, only to name their tests. */
const skippedBed: ClusterBed = new Proxy({} as ClusterBed, {
  get: (_, property) => (property === 'inSpace' ? () => async () => {} : undefined),
});
