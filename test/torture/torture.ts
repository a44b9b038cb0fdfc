/**
 * `make torture SECONDS=600 SEED=… CAMPAIGN=…`: every campaign of test/torture/campaigns, or the one that is named, for
 * its share of the time. Prints for each how many cases it did and with which seed; a failure comes with the line that
 * runs just the failed case again, and makes the status 1.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { campaignFiles, campaignName, runCampaigns } from './run-campaigns.ts';

const largestSeed = 1_000_000_000;
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    seed: { type: 'string', default: '' },
    campaign: { type: 'string', default: '' },
  },
});
const seconds = numberOf('SECONDS', values.seconds);
const seed = values.seed === '' ? Date.now() % largestSeed : numberOf('SEED', values.seed);
const all = campaignFiles(join(import.meta.dirname, 'campaigns'));
const files = values.campaign === '' ? all : all.filter((file) => campaignName(file) === values.campaign);
if (files.length === 0) throw new Error(`no campaign ${values.campaign}; there are ${all.map(campaignName).join(', ')}`);

const stopping = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => stopping.abort());
const log = (line: string): void => console.log(line);
log(`torture: ${files.map(campaignName).join(', ')}; ${seconds} s, seed ${seed}`);
const runs = await runCampaigns({ files, seconds, seed, log, stop: stopping.signal });
const failed = runs.filter((run) => run.failure !== null).map((run) => run.name);
const cases = runs.reduce((sum, run) => sum + run.cases, 0);
log(`torture: ${cases} cases${failed.length > 0 ? `, FAILED: ${failed.join(', ')}` : ', no failure'}`);
process.exitCode = failed.length > 0 || runs.length < files.length ? 1 : 0;

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (text === '' || !Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is ${text}, expected a whole number`);
  return value;
}
