import { expect, test } from '@jest/globals';
import { oneLine } from '../../src/util/one-line.ts';

test.each([
  ['a line, and nothing behind it', 'first\nsecond', 'first'],
  ['no more than the limit', 'x'.repeat(20), 'x'.repeat(10)],
  ['no half of a pair that the limit cuts', `${'x'.repeat(9)}😀`, `${'x'.repeat(9)}\ufffd`],
  ['no half that was there', 'a\ud800b', 'a\ufffdb'],
  ['nothing of nothing', '', ''],
])('%s', (_, text, expected) => {
  const line = oneLine(text, { maximumLength: 10 });
  expect(line).toBe(expected);
  expect(() => encodeURI(line)).not.toThrow();
});
