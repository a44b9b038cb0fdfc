/** Bad input to the CSI services. test/torture/campaigns/fuzz-csi.ts runs the same for hours. */
import { expect, test } from '@jest/globals';
import { fuzz, fuzzSeed } from '../support/fuzz.ts';
import { csiFuzz } from '../support/fuzz-csi.ts';

const LIMIT_MS = 120_000;

test(
  'whatever is sent to it, a CSI server answers with a proper code and goes on',
  async () => {
    const tally = new Map<string, number>();
    await fuzz(csiFuzz({ tally }), { seed: fuzzSeed(), rounds: 10 });
    // What never succeeds was never fuzzed beyond its first check.
    const succeeded = [...tally.keys()].filter((ending) => ending.endsWith(' OK')).map((ending) => ending.split(' ')[0]);
    expect(succeeded).toEqual(expect.arrayContaining(['CreateVolume', 'DeleteVolume', 'CreateSnapshot', 'DeleteSnapshot', 'ListVolumes']));
    expect(succeeded).toEqual(
      expect.arrayContaining(['NodeStageVolume', 'NodePublishVolume', 'NodeUnpublishVolume', 'NodeGetVolumeStats']),
    );
  },
  LIMIT_MS,
);

test('the fuzzer sees a bug of ours, and says how to see it again', async () => {
  const prepare = (store: { before: (call: string) => void | Promise<void> }): void => {
    store.before = (call) => {
      if (call === 'getVolume') throw new TypeError('planted');
    };
  };
  await expect(fuzz(csiFuzz({ prepare }), { seed: 7, rounds: 3 })).rejects.toThrow(
    / ended with INTERNAL[^]*replay: FUZZ_SEED=\d+ npm run -s jest -- test\/csi\/fuzz\.test\.ts/,
  );
});
