/** Tests that need root and devices run where these are, and say loudly where they are not. */
import { describe } from '@jest/globals';
import fs from 'node:fs';

/** `describe`, or its skipping form, with the reason on standard error, where FUSE and loop devices cannot be had. */
export const describeWithDevices = missingForDevices() === null ? describe : describe.skip;

/** What is missing here, in words; null when nothing is. */
function missingForDevices(): string | null {
  const devices = ['/dev/fuse', '/dev/loop-control'].filter((path) => !fs.existsSync(path));
  const reasons = devices.map((path) => `no ${path}`);
  if (process.getuid?.() !== 0) reasons.push('not root');
  if (reasons.length === 0) return null;
  process.stderr.write(`SKIPPED: tests of block devices, because: ${reasons.join(', ')}\n`);
  return reasons.join(', ');
}
