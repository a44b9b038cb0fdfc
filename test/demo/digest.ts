/**
 * Checksums over whole folders: of every path, file's mode, size and content, in sorted order. As a program, because what
 * is read may lie on a volume that hangs, and a process can be given up:
 *   digest.ts folder FOLDER [LIST]   prints a FolderDigest as JSON; of the paths in the file LIST (a JSON array) only
 *   digest.ts device FILE            prints the SHA-256 of a file's or a block device's content
 */
import { createHash, hash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

export interface FolderDigest {
  /** SHA-256 in hexadecimal. */
  readonly digest: string;
  readonly files: number;
  readonly sizeBytes: number;
}

const readBytes = 1024 * 1024;

/** Of all in a folder, or of the names. `lost+found` at its top belongs to the file system, not to the data. */
function digestFolder(folder: string, names: readonly string[]): FolderDigest {
  const lines = createHash('sha256');
  let files = 0;
  let sizeBytes = 0;
  for (const name of names.toSorted()) {
    const file = path.join(folder, name);
    const status = fs.lstatSync(file);
    const mode = (status.mode & 0o7777).toString(8);
    if (status.isFile()) {
      files += 1;
      sizeBytes += status.size;
      lines.update(`file ${JSON.stringify(name)} ${mode} ${status.size} ${hash('sha256', fs.readFileSync(file))}\n`);
    } else if (status.isSymbolicLink()) {
      lines.update(`link ${JSON.stringify(name)} ${JSON.stringify(fs.readlinkSync(file))}\n`);
    } else {
      lines.update(`folder ${JSON.stringify(name)}\n`);
    }
  }
  return { digest: lines.digest('hex'), files, sizeBytes };
}

function namesBelow(folder: string): string[] {
  return fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name !== 'lost+found');
}

function digestFile(file: string): string {
  const content = createHash('sha256');
  const buffer = Buffer.alloc(readBytes);
  const descriptor = fs.openSync(file, 'r');
  for (let length = fs.readSync(descriptor, buffer); length > 0; length = fs.readSync(descriptor, buffer)) {
    content.update(buffer.subarray(0, length));
  }
  fs.closeSync(descriptor);
  return content.digest('hex');
}

const [action, subject, list] = process.argv.slice(2);
if (subject === undefined) throw new Error('usage: digest.ts folder|device PATH [LIST]');
if (action === 'device') {
  process.stdout.write(digestFile(subject));
} else {
  const names = list === undefined ? namesBelow(subject) : (JSON.parse(fs.readFileSync(list, 'utf8')) as string[]);
  process.stdout.write(JSON.stringify(digestFolder(subject, names)));
}
