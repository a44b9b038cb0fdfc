import { expect, test } from '@jest/globals';
import type { Measurement, PartContext } from './measurement.ts';
import { PartFailure, type Part } from './part.ts';
import { runPart } from './run-part.ts';

const figure: Measurement = { part: 'p', workload: 'w', subject: 's', condition: 'c', figure: 'f', unit: 'ms', samples: [1] };

function partOf(measure: Part['measure'], lack?: string): Part {
  return { name: 'p', about: 'what it is', needs: () => [{ lack: undefined }, { lack }], measure };
}

function contextOf(signal = new AbortController().signal): PartContext & { readonly lines: string[] } {
  const lines: string[] = [];
  return { folder: '/nowhere', rounds: 2, seconds: 1, quick: true, full: false, signal, progress: (line) => lines.push(line), lines };
}

test('a part that is measured answers its figures', async () => {
  const context = contextOf();
  const part = partOf(({ progress, rounds }) => {
    progress(`${rounds} rounds`);
    return Promise.resolve([figure]);
  });
  expect(await runPart(part, context)).toMatchObject({ outcome: { outcome: 'measured', problems: [], rounds: 2 }, measurements: [figure] });
  expect(context.lines).toContain('p: 2 rounds');
});

test('a part that fails keeps what it had measured, and says all that went wrong', async () => {
  const part = partOf(() => Promise.reject(new PartFailure(['first', 'second'], [figure])));
  expect(await runPart(part, contextOf())).toMatchObject({
    outcome: { outcome: 'failed', problems: ['first', 'second'] },
    measurements: [figure],
  });
});

test('whatever a part throws is told in words', async () => {
  const interrupted = new AbortController();
  const part = partOf(({ signal }) => {
    interrupted.abort('interrupted by SIGINT');
    signal.throwIfAborted();
    return Promise.resolve([figure]);
  });
  const { outcome, measurements } = await runPart(part, contextOf(interrupted.signal));
  expect([outcome.outcome, outcome.problems, measurements]).toEqual(['failed', ['interrupted by SIGINT'], []]);
});

test('after an interruption no part is begun', async () => {
  const never = partOf(() => Promise.reject(new Error('it was begun')));
  const { outcome } = await runPart(never, contextOf(AbortSignal.abort('interrupted by SIGTERM')));
  expect([outcome.outcome, outcome.problems]).toEqual(['not run', ['interrupted by SIGTERM']]);
});

test('a part that lacks something is skipped, loudly', async () => {
  const context = contextOf();
  const { outcome } = await runPart(
    partOf(() => Promise.reject(new Error('it was begun')), 'not installed: fio'),
    context,
  );
  expect([outcome.outcome, outcome.problems]).toEqual(['skipped', ['not installed: fio']]);
  expect(context.lines).toEqual(['p: SKIPPED: not installed: fio']);
});
