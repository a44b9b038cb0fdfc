/**
 * Snapshots with a freeze of a mounted volume with up to two gigabytes in the page cache, on a store that is slow or in a
 * pool that gets full meanwhile; a case is a snapshot that had to give up. Prints how long each took.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { cutOfFullPool, cutOnSlowStore } from '../../support/cut-stress.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

const SLOW_MEBIBYTES = [1024, 1536, 2048] as const;
const FULL_MEBIBYTES = [96, 256, 512] as const;

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const deadline = performance.now() + options.seconds * 1000;
  let cases = 0;
  do {
    const seed = options.seed + cases;
    const random = new SeededRandom(seed);
    const scenario = random.chance(0.5) ? cutOnSlowStore : cutOfFullPool;
    const dirtyMebibytes = random.pick(scenario === cutOnSlowStore ? SLOW_MEBIBYTES : FULL_MEBIBYTES);
    const freeze = random.chance(0.7);
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-cut-'));
    try {
      const report = await scenario({ folder, dirtyMebibytes, freeze });
      options.log(`${scenario.name}, ${dirtyMebibytes} MiB dirty, freeze ${freeze}: ${JSON.stringify(report)}`);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${replayLine({ campaign: 'freezes', seed })}`, { cause: error });
    }
    fs.rmSync(folder, { recursive: true, force: true });
    cases += 1;
  } while (performance.now() < deadline);
  return { cases };
}
