/**
 * Prometheus metrics of one process: a registry of its own (no global one), the process's own figures, and the calls that
 * it serves.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

export type { Registry } from 'prom-client';

/** Told of each call that was served. `code` is the name of its gRPC code. */
export type CallObserver = (call: { readonly name: string; readonly code: string; readonly durationMs: number }) => void;

export interface Metrics {
  readonly registry: Registry;
  readonly observeCall: CallObserver;
  /** Called, and awaited, before each scrape; a failure leaves the former values and is counted. */
  beforeScrape(refresh: () => Promise<void>): { /** Calls it no more. */ stop(): void };
  /** In Prometheus' text format. */
  text(): Promise<{ readonly contentType: string; readonly body: string }>;
}

/** From a lookup to a cut that waits for a node to sync. */
const CALL_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export function createMetrics(options: { readonly role: string; readonly version: string }): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'chunkstore_' });
  const registers = [registry];
  new Gauge({ name: 'chunkstore_info', help: 'The version that runs; always 1.', labelNames: ['role', 'version'], registers }).set(
    { role: options.role, version: options.version },
    1,
  );
  const calls = new Counter({
    name: 'chunkstore_calls_total',
    help: 'Calls served, by their gRPC code.',
    labelNames: ['call', 'code'],
    registers,
  });
  const durations = new Histogram({
    name: 'chunkstore_call_duration_seconds',
    help: 'How long calls took.',
    labelNames: ['call'],
    buckets: CALL_SECONDS,
    registers,
  });
  const failures = new Counter({
    name: 'chunkstore_metrics_failures_total',
    help: 'Scrapes that got old values because new ones could not be read.',
    registers,
  });
  const refreshes = new Set<() => Promise<void>>();
  return {
    registry,
    beforeScrape: (refresh) => {
      refreshes.add(refresh);
      return { stop: () => void refreshes.delete(refresh) };
    },
    observeCall: ({ name, code, durationMs }) => {
      calls.inc({ call: name, code });
      durations.observe({ call: name }, durationMs / 1_000);
    },
    text: async () => {
      for (const { status } of await Promise.allSettled([...refreshes].map((refresh) => refresh())))
        if (status === 'rejected') failures.inc();
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}
