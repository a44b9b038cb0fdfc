/**
 * Flips bits one after another in a process of its own: LMDB reads a damaged file as it finds it, and may end the process
 * or never come back. Its arguments: a folder, then a list of flips as JSON. Prints the outcome of each as a line.
 */
import fs from 'node:fs';
import path from 'node:path';
import { makeFlipSubject, tryFlip, type Flip } from './bit-flips.ts';

const [folder, list] = process.argv.slice(2) as [string, string];
const subject = makeFlipSubject(fs.mkdtempSync(path.join(folder, 'subject-')));
const flips = JSON.parse(fs.readFileSync(list, 'utf8')) as Flip[];
for (const [index, flip] of flips.entries()) {
  const place = path.join(folder, `flip-${index}`);
  let line: string;
  try {
    line = tryFlip(subject, place, flip);
  } catch (error) {
    line = `violation ${(error as Error).message.replaceAll('\n', ' | ').slice(0, 700)}`;
  }
  fs.writeSync(1, `${line}\n`);
  fs.rmSync(place, { recursive: true, force: true });
}
process.exit(0);
