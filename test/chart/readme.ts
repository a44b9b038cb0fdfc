/**
 * The chart's README, made from Chart.yaml and the comments of values.yaml: the comment above a value is its row, a
 * comment that begins with "##" a heading. A value whose parts have no comments is one row.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { chartFolder } from './chart.ts';

interface Row {
  readonly path: readonly string[];
  readonly about: string;
}

type Line = { readonly kind: 'heading'; readonly text: string } | ({ readonly kind: 'row' } & Row);

export const readmePath = join(chartFolder, 'README.md');

export function readmeText(): string {
  const text = readFileSync(join(chartFolder, 'values.yaml'), 'utf8');
  const chart = parse(readFileSync(join(chartFolder, 'Chart.yaml'), 'utf8')) as {
    readonly description: string;
    readonly kubeVersion: string;
  };
  const values: unknown = parse(text);
  const parts: string[] = [introduction(chart)];
  let rows: string[] = [];
  const flush = (): void => {
    if (rows.length > 0) parts.push(['| value | default | |', '| --- | --- | --- |', ...rows].join('\n'));
    rows = [];
  };
  for (const line of linesOf(text)) {
    if (line.kind === 'heading') {
      flush();
      parts.push(`## ${line.text}`);
    } else {
      rows.push(`| \`${line.path.join('.')}\` | ${shown(valueAt(values, line.path))} | ${line.about.replaceAll('|', '\\|')} |`);
    }
  }
  flush();
  return `${parts.join('\n\n')}\n`;
}

/** Values that have no comment of their own, nor one above or below them: they are missing from the README. */
export function undocumentedValues(): readonly string[] {
  const text = readFileSync(join(chartFolder, 'values.yaml'), 'utf8');
  const documented = linesOf(text).flatMap((line) => (line.kind === 'row' ? [line.path.join('.')] : []));
  const isDocumented = (path: string): boolean => documented.some((known) => path === known || path.startsWith(`${known}.`));
  return leavesOf(parse(text), []).filter((path) => !isDocumented(path));
}

function introduction({ description, kubeVersion }: { readonly description: string; readonly kubeVersion: string }): string {
  return [
    '# chunkstore',
    `${description}. A CSI driver, \`csi.chunkstore.dev\`, with a pool on each node.`,
    `Needs Kubernetes ${kubeVersion.replace('-0', '').replace('>=', '').replace(/\.0$/, '')} or newer, and helm 3.8 or newer.`,
    [
      '```sh',
      'kubectl create namespace chunkstore',
      'kubectl label namespace chunkstore pod-security.kubernetes.io/enforce=privileged',
      'helm install chunkstore charts/chunkstore --namespace chunkstore --set pool.size=100GiB',
      '```',
    ].join('\n'),
    'Where VolumeSnapshots are not in the cluster yet, add `--set snapshotController.enabled=true`; helm says so. `helm uninstall` is refused while pods use volumes; it leaves the data on the nodes, and the resource definitions (CRDs). A cluster has one release of this chart.',
    '<!-- Made from values.yaml by `node test/chart/refresh.ts`. -->',
  ].join('\n\n');
}

function linesOf(text: string): readonly Line[] {
  const lines: Line[] = [];
  const above: { readonly indent: number; readonly key: string }[] = [];
  let comment: string[] = [];
  for (const line of text.split('\n')) {
    const said = /^ *# ?(.*)$/.exec(line)?.[1];
    if (said !== undefined) {
      if (said.startsWith('## ')) lines.push({ kind: 'heading', text: said.slice(3) });
      else comment.push(said);
      continue;
    }
    const [, spaces, key] = /^( *)([A-Za-z][\w.-]*):/.exec(line) ?? [];
    if (spaces !== undefined && key !== undefined) {
      while ((above.at(-1)?.indent ?? -1) >= spaces.length) above.pop();
      above.push({ indent: spaces.length, key });
      if (comment.length > 0) lines.push({ kind: 'row', path: above.map((each) => each.key), about: comment.join(' ') });
    }
    comment = [];
  }
  return lines;
}

function valueAt(values: unknown, path: readonly string[]): unknown {
  return path.reduce((value, key) => (value as Record<string, unknown>)[key], values);
}

function shown(value: unknown): string {
  return value === '' ? '' : `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
}

function leavesOf(value: unknown, path: readonly string[]): readonly string[] {
  const isMap = value !== null && typeof value === 'object' && !Array.isArray(value);
  const entries = isMap ? Object.entries(value as Record<string, unknown>) : [];
  return entries.length === 0 ? [path.join('.')] : entries.flatMap(([key, part]) => leavesOf(part, [...path, key]));
}
