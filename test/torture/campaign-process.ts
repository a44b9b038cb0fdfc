/** The process of one campaign: runs it, and tells its parent what it said and how it ended. */
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { Campaign } from './campaign.ts';

/** What the process sends; the last message is an end. */
export type CampaignMessage =
  { readonly line: string } | { readonly cases: number; readonly seconds: number } | { readonly failure: string; readonly seconds: number };

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string' }, seed: { type: 'string' } },
});
const [file] = positionals;
if (file === undefined) throw new Error('usage: campaign-process.ts FILE --seconds N --seed N');

const started = performance.now();
const elapsed = (): number => (performance.now() - started) / 1000;
const { run } = (await import(pathToFileURL(file).href)) as { run: Campaign };
let end: CampaignMessage;
try {
  const { cases } = await run({ seconds: Number(values.seconds), seed: Number(values.seed), log: (line) => tell({ line }) });
  end = { cases, seconds: elapsed() };
} catch (error) {
  end = { failure: error instanceof Error ? (error.stack ?? error.message) : String(error), seconds: elapsed() };
}
// Whatever a campaign left open must not keep the runner waiting.
process.send?.(end, () => process.exit());

function tell(message: CampaignMessage): void {
  process.send?.(message);
}
