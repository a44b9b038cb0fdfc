/** Cuts of a volume whose page cache cannot be written out in time; test/torture/campaigns/freezes.ts does it with gigabytes. */
import { expect, test } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasFileSystem, hasPrograms } from '../support/capabilities.ts';
import { cutOfFullPool, cutOnSlowStore, type CutOptions, type CutReport } from '../support/cut-stress.ts';

const LIMIT_MS = 120_000;

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasFileSystem('ext4'),
  hasPrograms('dd', 'sync', 'e2fsck', 'fsfreeze'),
)('a cut that cannot have all that is dirty', () => {
  async function inFolder(scenario: (options: CutOptions) => Promise<CutReport>, more: Omit<CutOptions, 'folder'>): Promise<CutReport> {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-cut-'));
    const report = await scenario({ folder, ...more });
    fs.rmSync(folder, { recursive: true, force: true });
    process.stderr.write(`${scenario.name}, ${JSON.stringify(more)}: ${JSON.stringify(report)}\n`);
    return report;
  }

  // Both wait for ten seconds, so they do it beside each other.
  test(
    'is made in time all the same, on a store that is slow and in a pool that gets full, and all goes on',
    async () => {
      const ends = await Promise.allSettled([
        inFolder(cutOnSlowStore, { dirtyMebibytes: 192, freeze: true }),
        inFolder(cutOfFullPool, { dirtyMebibytes: 96, freeze: true }),
      ]);
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
      expect(ends).toHaveLength(2);
    },
    LIMIT_MS,
  );
});
