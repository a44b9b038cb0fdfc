/**
 * Where the Kubernetes API is and who we are to it: the service account of the pod that we run in, or a kubeconfig.
 *
 * The package @kubernetes/client-node understands every kubeconfig (plugins, OIDC, proxies), but its import alone costs
 * 0.3 s and 87 MB of resident memory (Node 24; its config submodule imports the rest). So it is imported only for a
 * kubeconfig: on a developer's machine and in tests. In a cluster it takes two files and two variables.
 */
import { readFile } from 'node:fs/promises';
import type { OutgoingHttpHeaders } from 'node:http';
import type { RequestOptions } from 'node:https';
import { join } from 'node:path';
import { StoreError } from '../../util/errors.ts';

export interface Credentials extends RequestOptions {
  headers?: OutgoingHttpHeaders;
}

export interface Connection {
  /** For instance https://10.96.0.1:443, perhaps with a path in front of the API's own. */
  readonly server: URL;
  /** What every request carries beside its own: authentication, trust, perhaps an agent that goes through a proxy.
   * `renewed` is asked for after the server refused what it got before. */
  credentials(options: { readonly renewed: boolean }): Promise<Credentials>;
}

/** Mounted into every pod by the kubelet, which also replaces the token long before it expires. */
const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';
/** The kubelet replaces a token of an hour after 48 minutes, so this is often enough. */
const REREAD_AFTER_MS = 10_000;

/** As the service account of this pod. `failed-precondition` when this is no pod, or one without a token. */
export async function inClusterConnection(
  options: { readonly environment?: NodeJS.ProcessEnv; readonly folder?: string; readonly monotonicMs?: () => number } = {},
): Promise<Connection> {
  const { environment = process.env, folder = SERVICE_ACCOUNT_FOLDER, monotonicMs = () => performance.now() } = options;
  const host = environment['KUBERNETES_SERVICE_HOST'];
  const port = environment['KUBERNETES_SERVICE_PORT_HTTPS'] ?? environment['KUBERNETES_SERVICE_PORT'] ?? '443';
  if (host === undefined || host === '') {
    throw new StoreError(
      'failed-precondition',
      'this is no pod of Kubernetes (KUBERNETES_SERVICE_HOST is not set); name a kubeconfig instead',
    );
  }
  const server = new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`);
  const read = async (): Promise<Credentials> => {
    const [token, ca] = await Promise.all([readFile(join(folder, 'token'), 'utf8'), readFile(join(folder, 'ca.crt'), 'utf8')]);
    return { headers: { authorization: `Bearer ${token.trim()}` }, ca };
  };
  const explain = (cause: unknown): never => {
    throw new StoreError(
      'failed-precondition',
      `there is no token of a service account in ${folder}; the pod needs automountServiceAccountToken`,
      {
        cause,
      },
    );
  };
  let known = { options: await read().catch(explain), readAtMs: monotonicMs() };
  return {
    server,
    credentials: async ({ renewed }) => {
      if (renewed || monotonicMs() - known.readAtMs >= REREAD_AFTER_MS) {
        // While the files are being replaced, what was read before still holds.
        known = { options: await read().catch(() => known.options), readAtMs: monotonicMs() };
      }
      return known.options;
    },
  };
}

/** As the current context of a kubeconfig says. `failed-precondition` when it cannot be read or names no cluster. */
export async function kubeconfigConnection(path: string): Promise<Connection> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  try {
    config.loadFromFile(path);
  } catch (cause) {
    throw new StoreError('failed-precondition', `the kubeconfig ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new StoreError('failed-precondition', `the kubeconfig ${path} has no current context with a cluster`);
  return {
    server: new URL(cluster.server),
    credentials: async () => {
      const options: Credentials = {};
      await config.applyToHTTPSOptions(options);
      // Its agent keeps no connection, so ours is better wherever no proxy is in between.
      if (cluster.proxyUrl === undefined) delete options.agent;
      return options;
    },
  };
}
