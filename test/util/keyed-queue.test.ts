import { describe, expect, test } from '@jest/globals';
import { KeyedQueue } from '../../src/util/keyed-queue.ts';

describe('a keyed queue', () => {
  test('runs tasks of one key in order of arrival, one at a time', async () => {
    const queue = new KeyedQueue({ maximumWaiting: 10 });
    const steps: string[] = [];
    const task = (name: string, turns: number) => async () => {
      steps.push(`${name} starts`);
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      steps.push(`${name} ends`);
      return name;
    };
    const answers = await Promise.all([queue.run('k', task('a', 20)), queue.run('k', task('b', 5)), queue.run('k', task('c', 0))]);
    expect(answers).toEqual(['a', 'b', 'c']);
    expect(steps).toEqual(['a starts', 'a ends', 'b starts', 'b ends', 'c starts', 'c ends']);
  });

  test('runs tasks of different keys at once', async () => {
    const queue = new KeyedQueue({ maximumWaiting: 10 });
    const gate = Promise.withResolvers<void>();
    const waiting = queue.run('a', () => gate.promise);
    await expect(queue.run('b', async () => 'done')).resolves.toBe('done');
    gate.resolve();
    await waiting;
  });

  test('a task that fails does not stop those behind it', async () => {
    const queue = new KeyedQueue({ maximumWaiting: 10 });
    const failing = queue.run('k', () => Promise.reject(new Error('no')));
    const behind = queue.run('k', async () => 'yes');
    await expect(failing).rejects.toThrow('no');
    await expect(behind).resolves.toBe('yes');
  });

  test('with too many in line the next is told busy, and the line goes on', async () => {
    const queue = new KeyedQueue({ maximumWaiting: 1 });
    const gate = Promise.withResolvers<void>();
    const running = queue.run('k', () => gate.promise);
    const waiting = queue.run('k', async () => 'second');
    await expect(queue.run('k', async () => 'third')).rejects.toThrow(expect.objectContaining({ code: 'busy' }));
    gate.resolve();
    await running;
    await expect(waiting).resolves.toBe('second');
    await expect(queue.run('k', async () => 'fourth')).resolves.toBe('fourth');
  });
});
