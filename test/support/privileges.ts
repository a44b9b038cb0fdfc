/** Tests that need root and devices run where these are, and say loudly where they are not. */
import { describe } from '@jest/globals';
import fs from 'node:fs';

/** Like `describe`, but skipped, with the reason in its title and on standard error, where FUSE and loop devices cannot be had. */
export function describeWithDevices(title: string, tests: () => void): void {
  const missing = ['/dev/fuse', '/dev/loop-control'].filter((path) => !fs.existsSync(path));
  if (process.getuid?.() === 0 && missing.length === 0) {
    describe(title, tests);
    return;
  }
  const reason = missing.length > 0 ? `no ${missing.join(', no ')}` : 'not root';
  process.stderr.write(`SKIPPED: ${title}: ${reason}\n`);
  describe.skip(`${title} (skipped: ${reason})`, tests);
}
