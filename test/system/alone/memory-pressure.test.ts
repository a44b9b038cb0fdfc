/**
 * Memory that is short: writing out through a store whose own files lie on the same disk must come to an end (4 GiB of it:
 * `make torture CAMPAIGN=memory`). And how much a store has with many volumes: its budget stands in docs/install.md.
 */
import { expect, test } from '@jest/globals';
import { runCommand } from '../../../src/util/exec.ts';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasFileSystem, hasPrograms } from '../../support/capabilities.ts';
import { blockCapability, publishNewVolume, unpublishVolume } from '../../support/csi-volume.ts';
import { bedOfEachTest } from '../../support/driver-bed.ts';
import { canLimitDirtyPages, canLimitMemory, residentBytes } from '../../support/memory-pressure.ts';
import { writeUnderPressure } from '../../support/pressed-writing.ts';

const MIB = 2 ** 20;
const LIMIT_MS = 180_000;
const WRITTEN_MIB = 256;
/** As docs/install.md states it. */
const BUDGET_BYTES = 512 * MIB;
const VOLUMES = 100;

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasFileSystem('ext4'),
  hasPrograms('dd', 'mkfs.ext4', 'cmp'),
  canLimitDirtyPages(),
  canLimitMemory(),
)('with 16 MiB of dirty pages, and a memory limit on writer and driver together', () => {
  const started = bedOfEachTest({ timeoutMs: LIMIT_MS });

  test(
    `${WRITTEN_MIB} MiB through the page cache come to an end, and are what was written`,
    async () => {
      const { driver } = await started({ size: '512MiB' });
      const { seconds, longestPauseMs } = await writeUnderPressure(driver, { mebibytes: WRITTEN_MIB });
      process.stdout.write(
        `memory pressure: ${WRITTEN_MIB} MiB in ${seconds.toFixed(1)} s, longest pause ${longestPauseMs.toFixed(0)} ms\n`,
      );
      expect(await driver.store.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );
});

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasPrograms('dd'),
)('a store with many volumes', () => {
  const started = bedOfEachTest({ timeoutMs: LIMIT_MS });

  test(
    `publishes ${VOLUMES} of them at once, refuses none, and stays within its budget while all are used`,
    async () => {
      const bed = await started({ size: '256MiB' });
      const { driver } = bed;
      const published = await Promise.all(
        Array.from({ length: VOLUMES }, (_, index) =>
          publishNewVolume(driver, { name: `volume-${index}`, sizeBytes: 16 * MIB, capability: blockCapability }),
        ),
      );
      const devices = await bed.devices();
      expect(devices).toHaveLength(VOLUMES);
      const write = ['if=/dev/zero', 'bs=256K', 'count=4', 'oflag=direct', 'conv=fsync'];
      await Promise.all(devices.map(({ path }) => runCommand('dd', [...write, `of=${path}`], { timeoutMs: 60_000 })));
      const bytes = residentBytes(bed.processOf('store')!);
      process.stdout.write(`a store with ${VOLUMES} volumes in use: ${Math.round(bytes / MIB)} MiB\n`);
      // Less than Node alone needs would be no measurement.
      expect(bytes).toBeGreaterThan(40 * MIB);
      expect(bytes).toBeLessThan(BUDGET_BYTES);
      await Promise.all(published.map((volume) => unpublishVolume(driver, volume)));
      expect(await bed.devices()).toEqual([]);
    },
    LIMIT_MS,
  );
});
