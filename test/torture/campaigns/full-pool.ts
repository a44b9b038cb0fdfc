/** Pools in file systems that others fill up, one after another (test/support/full-host.ts); a case is a pool. */
import { fillHostOfPool } from '../../support/full-host.ts';
import { canUseFuse, canUseLoop, hasFileSystem, hasPrograms } from '../../support/machine.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const deadline = performance.now() + options.seconds * 1000;
  const needs = [canUseFuse(), canUseLoop(), hasFileSystem('ext4'), hasPrograms('dd', 'mkfs.ext4', 'mount', 'mountpoint')];
  const lacks = needs.map(({ lack }) => lack).filter((lack) => lack !== undefined);
  if (lacks.length > 0) throw new Error(`this machine cannot do it: ${lacks.join('; ')}`);
  let cases = 0;
  do {
    try {
      await fillHostOfPool();
    } catch (error) {
      throw new Error(`${String(error)}\n${replayLine({ campaign: 'full-pool', seed: options.seed })}`, { cause: error });
    }
    cases += 1;
  } while (performance.now() < deadline);
  return { cases };
}
