import { describe, expect, test } from '@jest/globals';
import { addTotals, describeTotals, readReport } from './test-totals.ts';

function report(files: readonly { statuses: readonly string[]; status?: string; message?: string }[], success = true): string {
  return JSON.stringify({
    success,
    testResults: files.map(({ statuses, status = 'passed', message = '' }, index) => ({
      name: `/t/${index}.test.ts`,
      status,
      message,
      assertionResults: statuses.map((status, number) => ({ status, ancestorTitles: ['suite'], fullName: `suite test ${number}` })),
    })),
  });
}

const read = (text: string | undefined, troubles: string[] = []) => readReport({ layer: 'unit', text, troubles });

describe('counting what jest reports', () => {
  test('each test counts once, by its status', () => {
    const result = read(
      report([{ statuses: ['passed', 'passed', 'pending'] }, { statuses: ['passed', 'failed', 'todo'], status: 'failed' }], false),
    );
    expect(describeTotals(addTotals([result]))).toBe('3 passed, 1 failed, 2 skipped');
    expect(result.failures).toEqual(['/t/1.test.ts: suite test 1']);
    expect(result.skipped).toEqual(['/t/0.test.ts: suite', '/t/1.test.ts: suite']);
  });

  test('a file that cannot be loaded is a failure', () => {
    const message = '\u001B[1m● Test suite failed to run\u001B[22m\n\n  Cannot find module x\n';
    const result = read(report([{ statuses: ['passed'] }, { statuses: [], status: 'failed', message }], false));
    expect(result.failures).toEqual(['/t/1.test.ts: ● Test suite failed to run: Cannot find module x']);
  });

  test('a file whose clean-up fails is a failure although its tests passed', () => {
    const result = read(report([{ statuses: ['passed'], status: 'failed', message: 'afterAll threw' }], false));
    expect(addTotals([result])).toEqual({ passed: 1, failed: 1, skipped: 0 });
  });

  test('a layer without a test is a failure', () => {
    expect(read(report([])).failures).toEqual(['unit: there is not a single test']);
  });

  test('a missing report is a failure, with the reason where one is known', () => {
    expect(read(undefined).failures).toEqual(['unit: jest wrote no report']);
    expect(read(undefined, ['unit: jest was ended by SIGKILL']).failures).toEqual(['unit: jest was ended by SIGKILL']);
  });

  test('trouble with jest fails a run whose tests all passed', () => {
    expect(addTotals([read(report([{ statuses: ['passed'] }]), ['unit: left behind'])]).failed).toBe(1);
  });

  test('a run that jest calls failed is never counted as a success', () => {
    expect(addTotals([read(report([{ statuses: ['passed'] }], false))]).failed).toBe(1);
  });

  test('layers add up', () => {
    const one = read(report([{ statuses: ['passed', 'pending'] }]));
    expect(describeTotals(addTotals([one, one, read(report([]))]))).toBe('2 passed, 1 failed, 2 skipped');
  });
});
