/** What the whole machine did while a load ran: time of its processors, and bytes that one disk was given to write. The
 * sources of both: Documentation/filesystems/proc.rst and Documentation/admin-guide/iostats.rst of Linux. */
import fs from 'node:fs';

export interface MachineCounters {
  readonly busyMicroseconds: number;
  /** Null where the folder is not on a block device that counts. */
  readonly writtenBytes: number | null;
}

/** USER_HZ, the unit of /proc/stat: 100 on every platform that Node runs on. */
const ticksPerSecond = 100;
/** The unit of a disk's counters, whatever its own sectors are. */
const sectorBytes = 512;

/** Reads the counters; those of the disk for the one that `folder` is on. */
export function readCounters(folder: string): MachineCounters {
  const { dev } = fs.statSync(folder, { bigint: true });
  const stat = `/sys/dev/block/${majorOf(dev)}:${minorOf(dev)}/stat`;
  return {
    busyMicroseconds: busyMicrosecondsOf(fs.readFileSync('/proc/stat', 'utf8')),
    writtenBytes: fs.existsSync(stat) ? writtenBytesOf(fs.readFileSync(stat, 'utf8')) : null,
  };
}

/** All processors' time in /proc/stat but for what they were idle or waited for disks. Steal counts as idle: another
 * machine had it. */
export function busyMicrosecondsOf(text: string): number {
  const [, ...words] = text.split('\n', 1)[0]!.trim().split(/\s+/);
  const [user = 0, nice = 0, system = 0, , , interrupts = 0, softInterrupts = 0] = words.map(Number);
  return ((user + nice + system + interrupts + softInterrupts) * 1e6) / ticksPerSecond;
}

/** Of a disk's `stat` in sysfs: the seventh number is sectors written. */
export function writtenBytesOf(text: string): number {
  return Number(text.trim().split(/\s+/)[6]) * sectorBytes;
}

/** Major and minor number as the kernel packs them for user space (include/linux/kdev_t.h, new_decode_dev). */
function majorOf(device: bigint): bigint {
  return ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
}

function minorOf(device: bigint): bigint {
  return (device & 0xffn) | ((device >> 12n) & ~0xffn);
}
