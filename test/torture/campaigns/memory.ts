/** 4 GiB at a time through the page cache of a volume, under memory pressure (test/support/pressed-writing.ts); a case is one. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LocalDriver } from '../../support/local-driver.ts';
import { canUseFuse, canUseLoop, hasCommand, hasFileSystem, hasPrograms } from '../../support/machine.ts';
import { canLimitDirtyPages, canLimitMemory } from '../../support/memory-pressure.ts';
import { writeUnderPressure } from '../../support/pressed-writing.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

const mebibytes = 4096;
const poolSize = '5GiB';

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const deadline = performance.now() + options.seconds * 1000;
  const needs = [hasCommand(), canUseFuse(), canUseLoop(), hasFileSystem('ext4'), hasPrograms('mkfs.ext4', 'cmp')];
  const lacks = [...needs, canLimitDirtyPages(), canLimitMemory()].map(({ lack }) => lack).filter((lack) => lack !== undefined);
  if (lacks.length > 0) throw new Error(`this machine cannot do it: ${lacks.join('; ')}`);
  let cases = 0;
  do {
    try {
      const { seconds, longestPauseMs } = await writeOnce();
      options.log(`${mebibytes} MiB in ${seconds.toFixed(1)} s, longest pause ${longestPauseMs.toFixed(0)} ms`);
    } catch (error) {
      throw new Error(`${String(error)}\n${replayLine({ campaign: 'memory', seed: options.seed })}`, { cause: error });
    }
    cases += 1;
  } while (performance.now() < deadline);
  return { cases };
}

async function writeOnce(): ReturnType<typeof writeUnderPressure> {
  const folder = mkdtempSync(join(tmpdir(), 'chunkstore-memory-'));
  const driver = await LocalDriver.start({ folder, size: poolSize }).catch((error: unknown) => {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  });
  let left: readonly string[];
  let result: Awaited<ReturnType<typeof writeUnderPressure>>;
  try {
    result = await writeUnderPressure(driver, { mebibytes });
    const { problems } = await driver.store.check();
    if (problems.length > 0) throw new Error(`check found ${JSON.stringify(problems)}`);
  } finally {
    left = await driver.stop();
  }
  if (left.length > 0) throw new Error(left.join('\n'));
  return result;
}
