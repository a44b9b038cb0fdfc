import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { readmePath, readmeText, undocumentedValues } from './readme.ts';

describe("the chart's README", () => {
  test('tells every value', () => {
    expect(undocumentedValues()).toEqual([]);
  });

  test('is what values.yaml gives; if not: node test/chart/refresh.ts', () => {
    expect(existsSync(readmePath) ? readFileSync(readmePath, 'utf8') : '').toBe(readmeText());
  });
});
