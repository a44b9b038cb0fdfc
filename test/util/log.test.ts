import { describe, expect, test } from '@jest/globals';
import { join } from 'node:path';
import { createLogger, silentLogger } from '../../src/util/log.ts';
import { runCommand } from '../../src/util/exec.ts';

const logModule = join(import.meta.dirname, '../../src/util/log.ts');

/** Runs a program with a logger of its own, because a logger writes to the process's standard error. */
async function logLines(program: string): Promise<Record<string, unknown>[]> {
  const text = `import { createLogger } from ${JSON.stringify(logModule)};\n${program}`;
  const { output, errorOutput } = await runCommand(process.execPath, ['--input-type=module', '--eval', text], { timeoutMs: 20_000 });
  expect(output).toBe('');
  return errorOutput
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('logs', () => {
  test('are JSON lines on standard error with role, process, time and what the caller adds', async () => {
    const [line] = await logLines(`
      const request = createLogger({ role: 'node', level: 'info' }).child({ requestId: 'r1', volume: 'v1' });
      request.info({ durationMs: 3 }, 'staged');
    `);
    expect(line).toMatchObject({ level: 30, role: 'node', requestId: 'r1', volume: 'v1', durationMs: 3, msg: 'staged' });
    expect(line?.['pid']).toEqual(expect.any(Number));
    expect(new Date(String(line?.['time'])).toISOString()).toBe(line?.['time']);
  });

  test('below the level nothing is written, and an error keeps its cause', async () => {
    const lines = await logLines(`
      const logger = createLogger({ role: 'store', level: 'warn' });
      logger.info('not this');
      logger.error({ err: new Error('outer', { cause: new Error('inner') }) }, 'failed');
    `);
    expect(lines).toHaveLength(1);
    expect(JSON.stringify(lines[0])).toMatch(/outer.*inner/);
  });

  test('the last line before a sudden end is not lost', async () => {
    const lines = await logLines(`createLogger({ role: 'store', level: 'info' }).info('last'); process.exit(0);`);
    expect(lines).toHaveLength(1);
  });

  test('the levels are those that the command line takes', () => {
    expect(createLogger({ role: 'keeper', level: 'debug' }).level).toBe('debug');
    expect(silentLogger().level).toBe('silent');
  });
});
