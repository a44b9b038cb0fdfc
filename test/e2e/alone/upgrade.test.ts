/** helm upgrade and rollback while pods on all nodes write: no error, no byte wrong, and how long I/O waited. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { Fields } from '../support/api.ts';
import { formerChart } from '../support/chart-history.ts';
import { describeOnCluster } from '../support/suite.ts';
import { WatchedLoad, type LoadReport } from '../support/watched-load.ts';

const helmLimitMs = 240_000;
/** A store that was killed is back sooner: a hand-over that takes as long is none. */
const longestStallMs = 10_000;
/** Besides the pool's size, and in every version of the chart; the logs' level is another than before, so that all pods are replaced. */
const formerValues = ['pool.prewrite=false', 'snapshotController.enabled=true', 'logLevel=info'];

describeOnCluster('the driver under load', { ownCluster: true }, (bed) => {
  const { cluster, driver, inSpace, kube, settings, timings } = bed;

  const helm = async (words: readonly string[]): Promise<void> => {
    const { status, output, errorOutput } = await kube.helm([...words, `--namespace=${driver.namespace}`, '--wait', '--timeout=3m'], {
      timeoutMs: helmLimitMs,
    });
    if (status !== 0) throw new Error(`helm ${words.join(' ')} failed: ${errorOutput}${output}`);
    await driver.waitUntilReady();
  };
  const upgrade = (chart: string, words: readonly string[]) => helm(['upgrade', settings.release, chart, ...words]);
  const podsOf = async (role: 'keeper' | 'store' | 'node' | 'controller') =>
    (await driver.pods(role)).map(({ metadata, spec, status }: Fields) => ({
      uid: metadata?.['uid'] as string,
      image: spec?.['containers'][0].image as string,
      restarts: status?.['containerStatuses'].reduce((sum: number, one: Fields) => sum + Number(one['restartCount']), 0) as number,
    }));
  const poolSize = async () => {
    const { output } = await kube.helm(['get', 'values', settings.release, `--namespace=${driver.namespace}`, '--output=json'], {
      timeoutMs: helmLimitMs,
    });
    return (JSON.parse(output) as { pool: { size: string } }).pool.size;
  };
  const revision = async () => {
    const { output } = await kube.helm(['history', settings.release, `--namespace=${driver.namespace}`, '--max=1', '--output=json'], {
      timeoutMs: helmLimitMs,
    });
    return (JSON.parse(output) as { revision: number }[])[0]?.revision ?? 0;
  };

  test(
    'is upgraded from the former chart to this one with a new image, and rolled back, without an error of I/O',
    inSpace(async (space) => {
      const { repository, tag } = settings.driverImage;
      const [image, newImage] = [`${repository}:${tag}`, `${repository}:${tag}-next`];
      await cluster.tagImage(`docker.io/${image}`, `docker.io/${newImage}`);
      const nodes = await driver.nodes();
      const [installed, size, keepers] = [await revision(), await poolSize(), await podsOf('keeper')];
      const folder = mkdtempSync(join(tmpdir(), 'former-chart-'));
      try {
        const former = await formerChart(folder);
        if (former === null) process.stderr.write('e2e: no former chart in the history: upgrading from other values instead\n');
        const loads = await Promise.all(nodes.map((node) => WatchedLoad.start(bed, space, node)));

        const steps: readonly (readonly [name: string, image: string, action: () => Promise<void>])[] = [
          [
            `to the chart of ${former?.revision.slice(0, 8) ?? 'other values'}`,
            image,
            () =>
              former === null
                ? upgrade(settings.chart, ['--reuse-values', '--set=logLevel=trace'])
                : upgrade(former.path, [
                    ...[`pool.size=${size}`, ...formerValues].map((word) => `--set=${word}`),
                    ...imageWords(repository, tag),
                  ]),
          ],
          [
            'to this chart and a new image',
            newImage,
            () => upgrade(settings.chart, [...settings.values.map((file) => `--values=${file}`), ...imageWords(repository, `${tag}-next`)]),
          ],
          ['back, by rollback', image, () => helm(['rollback', settings.release, String(installed)])],
        ];
        const times: { name: string; fromMs: number }[] = [];
        for (const [name, expectedImage, action] of steps) {
          times.push({ name, fromMs: Date.now() });
          const before = (await podsOf('store')).map(({ uid }) => uid);
          await timings.time('helm upgrade or rollback under load', action);
          const after = await podsOf('store');
          expect(after.map(({ image }) => image)).toEqual(nodes.map(() => expectedImage));
          expect(after.map(({ restarts }) => restarts)).toEqual(nodes.map(() => 0));
          expect(after.filter(({ uid }) => before.includes(uid))).toEqual([]);
          expect(await podsOf('keeper')).toEqual(keepers);
        }

        const reports = await Promise.all(loads.map(async (load) => ({ node: load.node, report: await load.stop() })));
        for (const { node, report } of reports) {
          process.stderr.write(`${describeStalls(node, report, times)}\n`);
          timings.record('longest wait of I/O in upgrades, direct', report.direct.longestMs);
          timings.record('longest wait of I/O in upgrades, files', report.buffered.longestMs);
          expect(report.direct.requests).toBeGreaterThan(1000);
          expect(report.buffered.writes).toBeGreaterThan(1000);
          expect(Math.max(report.direct.longestMs, report.buffered.longestMs)).toBeLessThan(longestStallMs);
        }
        for (const node of nodes) expect(await driver.command(node, 'check')).toContain('every count is what the trees say');
      } finally {
        rmSync(folder, { recursive: true, force: true });
        if ((await podsOf('store')).some((pod) => pod.image !== image)) await helm(['rollback', settings.release, String(installed)]);
      }
    }),
  );
});

function imageWords(repository: string, tag: string): string[] {
  return [`--set=image.repository=${repository}`, `--set-string=image.tag=${tag}`];
}

function describeStalls(node: string, { direct, buffered }: LoadReport, steps: readonly { name: string; fromMs: number }[]): string {
  const worst = steps.map(({ name, fromMs }, index) => {
    const untilMs = steps[index + 1]?.fromMs ?? Number.POSITIVE_INFINITY;
    const within = buffered.stalls.filter(({ atMs, ms }) => atMs + ms >= fromMs && atMs < untilMs);
    return `${name}: ${Math.max(0, ...within.map(({ ms }) => ms))} ms`;
  });
  return (
    `upgrades on ${node}: longest wait ${direct.longestMs} ms of ${direct.requests} direct requests, ` +
    `${buffered.longestMs} ms of ${buffered.writes} writes to a file (${worst.join('; ')})`
  );
}
