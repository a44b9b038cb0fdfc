/** docs/performance.md, its plots and its figures, from one run. What is written by hand there stays as it is. */
import fs from 'node:fs';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { judge } from '../goals.ts';
import { encodeDocument, type BenchDocument } from './document.ts';
import { fillMarked } from './markers.ts';
import { piecesOf } from './pieces.ts';
import { plotsOf } from './plots/catalogue.ts';

const docs = path.join(import.meta.dirname, '../../../docs');
const page = path.join(docs, 'performance.md');
/** Beside the page, and as the page names it. */
const FOLDER = 'performance';

/** Answers the files that it wrote. Goals are judged by the marks of today, also those of an earlier run. */
export async function writePerformanceDocs(run: BenchDocument): Promise<string[]> {
  const document = { ...run, goals: judge(run.measurements) };
  const plots = plotsOf(document.measurements);
  const filled = fillMarked(fs.readFileSync(page, 'utf8'), piecesOf(document, { plots, folder: FOLDER }));
  const formatted = await format(filled, { ...(await resolveConfig(page)), filepath: page });
  const folder = path.join(docs, FOLDER);
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder);
  const files = new Map([
    [page, formatted],
    [path.join(folder, 'figures.json'), encodeDocument(document)],
    ...plots.map(({ name, svg }) => [path.join(folder, `${name}.svg`), svg] as const),
  ]);
  for (const [file, text] of files) fs.writeFileSync(file, text);
  return [...files.keys()];
}
