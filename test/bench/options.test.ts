import { describe, expect, test } from '@jest/globals';
import { parseOptions, type BenchOptions } from './options.ts';

const known = { parts: ['io', 'operations', 'databases'], stages: ['a full volume', 'clones'], defaultFolder: '/tmp' };

function optionsOf(...words: readonly string[]): BenchOptions {
  const parsed = parseOptions(words, known);
  if ('complaints' in parsed) throw new Error(parsed.complaints.join('; '));
  return parsed.options;
}

function complaintsOf(...words: readonly string[]): string {
  const parsed = parseOptions(words, known);
  return 'complaints' in parsed ? parsed.complaints.join('; ') : '';
}

describe('flags of the benchmark', () => {
  test('without any, it runs all parts as a table', () => {
    expect(optionsOf()).toMatchObject({
      extent: 'normal',
      parts: known.parts,
      stages: null,
      output: 'table',
      jsonFile: null,
      docs: false,
      folder: '/tmp',
    });
  });

  test('its extents take more and more rounds of longer loads, unless told otherwise', () => {
    const [quick, normal, full] = [optionsOf('--quick'), optionsOf(), optionsOf('--full')];
    expect(quick.rounds * quick.seconds).toBeLessThan(normal.rounds * normal.seconds);
    expect(normal.rounds * normal.seconds).toBeLessThan(full.rounds * full.seconds);
    expect(optionsOf('--full', '--rounds', '1', '--seconds', '7')).toMatchObject({ extent: 'full', rounds: 1, seconds: 7 });
  });

  test('parts run in their own order, whatever the order of their names', () => {
    expect(optionsOf('--only', 'databases,io').parts).toEqual(['io', 'databases']);
  });

  test('stages are those that are named', () => {
    expect(optionsOf('--stages', 'clones').stages).toEqual(['clones']);
  });

  test.each([
    [['--quick', '--full'], 'exclude each other'],
    [['--only', 'io,nothing'], '"nothing"'],
    [['--only', ''], 'io, operations, databases'],
    [['--stages', 'clones,copies'], '"copies"'],
    [['--stages', ''], 'a full volume, clones'],
    [['--rounds', '0'], '--rounds'],
    [['--rounds', '1.5'], '--rounds'],
    [['--seconds', 'two'], '--seconds'],
    [['--output', 'xml'], '--output'],
    [['--json', ''], '--json'],
    [['--nothing'], '--nothing'],
    [['word'], 'word'],
  ])('%j is refused in words', (words, said) => {
    expect(complaintsOf(...words)).toContain(said);
  });
});
