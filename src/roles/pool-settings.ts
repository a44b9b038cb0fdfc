/**
 * Where a store's pool is and how large: by flags for every node, or node by node from a folder that holds one file a node
 * (a mounted ConfigMap). A file is named by its node and is a JSON object; what it does not say, the flags do:
 *
 *   { "folder": "fast/pool", "size": "500GiB", "chunkSize": "64KiB" }
 *
 * `folder` is relative to the root of pools and never leads out of it, whoever wrote the file.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parseSize } from '../config.ts';
import { StoreError } from '../util/errors.ts';

export interface PoolSettings {
  /** An absolute path. */
  readonly folder: string;
  /** Null: as it is. */
  readonly sizeBytes: number | null;
  /** Null: as it is, or the default of a new pool. */
  readonly chunkSizeBytes: number | null;
}

/** As the flags say it. */
export interface PoolFlags {
  /** --pool: with a root relative to it, if not absolute. */
  readonly pool: string;
  readonly size: string | null;
  readonly chunkSize: string | null;
  /** --pool-root: no pool lies outside; null: anywhere. */
  readonly root: string | null;
  /** --node-settings: null: the flags say all. */
  readonly settingsFolder: string | null;
  /** The node's name, as its file is named. */
  readonly node: string;
}

const CHUNK_SIZES: readonly string[] = ['16KiB', '32KiB', '64KiB'];
const KNOWN: readonly string[] = ['folder', 'size', 'chunkSize'];
/** A node's name is a DNS subdomain: lower-case labels with dots between them. */
const NODE_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LARGEST_FILE_BYTES = 64 * 1024;

/** What holds for this node. `invalid-argument` names the file or the flag, the field and what it may be. */
export function poolSettings(flags: PoolFlags): PoolSettings {
  const own = flags.settingsFolder === null ? {} : readSettings(flags.settingsFolder, flags.node);
  const from = (field: 'folder' | 'size' | 'chunkSize', flag: string, value: string | null): Setting | null => {
    const given = own[field];
    if (given !== undefined) return given;
    return value === null ? null : { text: value, where: flag };
  };
  const folder = from('folder', '--pool', flags.pool);
  const size = from('size', '--size', flags.size);
  const chunkSize = from('chunkSize', '--chunk-size', flags.chunkSize);
  return {
    folder: folderIn(flags.root, folder ?? { text: flags.pool, where: '--pool' }),
    sizeBytes: size === null ? null : sizeOf(size),
    chunkSizeBytes: chunkSize === null ? null : chunkSizeOf(chunkSize),
  };
}

interface Setting {
  readonly text: string;
  /** File and field, or flag. */
  readonly where: string;
}

function readSettings(settingsFolder: string, node: string): Partial<Record<string, Setting>> {
  // The name becomes a path.
  if (!NODE_NAME.test(node))
    throw invalid(`--node must be the name of a Kubernetes node where --node-settings is given, not ${JSON.stringify(node)}`);
  const file = path.join(settingsFolder, node);
  const text = readIfThere(file);
  if (text === null) return {};
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw invalid(`${file} is no JSON document: ${(cause as Error).message}`, cause);
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw invalid(`${file} must be a JSON object like {"size": "500GiB"}`);
  }
  const settings: Record<string, Setting> = {};
  for (const [field, value] of Object.entries(document)) {
    if (!KNOWN.includes(field)) throw invalid(`${file} has a field ${JSON.stringify(field)}; there are ${KNOWN.join(', ')}`);
    if (typeof value !== 'string') throw invalid(`${field} in ${file} must be a text in quotes, not ${JSON.stringify(value)}`);
    settings[field] = { text: value, where: `${field} in ${file}` };
  }
  return settings;
}

/** Null when there is no such file: the node has no settings of its own. A missing folder is a mistake. */
function readIfThere(file: string): string | null {
  try {
    const status = fs.statSync(file);
    const { size } = status;
    // A pipe, for one, would be waited for.
    if (!status.isFile()) throw invalid(`cannot read ${file}, the settings of this node: it is not a regular file`);
    if (size > LARGEST_FILE_BYTES) throw invalid(`${file} has ${size} bytes, more than ${LARGEST_FILE_BYTES}`);
    return fs.readFileSync(file, 'utf8');
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    if (isMissing && fs.existsSync(path.dirname(file))) return null;
    throw invalid(`cannot read ${file}, the settings of this node: ${(cause as Error).message}`, cause);
  }
}

function folderIn(root: string | null, { text, where }: Setting): string {
  if (text === '' || text.includes('\0')) throw invalid(`${where} must be a folder, not ${JSON.stringify(text)}`);
  const fromSettings = where !== '--pool';
  if (root === null) {
    if (fromSettings) throw invalid(`${where} needs --pool-root, the folder that it is relative to`);
    return path.resolve(text);
  }
  if (!path.isAbsolute(root)) throw invalid(`--pool-root must be an absolute path, not ${JSON.stringify(root)}`);
  if (fromSettings && path.isAbsolute(text)) throw invalid(`${where} must be relative to ${root}, not ${JSON.stringify(text)}`);
  const folder = path.resolve(root, text);
  demandInside(path.resolve(root), folder, where);
  // A link in the folder could lead elsewhere all the same.
  demandInside(realPathOf(path.resolve(root)), realPathOf(folder), where);
  return folder;
}

function demandInside(root: string, folder: string, where: string): void {
  const relative = path.relative(root, folder);
  const inside = relative !== '' && relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
  if (!inside) throw invalid(`${where} leads to ${folder}, which is not a folder inside ${root}`);
}

/** With all links resolved, as far as the path exists. */
function realPathOf(folder: string): string {
  const missing: string[] = [];
  for (let present = folder; ; present = path.dirname(present)) {
    try {
      return path.join(fs.realpathSync(present), ...missing);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT' || present === path.dirname(present))
        throw invalid(`cannot look at ${present}: ${(cause as Error).message}`, cause);
      missing.unshift(path.basename(present));
    }
  }
}

function sizeOf({ text, where }: Setting): number {
  try {
    return parseSize(text, where);
  } catch (cause) {
    throw invalid((cause as Error).message, cause);
  }
}

function chunkSizeOf(setting: Setting): number {
  if (CHUNK_SIZES.includes(setting.text)) return sizeOf(setting);
  throw invalid(`${setting.where} must be one of ${CHUNK_SIZES.join(', ')}, not ${JSON.stringify(setting.text)}`);
}

function invalid(message: string, cause?: unknown): StoreError {
  return new StoreError('invalid-argument', message, { cause });
}
