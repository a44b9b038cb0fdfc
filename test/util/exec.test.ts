import { describe, expect, test } from '@jest/globals';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { describeCommand, runCommand } from '../../src/util/exec.ts';

describe('other programs', () => {
  test('give back status and both outputs', async () => {
    const result = await runCommand('sh', ['-c', 'echo out; echo err >&2; exit 3'], { timeoutMs: 5000, expectedStatuses: [3] });
    expect(result).toEqual({ status: 3, output: 'out\n', errorOutput: 'err\n' });
  });

  test('a status that was not expected is an error with the command and its last words', async () => {
    const failure = runCommand('sh', ['-c', 'echo why >&2; exit 1'], { timeoutMs: 5000, failureCode: 'data-loss' });
    await expect(failure).rejects.toThrow(
      expect.objectContaining({ code: 'data-loss', message: expect.stringMatching(/^sh -c .*status 1: why$/) }),
    );
  });

  test('the reason is not lost before an explanation of all options', async () => {
    const failure = runCommand('sh', ['-c', 'echo too small; echo Usage: x; seq 100; exit 1'], { timeoutMs: 5000 });
    await expect(failure).rejects.toThrow(/status 1: too small$/);
  });

  test('one that is not installed is named', async () => {
    await expect(runCommand('no-such-program', [], { timeoutMs: 5000 })).rejects.toThrow(
      expect.objectContaining({ code: 'failed-precondition', message: expect.stringContaining('no-such-program') }),
    );
  });

  test('one that takes too long is killed', async () => {
    const start = performance.now();
    await expect(runCommand('sleep', ['33.25'], { timeoutMs: 50 })).rejects.toThrow(expect.objectContaining({ code: 'unavailable' }));
    expect(performance.now() - start).toBeLessThan(5000);
  });

  test('one that takes too long is killed together with what it started', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'exec-'));
    const file = join(folder, 'pid');
    try {
      await expect(runCommand('sh', ['-c', 'sleep 34.5 & echo $! > "$1"; wait', 'sh', file], { timeoutMs: 300 })).rejects.toThrow(
        /did not/,
      );
      const pid = Number(await readFile(file, 'utf8'));
      expect(pid).toBeGreaterThan(1);
      // A killed process may wait a moment for its parent to collect it; its command line is empty by then.
      await eventually('its child ends', async () => (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) === '');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('one whose child keeps the output open is answered at the limit too', async () => {
    const start = performance.now();
    await expect(runCommand('sh', ['-c', 'sleep 3.75 & wait'], { timeoutMs: 50 })).rejects.toThrow(/did not finish/);
    expect(performance.now() - start).toBeLessThan(3000);
  });

  test('is never given to a shell, and reads nothing from us', async () => {
    const result = await runCommand('sh', ['-c', 'cat; echo "$1"', 'sh', '$(echo injected); x'], { timeoutMs: 5000 });
    expect(result.output).toBe('$(echo injected); x\n');
  });

  test('output beyond a limit is dropped', async () => {
    const result = await runCommand('head', ['-c', '3000000', '/dev/zero'], { timeoutMs: 5000 });
    expect(result.output.length).toBe(1024 * 1024);
  });

  test('speaks English and knows sbin', async () => {
    const result = await runCommand('sh', ['-c', 'echo "$LC_ALL $PATH"'], { timeoutMs: 5000 });
    expect(result.output).toMatch(/^C .*:\/usr\/sbin:/);
  });

  test('is shown as a person would type it', () => {
    expect(describeCommand('mount', ['-o', 'ro,x=1', "/it's here"])).toBe(`mount -o ro,x=1 '/it'\\''s here'`);
  });
});
