import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { eventually } from '../../support/eventually.ts';

const SOURCE = path.join(import.meta.dirname, '../../../src');
const PARENT = 'CHUNKSTORE_PARENT_PID';

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-life-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

/** A process with a role of a few lines, which has `control`, `log` and `file` at hand. */
function startRole(body: string, options: { readonly parent: boolean }): ChildProcess & { words: string[] } {
  const program = path.join(folder, 'role.mjs');
  fs.writeFileSync(
    program,
    `import fs from 'node:fs';
     import { once } from 'node:events';
     import { runRole } from '${SOURCE}/roles/process/lifecycle.ts';
     import { createLogger } from '${SOURCE}/util/log.ts';
     const file = '${folder}/file';
     const log = createLogger({ role: 'test', level: 'info' });
     await runRole({ name: 'test', log, start: async (control) => { ${body} } });`,
  );
  const { NODE_OPTIONS: _flags, [PARENT]: _parent, ...environment } = process.env;
  const child = spawn(process.execPath, [program], {
    stdio: ['ignore', 'inherit', 'pipe', options.parent ? 'ipc' : 'ignore'],
    env: options.parent ? { ...environment, [PARENT]: String(process.pid) } : environment,
  });
  const words: string[] = [];
  child.stderr?.setEncoding('utf8').on('data', (text: string) => words.push(...text.split('\n').filter((line) => line !== '')));
  return Object.assign(child, { words });
}

/** Something that keeps the process alive, as a server would. */
const stops = `setInterval(() => {}, 1000); return { stop: async () => fs.writeFileSync(file, 'stopped') };`;

test('a role that becomes ready after its parent went ends in order', async () => {
  const child = startRole(`fs.writeFileSync(file, 'starting'); await once(process, 'disconnect'); ${stops}`, { parent: true });
  await eventually('it starts', () => fs.existsSync(path.join(folder, 'file')));
  child.disconnect();
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(fs.readFileSync(path.join(folder, 'file'), 'utf8')).toBe('stopped');
}, 20_000);

test('on its own a role ends in order on SIGTERM', async () => {
  const child = startRole(stops, { parent: false });
  await eventually('it is ready', () => child.words.some((line) => line.includes('"ready"')));
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(fs.readFileSync(path.join(folder, 'file'), 'utf8')).toBe('stopped');
}, 20_000);

test('a role that cannot go on ends in order, and as a failure', async () => {
  const child = startRole(`setTimeout(() => control.endWith(new Error('the outside said no')), 1); ${stops}`, { parent: false });
  expect(await once(child, 'exit')).toEqual([1, null]);
  expect(child.words.join('\n')).toContain('the outside said no');
  expect(fs.readFileSync(path.join(folder, 'file'), 'utf8')).toBe('stopped');
}, 20_000);
