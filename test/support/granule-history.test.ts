import { describe, expect, test } from '@jest/globals';
import { GranuleHistory, newEntry } from './granule-history.ts';

const values = (history: GranuleHistory): number[] => history.current().map((entry) => entry.value);
const start = (): GranuleHistory => new GranuleHistory([newEntry(0, -1, -1)]);

describe('the history of a granule', () => {
  test('allows the old and the new value while a write is under way, then only the new one', () => {
    const history = start();
    const write = newEntry(1, 10);
    history.add(write);
    expect(values(history)).toEqual([0, 1]);
    write.answered = 20;
    expect(values(history)).toEqual([1]);
  });

  test('keeps both of two writes that overlapped in time, until a read decides', () => {
    const history = start();
    history.add(newEntry(1, 10, 30));
    history.add(newEntry(2, 20, 40));
    expect(values(history)).toEqual([1, 2]);
    history.observed(1);
    expect(values(history)).toEqual([1]);
    expect(history.afterPowerLoss()).toEqual([0, 1, 2]);
  });

  test('a write that ended in an error may have happened, and replaces nothing', () => {
    const history = start();
    history.add({ ...newEntry(1, 10, 20), uncertain: true });
    expect(values(history)).toEqual([0, 1]);
    history.add(newEntry(2, 30, 40));
    expect(values(history)).toEqual([2]);
  });

  test('that shows a write which ended in an error still knows what a power loss may bring back', () => {
    const history = new GranuleHistory([newEntry(7, -1, -1, true)]);
    history.add({ ...newEntry(1, 10, 20), uncertain: true });
    history.observed(1);
    expect(history.afterPowerLoss()).toEqual([7, 1]);
  });

  test('a flush makes durable what was answered when it was asked for, and nothing later', () => {
    const history = start();
    history.add(newEntry(1, 10, 20));
    history.add(newEntry(2, 22, 30));
    history.flushed(25);
    expect(history.afterPowerLoss()).toEqual([1, 2]);
    history.flushed(35);
    expect(history.afterPowerLoss()).toEqual([2]);
  });
});
