import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from '@jest/globals';
import { Operation } from '../../src/block/ports.ts';
import { Statistics } from '../../src/block/statistics.ts';
import { CallTimes } from '../../src/store/data-thread/call-times.ts';
import { NEVER_DEFRAGMENTED } from '../../src/engine/control.ts';
import type { EngineControl } from '../../src/store/data-thread/control.ts';
import { tellStoreMetrics } from '../../src/store/metrics.ts';
import { defragmentMessage } from '../../src/store/wire/defragment-messages.ts';
import { scrubMessage } from '../../src/store/wire/scrub-messages.ts';
import { silentLogger } from '../../src/util/log.ts';
import { createMetrics, type Metrics } from '../../src/util/metrics.ts';
import { NEVER_SCRUBBED } from '../support/fake-engine.ts';
import { metricNamesIn, Scrape } from '../support/prometheus-text.ts';

const poolId = 'p'.repeat(26);
const objectId = 'o'.repeat(26);
const pool = {
  id: poolId,
  chunkSizeBytes: 65536,
  sizeBytes: 1000,
  usedBytes: 400,
  freeBytes: 600,
  provisionedBytes: 2000,
  volumes: 1,
  snapshots: 0,
  counted: true,
  prewrittenBytes: 0,
  parkedWrites: 3,
  sequence: 9,
  durableSequence: 8,
};
const busy = {
  ringUsedBytes: 64,
  ringBytes: 640,
  logUsedBytes: 4096,
  logBytes: 8192,
  dirtyPages: 2,
  residentPages: 5,
  checkpoints: 7,
  checkpointedAtMs: 5_000,
  syncs: 11,
  slotsInLimbo: 1,
};

async function scrape(metrics: Metrics): Promise<Map<string, number>> {
  const { body } = await metrics.text();
  const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

function setUp(options: { metrics?: Metrics } = {}) {
  const { metrics = createMetrics({ role: 'store', version: '1' }) } = options;
  const counts = new Statistics({ devices: 1 });
  const calls = new CallTimes();
  const volume = {
    id: `${poolId}.${objectId}`,
    name: 'data',
    sizeBytes: 2000,
    createdAtMs: 0,
    source: null,
    attributes: {},
    lineage: 1,
    incarnation: 1,
  };
  const failing = { engineFails: false };
  const engine: EngineControl = {
    call: async (request) => {
      if (failing.engineFails) throw new Error('no answer');
      return (request.kind === 'pool' ? pool : busy) as never;
    },
  };
  const telling = tellStoreMetrics({
    metrics,
    poolId,
    engine,
    statistics: {
      statistics: async () => ({ devices: [{ objectId, counts: counts.ofDevice(0) }], latency: counts.latency(), calls: calls.sums() }),
    },
    metadata: { metadataSpace: async () => ({ usedBytes: 20, reservedBytes: 30, hostFreeBytes: 40, mapBytes: 50, problem: null }) },
    service: {
      getPool: async () => ({ provisionLimitBytes: 10_000, reserveBytes: 15 }),
      listVolumes: async () => ({ volumes: [{ ...volume, attached: true }] }),
      listSnapshots: async () => ({ snapshots: [] }),
      listUsage: async () => ({ usages: [] }),
      getDefragment: async () =>
        defragmentMessage('p'.repeat(26), { ...NEVER_DEFRAGMENTED, state: 'running', movedBytes: 9, foundPieces: 8, leftPieces: 3 }),
      getScrub: async () =>
        scrubMessage({ ...NEVER_SCRUBBED, running: 'verify', completedAtMs: 7_000, protectedBytes: 5, damagedChunks: 2 }),
    },
    recovered: { answered: 4, submitted: 5 },
    log: silentLogger(),
  });
  return { metrics, counts, calls, failing, telling };
}

test('a scrape tells space, what the engine is busy with and the requests of each volume', async () => {
  const { metrics, counts } = setUp();
  counts.record(0, Operation.write, 4096, 0, 0, 0.2);
  counts.record(0, Operation.write, 4096, 28, 0, 61_000);
  const values = await scrape(metrics);
  expect(values.get('chunkstore_pool_used_bytes')).toBe(400);
  expect(values.get('chunkstore_pool_provision_limit_bytes')).toBe(10_000);
  expect(values.get('chunkstore_pool_reserve_bytes')).toBe(15);
  expect(values.get('chunkstore_metadata_reserved_bytes')).toBe(30);
  expect(values.get('chunkstore_pool_parked_writes')).toBe(3);
  expect(values.get('chunkstore_checkpoints_total')).toBe(7);
  expect(values.get('chunkstore_checkpoint_timestamp_seconds')).toBe(5);
  expect(values.get('chunkstore_scrub_completed_timestamp_seconds')).toBe(7);
  expect(values.get('chunkstore_scrub_protected_bytes')).toBe(5);
  expect(values.get('chunkstore_scrub_damaged_chunks')).toBe(2);
  expect(['running', 'moved_bytes', 'found_pieces', 'left_pieces'].map((name) => values.get(`chunkstore_defragment_${name}`))).toEqual([
    1, 9, 8, 3,
  ]);
  expect(['running', 'sealing'].map((name) => values.get(`chunkstore_scrub_${name}`))).toEqual([1, 0]);
  const volume = `volume="${poolId}.${objectId}"`;
  expect(values.get(`chunkstore_volume_attached{${volume},name="data",kind="volume"}`)).toBe(1);
  expect(values.get(`chunkstore_volume_requests_total{${volume},operation="write"}`)).toBe(2);
  expect(values.get(`chunkstore_volume_errors_total{${volume},operation="write"}`)).toBe(1);
  expect(values.get('chunkstore_recovered_requests{how="done_again"}')).toBe(5);
});

test('latency classes add up, as Prometheus wants them', async () => {
  const { metrics, counts } = setUp();
  for (const tookMs of [0.05, 0.2, 61_000]) counts.record(0, Operation.read, 4096, 0, 0, tookMs);
  const values = await scrape(metrics);
  const below = (le: string) => values.get(`chunkstore_request_duration_seconds_bucket{le="${le}",operation="read"}`);
  expect([below('0.0001'), below('0.00025'), below('60'), below('+Inf')]).toEqual([1, 2, 2, 3]);
  expect(values.get('chunkstore_request_duration_seconds_count{operation="read"}')).toBe(3);
});

test('calls of the engine that change what there is are told with their times, and others are not', async () => {
  const { metrics, calls } = setUp();
  for (const tookMs of [2, 4]) calls.record('snapshot', tookMs);
  calls.record('list', 8);
  const values = await scrape(metrics);
  expect(values.get('chunkstore_engine_call_duration_seconds_sum{call="snapshot"}')).toBe(0.006);
  expect(values.get('chunkstore_engine_call_duration_seconds_count{call="snapshot"}')).toBe(2);
  expect(values.get('chunkstore_engine_call_duration_seconds_count{call="revert"}')).toBe(0);
  expect([...values.keys()].filter((name) => name.includes('call="list"'))).toEqual([]);
});

test('counters do not grow by being scraped', async () => {
  const { metrics, counts } = setUp();
  counts.record(0, Operation.write, 4096, 0, 0, 1);
  await scrape(metrics);
  expect((await scrape(metrics)).get('chunkstore_checkpoints_total')).toBe(7);
});

test('a store that does not answer leaves the former values, and is counted', async () => {
  const { metrics, failing } = setUp();
  await scrape(metrics);
  failing.engineFails = true;
  const values = await scrape(metrics);
  expect(values.get('chunkstore_pool_used_bytes')).toBe(400);
  expect(values.get('chunkstore_metrics_failures_total')).toBe(1);
});

test('a store that stands by tells nothing of its pool, and may do so again', async () => {
  const { metrics, telling } = setUp();
  telling.stop();
  const values = await scrape(metrics);
  expect(
    [...values.keys()].filter((name) =>
      /^chunkstore_(pool|metadata|scrub|defragment|volume|request|checkpoint|recovered|engine)/.test(name),
    ),
  ).toEqual([]);
  expect(() => setUp({ metrics })).not.toThrow();
});

test('calls are counted by name and code', async () => {
  const metrics = createMetrics({ role: 'controller', version: '1' });
  metrics.observeCall({ name: 'CreateVolume', code: 'OK', durationMs: 12 });
  metrics.observeCall({ name: 'CreateVolume', code: 'ABORTED', durationMs: 1 });
  const values = await scrape(metrics);
  expect(values.get('chunkstore_calls_total{call="CreateVolume",code="ABORTED"}')).toBe(1);
  expect(values.get('chunkstore_call_duration_seconds_count{call="CreateVolume"}')).toBe(2);
});

test('the dashboard and the documents name only what is told', async () => {
  const { metrics } = setUp();
  const told = new Set(new Scrape((await metrics.text()).body).names());
  const repository = path.join(import.meta.dirname, '../..');
  const used = ['charts/chunkstore/dashboards/chunkstore.json', 'docs/operations.md'].flatMap((file) =>
    metricNamesIn(readFileSync(path.join(repository, file), 'utf8')),
  );
  expect(used.length).toBeGreaterThan(10);
  expect(used.filter((name) => !told.has(name))).toEqual([]);
});
