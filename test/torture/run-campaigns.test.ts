/** The torture runner on itself, with campaigns that are planted in a folder. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { campaignFiles, runCampaigns, type CampaignRun } from './run-campaigns.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'campaigns-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function runPlanted(campaigns: Readonly<Record<string, string>>, patienceSeconds: number): Promise<[CampaignRun[], string[]]> {
  for (const [name, body] of Object.entries(campaigns))
    writeFileSync(join(folder, `${name}.ts`), `export async function run({ seconds, seed, log }) { ${body} }\n`);
  const lines: string[] = [];
  const runs = await runCampaigns({
    files: campaignFiles(folder),
    seconds: 4,
    seed: 18,
    log: (line) => void lines.push(line),
    patienceSeconds,
  });
  return [runs, lines];
}

describe('the torture runner', () => {
  test('gives every campaign its share and the seed, in turn', async () => {
    const body = 'log(`${seconds} s from ${seed}`); return { cases: 3 };';
    const [runs, lines] = await runPlanted({ b: body, a: body }, 60);
    expect(runs.map(({ name, cases, failure }) => ({ name, cases, failure }))).toEqual([
      { name: 'a', cases: 3, failure: null },
      { name: 'b', cases: 3, failure: null },
    ]);
    expect(lines).toEqual([
      'a: 2 s from 18',
      expect.stringMatching(/^a: 3 cases in .* s, seed 18$/),
      'b: 2 s from 18',
      expect.stringMatching(/^b: /),
    ]);
  });

  test.each([
    { how: 'throws', body: "throw new Error('wrong byte');", says: 'wrong byte' },
    { how: 'does nothing', body: 'return { cases: 0 };', says: 'no case' },
    { how: 'takes its process down', body: 'process.exit(0);', says: 'status 0' },
  ])('sees a campaign that $how, says how to run it again, and goes on', async ({ body, says }) => {
    const [runs, lines] = await runPlanted({ a: body, b: 'return { cases: 1 };' }, 60);
    expect(runs.map((run) => run.failure === null)).toEqual([false, true]);
    expect(runs[0]!.failure).toContain(says);
    expect(lines[0]).toContain('replay: make torture SECONDS=1 CAMPAIGN=a SEED=18');
  });

  test('ends a campaign that never ends, and turns to the next', async () => {
    const [runs] = await runPlanted({ a: 'for (;;) if (seed === 0) break;', b: 'return { cases: 1 };' }, -1.5);
    expect(runs.map(({ name }) => name)).toEqual(['a', 'b']);
    expect(runs[0]!.failure).toContain('did not end');
  });

  test('leaves the line that a campaign gives itself', async () => {
    const [runs] = await runPlanted({ a: "throw new Error('wrong byte\\nreplay: this one');" }, 60);
    expect(runs[0]!.failure).toContain('replay: this one');
    expect(runs[0]!.failure).not.toContain('make torture');
  });
});
