/** docs/performance.md and its plots, from one run. */
import type { BenchDocument } from './document.ts';

export async function writePerformanceDocs(_document: BenchDocument): Promise<string[]> {
  return Promise.resolve([]);
}
