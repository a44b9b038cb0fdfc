/**
 * Known data in volumes: a stream of bytes that a seed determines, written by a pod and compared by its digest, in a file
 * or anywhere in a raw block device. The test computes the digest itself, so a write that went wrong shows too.
 */
import { createCipheriv, createHash } from 'node:crypto';
import type { Kube, PodPlace } from './kube.ts';

export interface KnownData {
  /** A file, or a raw block device. */
  readonly path: string;
  readonly seed: string;
  readonly sizeBytes: number;
  /** Where it begins; 0, if not given. */
  readonly offsetBytes?: number;
}

const mebibyte = 1024 * 1024;
const transferLimitMs = 180_000;
/** A reader's error is an error of the whole, or a short read would look like wrong data. */
const shell = ['bash', '-eo', 'pipefail', '-c'];

/** Writes it and waits until it is on the disk. */
export async function writeKnown(kube: Kube, where: PodPlace, data: KnownData): Promise<void> {
  // The end of head ends openssl by a signal, which is no failure.
  const script = `(openssl enc -aes-128-ctr -K "$1" -iv ${zeroVector} </dev/zero 2>/dev/null || true) | head -c "$2" |
    dd of="$3" bs=64K seek="$4" oflag=seek_bytes iflag=fullblock conv=fsync,notrunc status=none`;
  const parameters = [keyOf(data.seed).toString('hex'), String(data.sizeBytes), data.path, String(data.offsetBytes ?? 0)];
  await kube.exec(where, [...shell, script, 'sh', ...parameters], { timeoutMs: transferLimitMs });
}

/** Fails, naming path and seed, when it is not there exactly so. It is read from the volume, not from the node's cache. */
export async function verifyKnown(kube: Kube, where: PodPlace, data: KnownData): Promise<void> {
  const script =
    'dd if="$1" iflag=nocache count=0 status=none; dd if="$1" bs=64K skip="$2" count="$3" iflag=skip_bytes,count_bytes status=none | sha256sum';
  const parameters = [data.path, String(data.offsetBytes ?? 0), String(data.sizeBytes)];
  const output = await kube.exec(where, [...shell, script, 'sh', ...parameters], { timeoutMs: transferLimitMs });
  const found = output.split(' ')[0];
  const expected = digestOf(data);
  if (found !== expected) {
    throw new Error(
      `${data.path} in pod ${where.pod} does not hold the data of seed "${data.seed}" ` +
        `(${data.sizeBytes} bytes from ${data.offsetBytes ?? 0}): SHA-256 ${found} instead of ${expected}`,
    );
  }
}

export function digestOf(data: Pick<KnownData, 'seed' | 'sizeBytes'>): string {
  const cipher = createCipheriv('aes-128-ctr', keyOf(data.seed), Buffer.alloc(16));
  const zeros = Buffer.alloc(mebibyte);
  const hash = createHash('sha256');
  for (let left = data.sizeBytes; left > 0; left -= mebibyte) hash.update(cipher.update(zeros.subarray(0, Math.min(left, mebibyte))));
  return hash.digest('hex');
}

/** The size of the file system that holds a path, and what is free in it. */
export async function spaceIn(
  kube: Kube,
  where: PodPlace,
  path: string,
): Promise<{ readonly sizeBytes: number; readonly freeBytes: number }> {
  const output = await kube.exec(where, ['df', '--block-size=1', '--output=size,avail', path]);
  const [sizeBytes = NaN, freeBytes = NaN] = (output.trim().split('\n').at(-1) ?? '').trim().split(/\s+/).map(Number);
  return { sizeBytes, freeBytes };
}

/** A command for a pod: random writes that are read back and compared for so long. It succeeds only if every byte was right. */
export function verifiedLoad(options: { readonly path: string; readonly size: string; readonly seconds: number }): readonly string[] {
  return [
    'fio',
    '--name=load',
    `--filename=${options.path}`,
    `--size=${options.size}`,
    '--rw=randrw',
    '--bs=4k',
    '--iodepth=8',
    '--ioengine=libaio',
    '--direct=1',
    '--verify=crc32c',
    '--verify_fatal=1',
    '--verify_backlog=64',
    '--time_based',
    `--runtime=${options.seconds}`,
  ];
}

const zeroVector = '0'.repeat(32);

function keyOf(seed: string): Buffer {
  return createHash('sha256').update(seed).digest().subarray(0, 16);
}
