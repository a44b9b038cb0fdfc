/** The contract of a block device, kept by a raw block volume through CSI, FUSE and loop device, over the three sizes of chunks. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { describeBlockContract, type BlockDevice } from '../../support/block-contract.ts';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasPrograms } from '../../support/capabilities.ts';
import { blockCapability, publishVolume, unpublishVolume, type PublishedVolume } from '../../support/csi-volume.ts';
import { DriverBed } from '../../support/driver-bed.ts';
import { unmountAll } from '../../support/local-driver.ts';
import { RawDevice } from '../../support/raw-device.ts';

const MIB = 2 ** 20;
const VOLUME_BYTES = 64 * MIB;
const LIMIT_MS = 60_000;

/** What happens between the flush and the next look. */
const returns: readonly [how: string, chunkSize: string, between: (bed: DriverBed, volume: PublishedVolume) => Promise<void>][] = [
  ['detached and attached', '64KiB', (bed, volume) => unpublishVolume(bed.driver, volume)],
  [
    'stopped with its driver',
    '32KiB',
    async (bed, volume) => {
      await unpublishVolume(bed.driver, volume);
      await bed.restart('SIGTERM');
    },
  ],
  [
    'killed with its driver',
    '16KiB',
    async (bed) => {
      await bed.end('SIGKILL');
      // Nobody serves what was published: it is to be unmounted before the volume can be used again.
      await unmountAll(bed.folder);
      await bed.start();
    },
  ],
];

describe.each(returns)('a raw block volume that is %s, with chunks of %s,', (how, chunkSize, between) => {
  describeIf(
    hasCommand(),
    canUseFuse(),
    canUseLoop(),
    canMount(),
    hasPrograms('blkdiscard'),
  )('on a driver of its own', () => {
    let bed: DriverBed;
    let volumes = 0;
    beforeAll(async () => {
      bed = new DriverBed({ size: '512MiB', flags: ['--chunk-size', chunkSize] });
      await bed.start();
    }, LIMIT_MS);
    afterAll(async () => {
      expect(await bed.cleanUp()).toEqual([]);
    }, LIMIT_MS);

    describeBlockContract(`the volume, ${how},`, {
      timeoutMs: LIMIT_MS,
      open: async () => {
        volumes += 1;
        const name = `volume-${volumes}`;
        const answer = await bed.driver.csi.controller.createVolume({
          name,
          capacityRange: { requiredBytes: VOLUME_BYTES },
          volumeCapabilities: [blockCapability],
        });
        const { volumeId } = answer.volume!;
        return openVolume(volumeId, name);
      },
    });

    async function openVolume(volumeId: string, name: string): Promise<BlockDevice> {
      const volume = await publishVolume(bed.driver, { volumeId, name, capability: blockCapability });
      const device = await RawDevice.open(volume.targetPath);
      const { sizeBytes } = device;
      return {
        sizeBytes,
        read: (offsetBytes, lengthBytes) => device.read(offsetBytes, lengthBytes),
        write: (offsetBytes, bytes) => device.write(offsetBytes, bytes),
        zero: (offsetBytes, lengthBytes) => device.zero(offsetBytes, lengthBytes),
        flush: () => device.flush(),
        reopen: async () => {
          await device.close();
          await between(bed, volume);
          return openVolume(volumeId, name);
        },
        close: async () => {
          await device.close();
          await unpublishVolume(bed.driver, volume);
          await bed.driver.csi.controller.deleteVolume({ volumeId });
        },
      };
    }

    describe('afterwards', () => {
      test(
        'the counts of the pool are right and all space is free',
        async () => {
          expect(await bed.driver.store.check()).toMatchObject({ objects: 0, slotsUsed: 0, problems: [] });
        },
        LIMIT_MS,
      );
    });
  });
});
