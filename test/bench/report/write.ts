/**
 * Makes docs/performance.md and its plots from the figures of an earlier run, so that a run on a quiet machine can be told
 * somewhere else, and words and plots can change without another run.
 *
 *   node test/bench/report/write.ts FILE.json...   (of `bench.ts --json FILE.json`; docs/performance/figures.json is the last)
 *
 * Of several runs, in the order in which they were made, a later one has what an earlier one did not come to.
 */
import { joinDocuments, readDocument } from './document.ts';
import { writePerformanceDocs } from './performance-docs.ts';

const [first, ...later] = process.argv.slice(2);
if (first === undefined) {
  console.error('node test/bench/report/write.ts FILE.json...');
  process.exit(2);
}
for (const written of await writePerformanceDocs(joinDocuments([readDocument(first), ...later.map(readDocument)]))) console.log(written);
