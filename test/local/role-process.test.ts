import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { RoleProcess } from '../../src/local/role-process.ts';
import { silentLogger } from '../../src/util/log.ts';
import { eventually } from '../support/eventually.ts';

/** A role in a few lines: what it does is its argument. */
const PROGRAM = `
import fs from 'node:fs';
const [kind, file] = process.argv.slice(2);
fs.appendFileSync(file, 'start\\n');
if (kind === 'stillborn') process.exit(1);
process.on('message', (message) => {
  if (message.kind === 'stop' && kind !== 'deaf') process.exit(0);
  if (message.kind === 'drain') process.send({ kind: 'drained', holders: ['a mount at /x'] });
});
process.on('disconnect', () => process.exit(0));
process.send({ kind: 'ready' });
`;

let folder: string;
let starts: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-role-'));
  fs.writeFileSync(path.join(folder, 'role.mjs'), PROGRAM);
  starts = path.join(folder, 'starts');
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

function role(kind: string): RoleProcess {
  return new RoleProcess({
    name: kind,
    command: [process.execPath, path.join(folder, 'role.mjs'), kind, starts],
    log: silentLogger(),
    pauseMs: { first: 20, most: 100 },
  });
}

describe('role process', () => {
  test('is ready when it says so, drains, and ends when told', async () => {
    const process_ = role('good');
    await process_.start();
    expect(process_.isReady).toBe(true);
    expect(await process_.drain({ timeoutMs: 5000 })).toEqual(['a mount at /x']);
    await process_.stop({ timeoutMs: 5000 });
    expect(process_.pid).toBeNull();
  });

  test('is started again when it dies, as another life', async () => {
    const process_ = role('good');
    await process_.start();
    const { pid } = process_;
    process.kill(pid!, 'SIGKILL');
    await eventually('it is started again', () => process_.life === 2);
    expect(process_.pid).not.toBe(pid);
    expect(fs.readFileSync(starts, 'utf8')).toBe('start\nstart\n');
    await process_.stop({ timeoutMs: 5000 });
  });

  test('that cannot start is not tried again', async () => {
    const process_ = role('stillborn');
    await expect(process_.start()).rejects.toMatchObject({ code: 'unavailable' });
    expect(fs.readFileSync(starts, 'utf8')).toBe('start\n');
  });

  test('that cannot be run at all is an error too', async () => {
    const process_ = new RoleProcess({ name: 'none', command: ['/nowhere/at/all'], log: silentLogger() });
    await expect(process_.start()).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('that does not hear is killed', async () => {
    const process_ = role('deaf');
    await process_.start();
    await process_.stop({ timeoutMs: 100 });
    expect(process_.pid).toBeNull();
  });

  test('waiting for it has a limit', async () => {
    const process_ = role('good');
    await expect(process_.whenReady({ timeoutMs: 50 })).rejects.toMatchObject({ code: 'unavailable' });
  });
});
