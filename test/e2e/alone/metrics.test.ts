/** What store, controller and node tell Prometheus: figures that agree with known I/O, under the names that are documented. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { Scrape, metricNamesIn } from '../../support/prometheus-text.ts';
import { describeOnCluster } from '../support/suite.ts';

const repository = join(import.meta.dirname, '../../..');
const mebibyte = 1024 * 1024;
const written = 8 * mebibyte;
const limitMs = 60_000;

describeOnCluster('metrics', {}, ({ driver, inSpace, kube }) => {
  test(
    'count what a pod writes, where it is, and the calls that made it',
    inSpace(async (space) => {
      await space.claim({ name: 'data', size: '64Mi', volumeMode: 'Block' });
      const controllers = await driver.pods('controller');
      const calls = async (name: string): Promise<number> => {
        const texts = await Promise.all(
          controllers.map(({ metadata }) =>
            kube.api.text('GET', `api/v1/namespaces/${driver.namespace}/pods/${metadata.name}:7461/proxy/metrics`),
          ),
        );
        return texts.reduce((sum, text) => sum + new Scrape(text).sum('chunkstore_calls_total', { call: name, code: 'OK' }), 0);
      };
      const [createdBefore, cutsBefore] = [await calls('CreateVolume'), await calls('CreateSnapshot')];
      await space.pod({ name: 'pod', devices: { '/dev/volume': 'data' } });
      const { handle, node } = await space.volume('data');
      const store = async () => new Scrape(await driver.metrics('store', node));
      const before = await store();
      expect(before.value('chunkstore_volume_attached', { volume: handle })).toBe(1);
      expect(before.value('chunkstore_volume_size_bytes', { volume: handle, kind: 'volume' })).toBe(64 * mebibyte);

      const copy = ['dd', 'if=/dev/urandom', 'of=/dev/volume', 'bs=1M', 'count=8', 'iflag=fullblock', 'oflag=direct', 'conv=fsync'];
      await space.exec('pod', copy);
      await space.exec('pod', ['dd', 'if=/dev/volume', 'of=/dev/null', 'bs=1M', 'count=8', 'iflag=direct']);
      await space.snapshot({ name: 'cut', claim: 'data' });

      const after = await store();
      const growth = (name: string, labels: Readonly<Record<string, string>> = {}) => after.sum(name, labels) - before.sum(name, labels);
      for (const operation of ['read', 'write']) {
        const labels = { volume: handle, operation };
        expect(growth('chunkstore_volume_bytes_total', labels)).toBeGreaterThanOrEqual(written);
        expect(growth('chunkstore_volume_bytes_total', labels)).toBeLessThan(written + 8 * mebibyte);
        expect(growth('chunkstore_volume_requests_total', labels)).toBeGreaterThanOrEqual(8);
        expect(growth('chunkstore_request_duration_seconds_count', { operation })).toBeGreaterThanOrEqual(8);
        expect(growth('chunkstore_request_duration_seconds_sum', { operation })).toBeGreaterThan(0);
      }
      expect(after.sum('chunkstore_volume_errors_total')).toBe(0);
      expect(growth('chunkstore_pool_used_bytes')).toBeGreaterThanOrEqual(written);
      expect(growth('chunkstore_pool_snapshots')).toBe(1);
      expect(after.value('chunkstore_pool_volumes')).toBeGreaterThanOrEqual(1);
      expect(after.value('chunkstore_pool_provisioned_bytes')).toBeGreaterThanOrEqual(64 * mebibyte);
      expect(after.value('chunkstore_pool_used_bytes') + after.value('chunkstore_pool_free_bytes')).toBeLessThanOrEqual(
        after.value('chunkstore_pool_size_bytes'),
      );
      expect(after.value('chunkstore_pool_parked_writes')).toBe(0);
      expect(growth('chunkstore_syncs_total')).toBeGreaterThan(0);
      expect(after.value('chunkstore_log_used_bytes')).toBeLessThan(after.value('chunkstore_log_size_bytes'));
      expect(after.sum('chunkstore_metrics_failures_total')).toBe(0);
      const counted = async () => {
        const [created, cuts] = [(await calls('CreateVolume')) - createdBefore, (await calls('CreateSnapshot')) - cutsBefore];
        return (created >= 1 && cuts >= 1) || `${created} volumes and ${cuts} snapshots were counted`;
      };
      await kube.until('the controllers count their calls', counted, { timeoutMs: limitMs });
    }),
  );

  test('bear the names that dashboard and documents use', async () => {
    const [node = ''] = await driver.nodes();
    const texts = await Promise.all([driver.metrics('store', node), driver.metrics('controller'), driver.metrics('node', node)]);
    const told = new Set(texts.flatMap((text) => new Scrape(text).names()));
    const files = ['charts/chunkstore/dashboards/chunkstore.json', 'docs/operations.md', 'docs/pools.md'];
    const used = files.flatMap((file) => metricNamesIn(readFileSync(join(repository, file), 'utf8')));
    expect(used.length).toBeGreaterThan(10);
    expect(used.filter((name) => !told.has(name))).toEqual([]);
  });
});
