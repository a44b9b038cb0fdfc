import { describe, expect, test } from '@jest/globals';
import { StatisticsReader, type StatfsAnswer } from '../../src/mount/statistics.ts';

const answer: StatfsAnswer = { bsize: 4096, blocks: 100, bfree: 60, bavail: 50, files: 20, ffree: 15 };
const never = new Promise<never>(() => {});
const unavailable = expect.objectContaining({ code: 'unavailable' });

describe('statistics of a file system', () => {
  test('space that only root may use counts neither as used nor as available', async () => {
    const reader = new StatisticsReader({ ask: () => Promise.resolve(answer) });
    expect(await reader.read('/a')).toEqual({
      totalBytes: 409_600,
      availableBytes: 204_800,
      usedBytes: 163_840,
      totalInodes: 20,
      freeInodes: 15,
      usedInodes: 5,
    });
  });

  test('a path that is not there is not-found', async () => {
    await expect(new StatisticsReader().read('/no/such/path')).rejects.toThrow(expect.objectContaining({ code: 'not-found' }));
  });

  test('a hanging file system is asked once, and others still answer', async () => {
    const asked: string[] = [];
    const reader = new StatisticsReader({
      timeoutMs: 20,
      ask: (path) => {
        asked.push(path);
        return path === '/hangs' ? never : Promise.resolve(answer);
      },
    });
    await expect(reader.read('/hangs')).rejects.toThrow(unavailable);
    await expect(reader.read('/hangs')).rejects.toThrow(/has not answered/);
    expect((await reader.read('/well')).totalInodes).toBe(20);
    expect(asked).toEqual(['/hangs', '/well']);
  });

  test('two hanging file systems are as many as may be waited for', async () => {
    let asked = 0;
    const reader = new StatisticsReader({ timeoutMs: 20, ask: () => ((asked += 1), never) });
    await Promise.all(['/a', '/b'].map((path) => expect(reader.read(path)).rejects.toThrow(unavailable)));
    await expect(reader.read('/c')).rejects.toThrow(/\/a and \/b do not answer/);
    expect(asked).toBe(2);
  });

  test('many at once take turns, and none fails', async () => {
    let running = 0;
    let most = 0;
    const reader = new StatisticsReader({
      ask: async () => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 2));
        running -= 1;
        return answer;
      },
    });
    await Promise.all(Array.from({ length: 20 }, (_, index) => reader.read(`/volume${index}`)));
    expect(most).toBe(2);
    expect(running).toBe(0);
  });

  test('a file system that answers late is asked again', async () => {
    let reply: (value: StatfsAnswer) => void = () => {};
    const reader = new StatisticsReader({ timeoutMs: 20, ask: () => new Promise((resolve) => (reply = resolve)) });
    await expect(reader.read('/slow')).rejects.toThrow(unavailable);
    reply(answer);
    await new Promise((resolve) => setTimeout(resolve, 1));
    const again = reader.read('/slow');
    reply(answer);
    expect((await again).totalInodes).toBe(20);
  });
});
