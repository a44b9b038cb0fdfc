import { describe, expect, test } from '@jest/globals';
import { formatBytes, formatTable } from '../../src/operator/output.ts';
import { drawTree, type TreeItem } from '../../src/operator/tree.ts';

const item = (id: string, sourceId: string | null, createdAtMs: number): TreeItem => ({
  id,
  name: id,
  kind: 'volume',
  sourceId,
  createdAtMs,
});

describe('tree of descent', () => {
  test('puts each below what it was made from, the oldest first', () => {
    const lines = drawTree([
      item('clone', 's1', 5),
      item('s2', 'data', 3),
      item('s1', 'data', 2),
      item('data', null, 1),
      item('other', null, 4),
    ]);
    expect(lines.map(({ prefix, item: { name } }) => prefix + name)).toEqual(['data', '├─ s1', '│  └─ clone', '└─ s2', 'other']);
  });

  test('what descends from something deleted stands at the root', () => {
    expect(drawTree([item('s1', 'gone', 1)]).map(({ prefix }) => prefix)).toEqual(['']);
  });
});

describe('output', () => {
  test('a table aligns its columns', () => {
    const lines = formatTable(
      [
        { name: 'a', size: 1 },
        { name: '└─ bb', size: 100 },
      ],
      [
        { title: 'NAME', text: ({ name }) => name },
        { title: 'SIZE', text: ({ size }) => String(size), right: true },
      ],
    );
    expect(lines).toEqual(['NAME   SIZE', 'a         1', '└─ bb   100']);
  });

  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.50 KiB'],
    [65536, '64 KiB'],
    [5 * 2 ** 30, '5 GiB'],
    [12.34 * 2 ** 40, '12.3 TiB'],
  ])('%d bytes are %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));
});
