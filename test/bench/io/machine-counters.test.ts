import { describe, expect, test } from '@jest/globals';
import { busyMicrosecondsOf, readCounters, writtenBytesOf } from './machine-counters.ts';

describe('Counters of the machine', () => {
  test('take idle time, waits for disks and stolen time from the time of the processors', () => {
    const text = 'cpu  100 20 300 99999 88888 4 5 77777 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n';
    expect(busyMicrosecondsOf(text)).toBe((100 + 20 + 300 + 4 + 5) * 10_000);
  });

  test('take the sectors written of a disk by 512 bytes', () => {
    expect(writtenBytesOf('  10 20 30 40 50 60 700 80 0 90 100 0 0 0 0 0 0\n')).toBe(700 * 512);
  });

  test('grow with the time that this process uses', () => {
    const before = readCounters('/');
    const endMs = performance.now() + 60;
    while (performance.now() < endMs);
    expect(readCounters('/').busyMicroseconds).toBeGreaterThan(before.busyMicroseconds);
  });

  test('know nothing of a disk where there is none', () => {
    expect(readCounters('/proc').writtenBytes).toBeNull();
  });
});
