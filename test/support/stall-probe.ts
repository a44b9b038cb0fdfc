/**
 * Makes a small change to the file system of argument 1 every 10 ms, and remembers the longest that one took. Prints "ready",
 * then "stalled MS" after each change that took a second, and at the end of its input "longest MS".
 */
import fs from 'node:fs';
import path from 'node:path';

const file = path.join(process.argv[2] ?? '', `probe-${process.pid}`);
const stallMs = 1_000;
let longestMs = 0;

function change(): void {
  const startMs = performance.now();
  fs.writeFileSync(file, String(startMs));
  const tookMs = Math.round(performance.now() - startMs);
  longestMs = Math.max(longestMs, tookMs);
  if (tookMs >= stallMs) fs.writeSync(1, `stalled ${tookMs}\n`);
}

const timer = setInterval(change, 10);
process.stdin.resume().on('end', () => {
  clearInterval(timer);
  fs.writeSync(1, `longest ${longestMs}\n`);
});
fs.writeSync(1, 'ready\n');
