/**
 * What the global set-up leaves for the tests: where the cluster is, or why there is none. It travels as one variable of
 * the environment, which jest hands to its workers.
 */
export interface Settings {
  /** Why no test of this layer can run here; null when they can. */
  readonly lack: string | null;
  /** Program and first arguments of anything that must reach the API server: nsenter …, or none. */
  readonly prefix: readonly string[];
  /** The KUBECONFIG for kubectl and helm. */
  readonly kubeconfig: string;
  /** Unix socket of a proxy in front of the API server. */
  readonly apiSocket: string;
  /** The cluster that test/e2e/cluster started: its nodes can be cut off, their processes killed. Null on any other. */
  readonly ownCluster: { readonly program: string } | null;
  readonly helm: string;
  /** A packaged chart, and the values that it is installed with. */
  readonly chart: string;
  readonly values: readonly string[];
  readonly namespace: string;
  readonly release: string;
  /** Image with the tools for test pods, and the driver's. */
  readonly toolsImage: string;
  readonly driverImage: { readonly repository: string; readonly tag: string };
  /** Where logs of failed tests and the times go. */
  readonly artifacts: string;
}

const variable = 'CHUNKSTORE_E2E_SETTINGS';

export function publishSettings(settings: Settings): void {
  process.env[variable] = JSON.stringify(settings);
}

/** Null outside of the e2e layer. */
export function readSettings(): Settings | null {
  const text = process.env[variable];
  return text === undefined ? null : (JSON.parse(text) as Settings);
}
