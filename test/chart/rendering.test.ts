import { expect, test } from '@jest/globals';
import { describeIf, hasHelm } from '../support/capabilities.ts';
import { chartFolder, helm, readRendered, render, renderSet, template, textOf, valueSetPath, valueSets } from './chart.ts';

const REFRESH = 'look at the difference, then: node test/chart/refresh.ts';

describeIf(hasHelm())('rendering the chart', () => {
  for (const name of valueSets()) {
    test(`helm lint has nothing to say about the values "${name}"`, async () => {
      const { status, output } = await helm('lint', chartFolder, '--strict', '--values', valueSetPath(name));
      expect({ status, output }).toEqual({ status: 0, output: expect.stringContaining('0 chart(s) failed') });
    });

    test(`the values "${name}" give what is in rendered/${name}.yaml`, async () => {
      const text = textOf(await renderSet(name));
      expect({ text, remedy: REFRESH }).toEqual({ text: readRendered(name), remedy: REFRESH });
    });
  }

  test('two renderings of the same values are the same, so that GitOps tools see no change', async () => {
    const [first, second] = await Promise.all([renderSet('everything'), renderSet('everything')]);
    expect(textOf(first)).toBe(textOf(second));
  });

  test('an upgrade of the release changes nothing but the hook that names its revision', async () => {
    const installed = await render('--values', valueSetPath('minimal'));
    const upgraded = await render('--values', valueSetPath('minimal'), '--is-upgrade');
    expect(upgraded).toEqual(installed);
  });

  test('the names of all objects fit, whatever the release is called', async () => {
    const { status, output } = await template('--values', valueSetPath('everything'), '--set', `fullnameOverride=${'n'.repeat(60)}`);
    expect(status).toBe(0);
    const names = [...output.matchAll(/^ {2}name: (\S+)$/gm)].map(([, name]) => name ?? '');
    expect(names.filter((name) => name.length > 63 && !name.includes('.'))).toEqual([]);
  });
});
