/**
 * Proves that the lint rules which hold the architecture find what they are for: every case plants one violation in a
 * copy of the configuration's surroundings and names the rule that must report it, in that file and no other.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const repository = join(import.meta.dirname, '../..');
const restricted = 'eslint(no-restricted-imports)';

const violations: { file: string; text: string; rule: string }[] = [
  { file: 'src/engine/a.ts', text: `import { x } from '../block/x.ts';\nexport const y = x;`, rule: restricted },
  { file: 'src/engine/b.ts', text: `import type { X } from '../csi/x.ts';\nexport type Y = X;`, rule: restricted },
  { file: 'src/engine/c.ts', text: `export const y = await import('../main.ts');`, rule: restricted },
  { file: 'src/engine/deep/d.ts', text: `export { x } from '../../linux/x.ts';`, rule: restricted },
  { file: 'src/engine/e.ts', text: `import grpc from '@grpc/grpc-js';\nexport const y = grpc;`, rule: restricted },
  { file: 'src/linux/a.ts', text: `export { x } from '../engine/x.ts';`, rule: restricted },
  { file: 'src/mount/a.ts', text: `export { x } from '../block/x.ts';`, rule: restricted },
  { file: 'src/block/a.ts', text: `export { x } from '../engine/x.ts';`, rule: restricted },
  { file: 'src/block/b.ts', text: `import koffi from 'koffi';\nexport const y = koffi;`, rule: restricted },
  { file: 'src/csi/a.ts', text: `export { x } from '../store/x.ts';`, rule: restricted },
  { file: 'src/k8s/a.ts', text: `export { x } from '../csi/x.ts';`, rule: restricted },
  { file: 'src/store/a.ts', text: `export { x } from '../mount/x.ts';`, rule: restricted },
  { file: 'src/util/a.ts', text: `export { x } from '../linux/x.ts';`, rule: restricted },
  { file: 'src/main.ts', text: `import koffi from 'koffi';\nexport const y = koffi;`, rule: restricted },
  { file: 'test/engine/a.ts', text: `import koffi from 'koffi';\nexport const y = koffi;`, rule: restricted },
  { file: 'src/util/cycle.ts', text: `import { b } from './cycle2.ts';\nexport const a = () => b;`, rule: 'import(no-cycle)' },
  { file: 'src/util/p.ts', text: `const f = async () => 1;\nf();`, rule: 'typescript(no-floating-promises)' },
  { file: 'src/util/q.ts', text: `const f = async () => 1;\nif (f()) process.exit(1);`, rule: 'typescript(no-misused-promises)' },
  { file: 'test/util/p.ts', text: `const f = async () => 1;\nf();`, rule: 'typescript(no-floating-promises)' },
  {
    file: 'test/util/only.test.ts',
    text: `import { test } from '@jest/globals';\ntest.only('x', () => {});`,
    rule: 'jest(no-focused-tests)',
  },
];

const permitted: Record<string, string> = {
  ...Object.fromEntries(
    ['engine', 'block', 'csi', 'linux', 'mount', 'store', 'util'].map((name) => [
      `src/${name}/x.ts`,
      `export type X = 1;\nexport const x = 1;`,
    ]),
  ),
  'src/util/cycle2.ts': `export const b = 1;\nexport { a } from './cycle.ts';`,
  'src/engine/ok.ts': `export { x } from '../util/x.ts';\nexport { x as y } from './x.ts';`,
  'src/engine/deep/ok.ts': `export { x } from '../../util/x.ts';\nexport { x as y } from '../x.ts';`,
  'src/store/ok.ts': `export { x } from '../engine/x.ts';\nexport { x as y } from '../block/x.ts';\nexport { x as z } from '../linux/x.ts';`,
  'src/block/ok.ts': `export { x } from '../linux/x.ts';`,
  'src/mount/ok.ts': `export { x } from '../linux/x.ts';`,
  'src/linux/ok.ts': `import koffi from 'koffi';\nexport const y = koffi;`,
  'src/csi/ok.ts': `import grpc from '@grpc/grpc-js';\nexport const y = grpc;`,
  'src/config.ts': `export { x } from './engine/x.ts';\nexport { x as y } from './csi/x.ts';`,
};

interface Finding {
  code: string;
  filename: string;
}

describe('lint rules', () => {
  let folder: string;
  let findings: Finding[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'chunkstore-lint-'));
    for (const name of ['oxlint.config.ts', 'tsconfig.json', 'package.json']) await cp(join(repository, name), join(folder, name));
    await symlink(join(repository, 'node_modules'), join(folder, 'node_modules'));
    await mkdir(join(folder, 'test'));
    await cp(join(repository, 'test/tsconfig.json'), join(folder, 'test/tsconfig.json'));
    for (const [file, text] of [...Object.entries(permitted), ...violations.map(({ file, text }) => [file, text] as const)]) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await writeFile(join(folder, file), `${text}\n`);
    }
    findings = await lint(folder);
  }, 60_000);

  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each(violations)('$file is reported by $rule', ({ file, rule }) => {
    expect(findings.filter(({ filename }) => filename === file).map(({ code }) => code)).toContain(rule);
  });

  test('files that keep to the table are not reported', () => {
    const cycle = ['src/util/cycle2.ts'];
    expect(findings.filter(({ filename }) => filename in permitted && !cycle.includes(filename))).toEqual([]);
  });
});

async function lint(folder: string): Promise<Finding[]> {
  const run = promisify(execFile)(process.execPath, ['node_modules/oxlint/bin/oxlint', '-f', 'json'], { cwd: folder, timeout: 50_000 });
  // It exits with 1 because it finds something; what it found is on stdout either way.
  const { stdout } = await run.catch((error: { stdout: string }) => error);
  return (JSON.parse(stdout) as { diagnostics: Finding[] }).diagnostics;
}
