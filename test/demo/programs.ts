/** Runs the demo's programs that read a volume; each ends within a limit, whatever the volume does. */
import fs from 'node:fs';
import path from 'node:path';
import { runCommand } from '../../src/util/exec.ts';
import type { Inspection } from './database.ts';
import type { FolderDigest } from './digest.ts';

const limitMs = 60_000;

/** Of all that a folder holds; with `names`, of these only, listed in `listFile` for the program. */
export async function digestFolder(
  folder: string,
  only?: { readonly names: readonly string[]; readonly listFile: string },
): Promise<FolderDigest> {
  if (only !== undefined) fs.writeFileSync(only.listFile, JSON.stringify(only.names));
  const output = await run('digest.ts', ['folder', folder, ...(only === undefined ? [] : [only.listFile])]);
  return JSON.parse(output) as FolderDigest;
}

/** SHA-256 of a block device's content, in hexadecimal. */
export function digestDevice(devicePath: string): Promise<string> {
  return run('digest.ts', ['device', devicePath]);
}

/** Opens the database, which recovers it, and answers what was found. */
export async function inspectDatabase(file: string): Promise<Inspection> {
  return JSON.parse(await run('database.ts', ['inspect', file])) as Inspection;
}

/** The words that start a program of this folder under our Node. */
export function commandOf(name: string): readonly [program: string, ...parameters: string[]] {
  // node:sqlite warns that it may still change.
  return [process.execPath, '--disable-warning=ExperimentalWarning', path.join(import.meta.dirname, name)];
}

async function run(name: string, parameters: readonly string[]): Promise<string> {
  const [program, ...words] = commandOf(name);
  return (await runCommand(program, [...words, ...parameters], { timeoutMs: limitMs })).output;
}
