import { expect, test } from '@jest/globals';
import { fillMarked } from './markers.ts';

const page = ['before', '<!-- begin a -->', 'old', '<!-- end a -->', 'between', '<!-- begin b -->', '<!-- end b -->', 'after'].join('\n');
const parts = new Map([
  ['a', 'new a\n'],
  ['b', 'new b'],
]);

test('what stands between markers is replaced, and nothing else', () => {
  const filled = fillMarked(page, parts);
  expect(filled.split('\n').filter((line) => line !== '')).toEqual([
    ...['before', '<!-- begin a -->', 'new a', '<!-- end a -->', 'between'],
    ...['<!-- begin b -->', 'new b', '<!-- end b -->', 'after'],
  ]);
  expect(fillMarked(filled, parts)).toBe(filled);
});

test('a page that asks for what there is not, or does not end a part, is refused', () => {
  expect(() => fillMarked(page, new Map([['a', 'new']]))).toThrow('"b"');
  expect(() => fillMarked('<!-- begin a -->\n<!-- end b -->', parts)).toThrow('<!-- end a -->');
});
