import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { encodeDocument, makeDocument, readDocument } from './document.ts';

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
