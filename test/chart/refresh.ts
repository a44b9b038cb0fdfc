/**
 * Writes what is generated from the chart: its README, and the renderings in test/chart/rendered. Look at what changed
 * before you commit it.
 *
 *   node test/chart/refresh.ts
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { renderedPath, renderSet, textOf, valueSets } from './chart.ts';
import { readmePath, readmeText } from './readme.ts';

writeFileSync(readmePath, readmeText());
for (const name of valueSets()) {
  const file = renderedPath(name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, textOf(await renderSet(name)));
}
