import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { encodeDocument, joinDocuments, makeDocument, readDocument } from './document.ts';
import { LOAD_BEFORE } from './machine-facts.ts';

let folder = '';
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-document-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

const empty = makeDocument({
  command: 'node bench.ts',
  startedAt: '2026-01-01T00:00:00.000Z',
  endedAt: '2026-01-01T00:01:00.000Z',
  revision: null,
  ...{ extent: 'quick', rounds: 1, seconds: 1 },
  machine: { kernel: 'Linux' },
  parts: [{ name: 'io', outcome: 'failed', problems: ['why'], rounds: 1, seconds: 3 }],
  goals: [],
  measurements: [],
});
const measurement = { part: 'io', workload: 'w', subject: 's', condition: 'c', figure: 'f', unit: 'ms', samples: [1, 2.5] } as const;

test('a document is read as it was written, also an empty one', () => {
  const file = path.join(folder, 'figures.json');
  for (const document of [empty, makeDocument({ ...empty, measurements: [measurement, measurement] })]) {
    fs.writeFileSync(file, encodeDocument(document));
    expect(readDocument(file)).toEqual(document);
  }
});

test('a measurement stands in a line', () => {
  expect(encodeDocument(makeDocument({ ...empty, measurements: [measurement] }))).toContain(`\n    ${JSON.stringify(measurement)}\n`);
});

test('what is no document of this version is refused', () => {
  const file = path.join(folder, 'figures.json');
  for (const other of ['{}', JSON.stringify({ ...empty, version: 2 })]) {
    fs.writeFileSync(file, other);
    expect(() => readDocument(file)).toThrow('no document');
  }
});

describe('runs that are joined', () => {
  const [first, other] = [measurement, { ...measurement, condition: 'd' }];
  const broken = makeDocument({ ...empty, machine: { ...empty.machine, [LOAD_BEFORE]: '0.1' }, measurements: [first] });
  const later = makeDocument({
    ...empty,
    ...{ command: 'node bench.ts --stages d', revision: 'abc', endedAt: '2026-01-01T00:02:00.000Z', measurements: [other] },
    machine: { ...empty.machine, [LOAD_BEFORE]: '0.2' },
    parts: [{ name: 'io', outcome: 'measured', problems: [], rounds: 1, seconds: 2 }],
  });

  test('have the figures of all of them, and say how each was made and ended', () => {
    expect(joinDocuments([broken, later])).toEqual({
      ...broken,
      ...{ command: 'node bench.ts; node bench.ts --stages d', revision: 'unknown; abc', endedAt: later.endedAt },
      parts: [...broken.parts, ...later.parts],
      measurements: [first, other],
    });
  });

  test('one alone is what it was', () => {
    expect(joinDocuments([later])).toEqual(later);
  });

  test('a figure that two have is the later one', () => {
    const again = { ...first, samples: [7] };
    expect(joinDocuments([broken, makeDocument({ ...later, measurements: [again] })]).measurements).toEqual([again]);
  });

  test.each([
    ['extent', { extent: 'full' }],
    ['seconds', { seconds: 2 }],
    ['kernel', { machine: { kernel: 'another' } }],
    ['disk', { machine: { ...empty.machine, disk: 'only here' } }],
  ])('of different %s are refused', (name, fields) => {
    expect(() => joinDocuments([broken, makeDocument({ ...later, ...fields })])).toThrow(name);
  });
});
