/**
 * The store is killed again and again at chosen and random moments, under verified loads: some seconds of the campaign
 * that `make torture` runs for hours (test/torture/campaigns/kills.ts).
 */
import { expect, test } from '@jest/globals';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasFileSystem, hasPrograms } from '../support/capabilities.ts';
import { run } from '../torture/campaigns/kills.ts';

const SECONDS = 12;
const LIMIT_MS = 200_000;

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasFileSystem('ext4'),
  hasPrograms('fio', 'mkfs.ext4', 'e2fsck', 'sh'),
)('deaths of the store', () => {
  test(
    'lose nothing that was acknowledged, and fail no I/O',
    async () => {
      const report = await run({ seconds: SECONDS, seed: Date.now() % 2 ** 31, log: (line) => void process.stdout.write(`${line}\n`) });
      expect(report.cases).toBeGreaterThan(3);
      // Some of them at the moments that were chosen: the machinery for that is loaded.
      expect([...report.moments.keys()].filter((moment) => moment !== 'random').length).toBeGreaterThan(0);
    },
    LIMIT_MS,
  );
});
