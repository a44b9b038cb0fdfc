import { describe, expect, test } from '@jest/globals';
import { topologyValue } from '../../src/util/topology.ts';

describe('the topology value of a node', () => {
  test('is its name', () => {
    expect(topologyValue('node-1.example.com')).toBe('node-1.example.com');
    expect(topologyValue('a'.repeat(63))).toBe('a'.repeat(63));
  });

  test('of a long name fits a label, and differs where the names do', () => {
    const names = ['x', 'y'].map((end) => `${'rack.'.repeat(20)}${end}`);
    const values = names.map(topologyValue);
    for (const value of values) expect(value).toMatch(/^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])$/);
    expect(new Set(values).size).toBe(2);
    expect(topologyValue(names[0]!)).toBe(values[0]);
  });
});
