/**
 * Hand-overs one after another under a verified load, between two trees of files (the sources, and what was compiled), now
 * and then with a death in the middle; a case is a hand-over. Prints the pauses of the device.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { SeededRandom } from '../../support/seeded-random.ts';
import { COMPILED_MAIN, StoreBed, type BedProcess } from '../../support/store-bed.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

const MIB = 2 ** 20;
const VOLUME_BYTES = 64 * MIB;
/** A successor that died after it asked comes again within the time that the pool is kept for it. */
const SERVES_LIMIT_MS = 60_000;
const SERVING = '"state":"serving"';
const ASKED = '"handing the pool over"';

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const random = new SeededRandom(options.seed);
  const deadline = performance.now() + options.seconds * 1000;
  const bed = new StoreBed();
  const pausesMs: number[] = [];
  let cases = 0;
  try {
    await bed.startKeeper();
    let holder = await bed.startStore({ pod: 'pod-0' });
    const load = bed.load(await bed.makeDevice('data', VOLUME_BYTES), VOLUME_BYTES);
    do {
      cases += 1;
      const store = { pod: `pod-${cases}`, ...(random.chance(0.5) && { program: COMPILED_MAIN }) };
      const dies = random.chance(0.3);
      let next: BedProcess | null = null;
      const pauseMs = await load.longestPauseMs(async () => {
        next = bed.spawnStore(store);
        if (dies) {
          await holder.says(ASKED);
          await delay(random.below(200));
          await next.kill();
          next = bed.spawnStore(store);
        }
        await next.says(SERVING, { limitMs: SERVES_LIMIT_MS });
      });
      if (!dies) pausesMs.push(pauseMs);
      await bed.untilServed();
      holder.signal('SIGTERM');
      const end = await holder.ended();
      if (end !== 'status 0') throw new Error(`the former holder ended with ${end}:\n${holder.log.slice(-4_000)}`);
      holder = next!;
      if (!load.isRunning || load.errors !== '') throw new Error(`the load met an error: ${load.errors}`);
      if (!random.chance(0.2)) continue;
      const { problems } = await bed.client.check();
      if (problems.length > 0) throw new Error(problems.join('\n'));
    } while (performance.now() < deadline);
    const complaints = await load.stop();
    if (complaints !== '') throw new Error(complaints);
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${replayLine({ campaign: 'hand-overs', seed: options.seed })}`, { cause: error });
  } finally {
    await bed.cleanUp();
  }
  const sorted = pausesMs.toSorted((left, right) => left - right);
  const [middle, longest] = [sorted[sorted.length >> 1], sorted.at(-1)];
  options.log(`pauses of the device in hand-overs without a death: median ${middle} ms, longest ${longest} ms, of ${sorted.length}`);
  return { cases };
}
