/** One bit of a pool's files is wrong (test/support/bit-flips.ts): by each seed some of each file. A case is a flip. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { drawFlips, flipFiles, makeFlipSubject } from '../../support/bit-flips.ts';
import { runFlips } from '../../support/run-bit-flips.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

const flipsOfEach = { data: 10, log: 30, 'meta/data.mdb': 200, 'pool.json': 10 };

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-flips-'));
  const deadline = performance.now() + options.seconds * 1000;
  const tally = new Map<string, number>();
  let cases = 0;
  try {
    const subject = makeFlipSubject(path.join(folder, 'subject'));
    for (let seed = options.seed; cases === 0 || performance.now() < deadline; seed += 1) {
      const random = new SeededRandom(seed);
      const flips = flipFiles.flatMap((file) => drawFlips(subject, file, { random, count: flipsOfEach[file] }));
      const place = fs.mkdtempSync(path.join(folder, 'run-'));
      for (const { flip, outcome, words } of await runFlips(place, flips)) {
        cases += 1;
        tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
        if (outcome === 'violation' || outcome === 'hang' || outcome === 'crash')
          throw new Error(`${JSON.stringify(flip)}: ${outcome}: ${words}\n${replayLine({ campaign: 'bit-flips', seed })}`);
      }
      fs.rmSync(place, { recursive: true, force: true });
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
  options.log([...tally].map(([outcome, count]) => `${count} ${outcome}`).join(', '));
  return { cases };
}
