import { spawnSync } from 'node:child_process';
import { expect, test } from '@jest/globals';

const source = (name: string): string => JSON.stringify(new URL(`../../src/linux/${name}.ts`, import.meta.url).href);

test('a process that watches something can exit', () => {
  // The descriptor never becomes readable, so the wait for it lasts.
  const program = `
    import { createEventDescriptor } from ${source('eventfd')};
    import { Poller } from ${source('poller')};
    new Poller().watch(createEventDescriptor({ blocking: false }), () => {});
    setTimeout(() => process.exit(7), 100);
  `;
  const { NODE_OPTIONS: _nodeOptions, ...env } = process.env;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 20_000,
    env,
  });
  expect([status, stderr]).toEqual([7, '']);
}, 30_000);
