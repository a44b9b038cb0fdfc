/**
 * Makes docs/performance.md and its plots from the figures of an earlier run, so that a run on a quiet machine can be told
 * somewhere else, and words and plots can change without another run.
 *
 *   node test/bench/report/write.ts FILE.json      (of `bench.ts --json FILE.json`; docs/performance/figures.json is the last)
 */
import { readDocument } from './document.ts';
import { writePerformanceDocs } from './performance-docs.ts';

const [file, ...more] = process.argv.slice(2);
if (file === undefined || more.length > 0) {
  console.error('node test/bench/report/write.ts FILE.json');
  process.exit(2);
}
for (const written of await writePerformanceDocs(readDocument(file))) console.log(written);
