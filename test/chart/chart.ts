/** The chart, rendered by helm without a cluster, as its tests and `refresh.ts` see it. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments, stringify } from 'yaml';
import { helmPath } from '../support/machine.ts';

export const repository = join(import.meta.dirname, '../..');
export const chartFolder = join(repository, 'charts/chunkstore');
export const namespace = 'storage';
export const release = 'chunkstore';
/** The oldest that the chart allows has no part in what is rendered; helm wants to be told one. */
const KUBERNETES_VERSION = '1.34.0';
const LIMIT_MS = 30_000;

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

export interface HelmResult {
  readonly status: number;
  readonly output: string;
}

/** Names of the files in value-sets/, without their ending. */
export function valueSets(): readonly string[] {
  return readdirSync(join(import.meta.dirname, 'value-sets'))
    .map((file) => basename(file, '.yaml'))
    .toSorted();
}

export function valueSetPath(name: string): string {
  return join(import.meta.dirname, 'value-sets', `${name}.yaml`);
}

export function renderedPath(name: string): string {
  return join(import.meta.dirname, 'rendered', `${name}.yaml`);
}

/** Runs helm; what it prints on both streams, whatever becomes of it. */
export async function helm(...args: readonly string[]): Promise<HelmResult> {
  try {
    const { stdout, stderr } = await promisify(execFile)(helmPath, [...args, '--kube-version', KUBERNETES_VERSION], {
      timeout: LIMIT_MS,
      maxBuffer: 64 * 2 ** 20,
    });
    return { status: 0, output: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: number; stdout?: string; stderr?: string };
    return { status: typeof code === 'number' ? code : 1, output: `${stdout ?? ''}${stderr ?? ''}` };
  }
}

export function template(...args: readonly string[]): Promise<HelmResult> {
  return helm('template', release, chartFolder, '--namespace', namespace, ...args);
}

/** All objects of a rendering, hooks too, in the order of kind and name. */
export async function render(...args: readonly string[]): Promise<readonly Manifest[]> {
  const { status, output } = await template(...args);
  if (status !== 0) throw new Error(`helm template failed: ${output}`);
  return parseManifests(output).toSorted((one, other) => (keyOf(one) < keyOf(other) ? -1 : 1));
}

export function renderSet(name: string): Promise<readonly Manifest[]> {
  return render('--values', valueSetPath(name));
}

export function parseManifests(text: string): readonly Manifest[] {
  return parseAllDocuments(text, { strict: true, uniqueKeys: true }).flatMap((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw error;
    const value = document.toJS() as Manifest | null;
    return value === null ? [] : [value];
  });
}

/** The text that is kept of a rendering: the same from every version of helm. Dashboards are named, not shown. */
export function textOf(manifests: readonly Manifest[]): string {
  return manifests.map((manifest) => stringify(withoutDashboards(manifest), { lineWidth: 0, singleQuote: true })).join('---\n');
}

export function readRendered(name: string): string {
  return existsSync(renderedPath(name)) ? readFileSync(renderedPath(name), 'utf8') : '';
}

function keyOf({ kind, metadata }: Manifest): string {
  return `${kind} ${metadata.name}`;
}

function withoutDashboards(manifest: Manifest): Manifest {
  if (manifest.kind !== 'ConfigMap' || !manifest.metadata.name.endsWith('-dashboard')) return manifest;
  const data = manifest['data'] as Readonly<Record<string, string>>;
  return { ...manifest, data: Object.fromEntries(Object.keys(data).map((file) => [file, '(the file)'])) };
}
