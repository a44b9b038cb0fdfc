/**
 * The folder of a pool: `data` (preallocated), `log` (prefilled with zeros, so that a flush changes no file metadata),
 * `meta/` (LMDB) and `pool.json`, which names the format, the version and the sizes. pool.json is written last, so a
 * folder has it exactly when its creation was complete.
 *
 * A pool belongs to one process at a time: it holds the flock of `data` and `log` (lock.ts). The kernel keeps these
 * locks until the last disk write of a dead holder is over. Version, foreign and truncated files are found before
 * anything is written. What was read before the locks were taken may have changed, so it is read again.
 */
import fs from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import type { ObjectId } from '../../engine/control.ts';
import { isObjectId } from '../../engine/object-id.ts';
import { Allocation, allocate, lock, syncData } from '../../linux/files.ts';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import { syncFolderBlocking } from '../../util/sync-folder.ts';
import { PoolLock } from './lock.ts';

const FORMAT = 'chunkstore pool';
/** Of a new pool. */
const FIRST_VERSION = 1;
/** What docs/format.md says of the versions; both are read. */
const LATEST_VERSION = 2;
const MIB = 1024 * 1024;
export const MINIMUM_POOL_BYTES = 64 * MIB;
const LOG_BYTES = { least: 16 * MIB, most: 64 * MIB };
/** A full leaf page maps 16 MiB of 64 KiB chunks; a part of 256 leaves room for sixteen different versions of it. */
const METADATA_BYTES = { least: 16 * MIB, part: 256 };
const TIMEOUT_MS = 10 * 60_000;
/** Another process creates the same pool: it only has to reserve the space. */
const CREATION_LIMIT_MS = 60_000;
const ZEROS_BYTES = 4 * MIB;
/** As LMDB calls it. */
const METADATA_FILE = 'data.mdb';
const LARGEST_IDENTITY_BYTES = 64 * 1024;
/** Marks a creation under way. */
const CREATING = 'creating';
const OWN_NAMES: readonly string[] = ['data', 'log', 'meta', 'pool.json', 'pool.json.new', CREATING];

/** What pool.json says. */
export interface PoolIdentity {
  /** Of the format: 2 from the first scrub on, because a program that knows only 1 would write into chunks with checksums. */
  readonly version: number;
  readonly id: ObjectId;
  readonly chunkSizeBytes: number;
  readonly dataBytes: number;
  readonly logBytes: number;
}

export interface PoolFolder extends PoolIdentity {
  readonly folder: string;
  readonly metadataFolder: string;
  /** O_DIRECT, locked, until `closePool`. */
  readonly dataDescriptor: number;
  readonly logDescriptor: number;
  readonly lock: PoolLock;
  /** Why it is smaller than the size that was asked for; null: it is not. */
  readonly growthProblem: string | null;
}

export interface PoolOpening {
  /** Larger than the pool: it grows; smaller: `out-of-range`; null: as it is. */
  readonly sizeBytes: number | null;
  /** Looks at the pool's files before anything in them is changed, and may throw. */
  readonly check: (pool: Pick<PoolFolder, 'folder' | 'id' | 'chunkSizeBytes'>) => void;
}

/** The pool's identity, or null when the folder is missing or empty (or a creation was cut off there). */
export function readPoolIdentity(folder: string): PoolIdentity | null {
  let names: string[];
  try {
    names = fs.readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new StoreError('failed-precondition', `cannot read the pool folder ${folder}: ${(error as Error).message}`, { cause: error });
  }
  if (names.includes('pool.json')) return parseIdentity(path.join(folder, 'pool.json'));
  if (names.length === 0 || (names.includes(CREATING) && names.every((name) => OWN_NAMES.includes(name)))) return null;
  throw new StoreError(
    'failed-precondition',
    `${folder} holds files but no pool (${names.slice(0, 3).join(', ')}): give an empty or a new folder`,
  );
}

/**
 * Creates a pool of `sizeBytes` (rounded down to chunks). `format` writes the engine's own structures into the new files
 * and makes them durable; when it fails, or the process dies, the next creation begins anew. False: another process has
 * created the pool meanwhile, and this one has changed nothing.
 */
export async function createPool(
  folder: string,
  options: { readonly id: ObjectId; readonly sizeBytes: number; readonly chunkSizeBytes: number },
  format: (pool: PoolFolder) => Promise<void>,
): Promise<boolean> {
  const { id, chunkSizeBytes } = options;
  const dataBytes = options.sizeBytes - (options.sizeBytes % chunkSizeBytes);
  if (dataBytes < MINIMUM_POOL_BYTES)
    throw new StoreError('invalid-argument', `a pool has at least ${MINIMUM_POOL_BYTES} bytes, not ${options.sizeBytes}`);
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  return withCreationLock(folder, async () => {
    if (readPoolIdentity(folder) !== null) return false;
    clearCreation(folder);
    const logBytes = Math.min(LOG_BYTES.most, Math.max(LOG_BYTES.least, Math.floor(dataBytes / 64 / MIB) * MIB));
    try {
      await fill(folder, { version: FIRST_VERSION, id, chunkSizeBytes, dataBytes, logBytes }, format);
    } catch (error) {
      // What was reserved so far may be all that the file system had. The next creation would clear it too.
      if (readPoolIdentity(folder) === null) clearCreation(folder);
      throw error;
    }
    fs.rmSync(path.join(folder, CREATING));
    return true;
  });
}

async function fill(folder: string, identity: PoolIdentity, format: (pool: PoolFolder) => Promise<void>): Promise<void> {
  await makeData(path.join(folder, 'data'), identity.dataBytes);
  makeLog(path.join(folder, 'log'), identity.logBytes);
  fs.mkdirSync(metadataFolderOf(folder));
  const pool = poolFolder(identity, PoolLock.open(folder));
  try {
    assert(pool.lock.take(), 'nobody else knows these files yet');
    await format(pool);
    await reserveMetadata(pool.metadataFolder, identity.dataBytes);
  } finally {
    closePool(pool);
  }
  writeIdentity(folder, identity);
}

/**
 * Opens a pool and takes its locks. `in-use` when another process has it for longer than `lockWaitMs`.
 */
export async function openPool(folder: string, options: PoolOpening & { readonly lockWaitMs: number }): Promise<PoolFolder> {
  inspectPool(folder, options);
  const poolLock = PoolLock.open(folder);
  if (await poolLock.takeWithin(options.lockWaitMs)) return openLockedPool(poolLock, options);
  poolLock.close();
  throw poolInUse(folder);
}

export function poolInUse(folder: string): StoreError {
  return new StoreError('in-use', `the pool in ${folder} is open in another process: stop that store first`);
}

/** Looks whether `openLockedPool` would succeed, as far as that can be told while another process has the pool; throws
 * its StoreErrors. */
export function inspectPool(folder: string, options: PoolOpening): void {
  const identity = inspect(folder, options.sizeBytes);
  options.check({ ...identity, folder });
}

/**
 * Opens a pool whose locks the caller has taken; they belong to the pool from then on, and are given back when it throws.
 * A pool that cannot grow for want of space is opened as it is, because volumes wait for it: `growthProblem` says why.
 */
export async function openLockedPool(poolLock: PoolLock, options: PoolOpening): Promise<PoolFolder> {
  try {
    poolLock.demandSameFiles();
    const identity = inspect(poolLock.folder, options.sizeBytes);
    const pool = poolFolder(identity, poolLock);
    options.check(pool);
    const dataBytes = sizeWanted(identity, options.sizeBytes);
    return dataBytes === identity.dataBytes ? pool : await grow(pool, dataBytes);
  } catch (error) {
    poolLock.close();
    throw error;
  }
}

/** Gives the locks back. The caller's I/O must be over; whoever cannot promise that leaves it to the end of the process. */
export function closePool(pool: PoolFolder): void {
  pool.lock.close();
}

/**
 * Makes the version of the format the latest one, durably, so that older programs refuse the pool from then on. Also when it
 * is that already: whoever wrote it may have died before it was durable. `no-space` or `failed-precondition` when it cannot
 * be written. The caller has the pool's locks, and nothing else of its thread goes on meanwhile, so that they are not given
 * back midway.
 */
export function raisePoolVersion(folder: string): void {
  const identity = readPoolIdentity(folder);
  if (identity === null) throw new StoreError('not-found', `there is no pool in ${folder}`);
  try {
    if (identity.version < LATEST_VERSION) writeIdentity(folder, { ...identity, version: LATEST_VERSION });
    else syncFolderBlocking(folder);
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw new StoreError('failed-precondition', `cannot write pool.json in ${folder}: ${(error as Error).message}`, { cause: error });
  }
}

/** Where a pool has its metadata. */
export function metadataFolderOf(folder: string): string {
  return path.join(folder, 'meta');
}

function poolFolder(identity: PoolIdentity, poolLock: PoolLock): PoolFolder {
  const { folder, dataDescriptor, logDescriptor } = poolLock;
  return {
    ...identity,
    folder,
    metadataFolder: metadataFolderOf(folder),
    dataDescriptor,
    logDescriptor,
    lock: poolLock,
    growthProblem: null,
  };
}

function sizeWanted(identity: PoolIdentity, sizeBytes: number | null): number {
  return sizeBytes === null ? identity.dataBytes : sizeBytes - (sizeBytes % identity.chunkSizeBytes);
}

/** What the folder says of itself, held against its files and the size that is asked for. */
function inspect(folder: string, sizeBytes: number | null): PoolIdentity {
  const identity = readPoolIdentity(folder);
  if (identity === null) throw new StoreError('not-found', `there is no pool in ${folder}`);
  const wantedBytes = sizeWanted(identity, sizeBytes);
  if (wantedBytes < identity.dataBytes) {
    throw new StoreError(
      'out-of-range',
      `the pool in ${folder} has ${identity.dataBytes} bytes and cannot shrink to ${wantedBytes}: give its size or a larger one`,
    );
  }
  checkFile(path.join(folder, 'data'), identity.dataBytes);
  checkFile(path.join(folder, 'log'), identity.logBytes);
  // LMDB would make a new file, which would look like a pool without volumes.
  const metadata = path.join(metadataFolderOf(folder), METADATA_FILE);
  if (!fs.lstatSync(metadata, { throwIfNoEntry: false })?.isFile()) {
    throw new StoreError('data-loss', `${metadata} is missing: the pool's metadata is gone`);
  }
  return identity;
}

/** Two stores that find an empty folder must not both fill it. */
async function withCreationLock<Result>(folder: string, create: () => Promise<Result>): Promise<Result> {
  const descriptor = fs.openSync(folder, 'r');
  try {
    if (await lock(descriptor, { timeoutMs: CREATION_LIMIT_MS })) return await create();
    throw new StoreError(
      'in-use',
      `another process has been creating a pool in ${folder} for ${CREATION_LIMIT_MS / 1000} s: stop it first`,
    );
  } finally {
    fs.closeSync(descriptor);
  }
}

async function makeData(file: string, sizeBytes: number): Promise<void> {
  const descriptor = fs.openSync(file, 'wx', 0o600);
  try {
    await preallocate(descriptor, sizeBytes, file);
  } finally {
    fs.closeSync(descriptor);
  }
}

async function grow(pool: PoolFolder, sizeBytes: number): Promise<PoolFolder> {
  try {
    await growData(pool, sizeBytes);
    return { ...pool, dataBytes: sizeBytes };
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'no-space') throw error;
    // A part may have been reserved, and that may be all that the file system had. Nothing is stored behind the old end.
    fs.ftruncateSync(pool.dataDescriptor, pool.dataBytes);
    const remedy = 'make room in its file system, or ask for less, then start the store anew';
    return { ...pool, growthProblem: `the pool stays at ${pool.dataBytes} bytes: ${error.message}; ${remedy}` };
  }
}

async function growData(pool: PoolFolder, sizeBytes: number): Promise<void> {
  await preallocate(pool.dataDescriptor, sizeBytes, path.join(pool.folder, 'data'));
  await reserveMetadata(pool.metadataFolder, sizeBytes);
  // The data first: a pool.json that promises more than there is would look like a truncated file.
  const { version, id, chunkSizeBytes, logBytes } = pool;
  writeIdentity(pool.folder, { version, id, chunkSizeBytes, dataBytes: sizeBytes, logBytes });
}

/** Room for the map of the data, so that a full file system beside the pool does not stop its checkpoints. LMDB takes no
 * offence at a file that is longer than what it uses. */
async function reserveMetadata(metadataFolder: string, dataBytes: number): Promise<void> {
  const file = path.join(metadataFolder, METADATA_FILE);
  if (!fs.existsSync(file)) return;
  const descriptor = fs.openSync(file, 'r+');
  try {
    await preallocate(descriptor, Math.max(METADATA_BYTES.least, Math.ceil(dataBytes / METADATA_BYTES.part)), file);
  } finally {
    fs.closeSync(descriptor);
  }
}

async function preallocate(descriptor: number, sizeBytes: number, file: string): Promise<void> {
  try {
    await allocate(descriptor, { offsetBytes: 0, lengthBytes: sizeBytes, mode: Allocation.preallocate, timeoutMs: TIMEOUT_MS });
    await syncData(descriptor, { timeoutMs: TIMEOUT_MS });
  } catch (error) {
    throw new StoreError('no-space', `cannot reserve ${sizeBytes} bytes for ${file}: ${(error as Error).message}`, { cause: error });
  }
}

function makeLog(file: string, sizeBytes: number): void {
  const descriptor = fs.openSync(file, 'wx', 0o600);
  const zeros = Buffer.alloc(ZEROS_BYTES);
  try {
    for (let offset = 0; offset < sizeBytes; offset += zeros.length)
      fs.writeSync(descriptor, zeros, 0, Math.min(zeros.length, sizeBytes - offset), offset);
    fs.fsyncSync(descriptor);
  } catch (error) {
    throw new StoreError('no-space', `cannot write ${sizeBytes} bytes of ${file}: ${(error as Error).message}`, { cause: error });
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Makes the folder an empty one that is marked as being filled, also from what an earlier creation left. */
function clearCreation(folder: string): void {
  fs.writeFileSync(path.join(folder, CREATING), '', { mode: 0o600 });
  for (const name of OWN_NAMES) if (name !== CREATING) fs.rmSync(path.join(folder, name), { recursive: true, force: true });
}

function checkFile(file: string, sizeBytes: number): void {
  const status = fs.lstatSync(file, { throwIfNoEntry: false });
  if (status === undefined) throw new StoreError('data-loss', `${file} is missing`);
  if (!status.isFile()) throw new StoreError('failed-precondition', `${file} is not a regular file: this is no pool of ours`);
  if (status.size < sizeBytes)
    throw new StoreError('data-loss', `${file} is truncated: it has ${status.size} bytes, pool.json counts ${sizeBytes}`);
}

function writeIdentity(folder: string, identity: PoolIdentity): void {
  const file = path.join(folder, 'pool.json');
  const temporary = `${file}.new`;
  const text = encodePoolIdentity(identity);
  try {
    fs.writeFileSync(temporary, text, { mode: 0o600, flush: true });
  } catch (error) {
    throw new StoreError('no-space', `cannot write ${temporary}: ${(error as Error).message}`, { cause: error });
  }
  fs.renameSync(temporary, file);
  syncFolderBlocking(folder);
}

/** The text of pool.json. */
export function encodePoolIdentity({ version, id, chunkSizeBytes, dataBytes, logBytes }: PoolIdentity): string {
  const identity = { version, id, chunkSizeBytes, dataBytes, logBytes };
  return `${JSON.stringify({ format: FORMAT, ...identity, checksum: checksumOf(identity) }, null, 2)}\n`;
}

/** A wrong size alone would be believed: the log would be read at other places, and seem to hold nothing. Version 1 was
 * there before the version counted too. */
function checksumOf({ version, id, chunkSizeBytes, dataBytes, logBytes }: PoolIdentity): number {
  const fields = [id, chunkSizeBytes, dataBytes, logBytes];
  return crc32(JSON.stringify(version === FIRST_VERSION ? fields : [version, ...fields]));
}

/** A pipe, for one, would be waited for. */
function demandFile(file: string): fs.Stats {
  const status = fs.lstatSync(file);
  if (!status.isFile()) throw new Error('it is not a regular file');
  return status;
}

function parseIdentity(file: string): PoolIdentity {
  const foreign = (cause?: unknown): StoreError =>
    new StoreError('failed-precondition', `${file} does not describe a pool of chunkstore: give another folder`, { cause });
  let value: unknown;
  try {
    const { size } = demandFile(file);
    if (size > LARGEST_IDENTITY_BYTES) throw new Error(`it has ${size} bytes`);
    value = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    throw foreign(error);
  }
  if (typeof value !== 'object' || value === null) throw foreign();
  const { format, version, id, chunkSizeBytes, dataBytes, logBytes, checksum } = value as Record<string, unknown>;
  if (format !== FORMAT) throw foreign();
  if (version !== FIRST_VERSION && version !== LATEST_VERSION) {
    const newer = typeof version === 'number' && version > LATEST_VERSION;
    const remedy = newer
      ? 'a newer program has changed it, and there is no way back: use that program again, or one newer still'
      : 'use the program that made it, or one that says it converts such pools';
    throw new StoreError(
      'failed-precondition',
      `the pool in ${path.dirname(file)} has version ${String(version)} of the format, this program knows versions ${FIRST_VERSION} and ${LATEST_VERSION}: ${remedy}`,
    );
  }
  const isSize = (size: unknown): size is number => Number.isSafeInteger(size) && (size as number) > 0;
  if (typeof id !== 'string' || !isObjectId(id) || !isSize(chunkSizeBytes) || !isSize(dataBytes) || !isSize(logBytes)) throw foreign();
  const identity = { version, id, chunkSizeBytes, dataBytes, logBytes };
  // The first pools have none.
  const mayLackChecksum = version === FIRST_VERSION && checksum === undefined;
  if (!mayLackChecksum && checksum !== checksumOf(identity))
    throw new StoreError('data-loss', `${file} is damaged: its checksum does not match. Put back a copy of it`);
  return identity;
}
