/** Random walks of the engine against the naive model, as test/engine/model.test.ts does them; a case is a walk. */
import { engineSubject } from '../../support/engine-subject.ts';
import { printTrace } from '../../support/walk-actions.ts';
import { randomWalk, shrink } from '../../support/walk-runner.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

const actionsPerWalk = 150;

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const subject = engineSubject();
  const deadline = performance.now() + options.seconds * 1000;
  let cases = 0;
  let events = 0;
  do {
    const seed = options.seed + cases;
    const result = randomWalk(subject, seed, actionsPerWalk);
    cases += 1;
    events += result.events;
    if (result.failure) {
      const { error, trace } = shrink(subject, result.failure);
      throw new Error(`${error.message}\n${printTrace(trace)}\n${replayLine({ campaign: 'walks', seed })}`, { cause: error });
    }
  } while (performance.now() < deadline);
  options.log(`${events} events`);
  return { cases };
}
