/**
 * Contents that cannot look right by accident: every granule that a test writes carries a value of its own, the volume
 * and the granule it was written for, in every one of its sectors.
 */
import { sectorSizeBytes } from './simulated-disk.ts';

export const granuleBytes = 4096;
/** The value of what reads as zeros. */
export const zeros = 0;

const words = granuleBytes / 4;
const wordsPerSector = sectorSizeBytes / 4;
const zeroGranule = new Uint8Array(granuleBytes);

interface Stamp {
  readonly volume: number;
  readonly granule: number;
}

/** Hands out values, and knows the content of each. */
export class StampedContent {
  readonly #stamps = new Map<number, Stamp | Uint8Array>();
  readonly #scratch = new Uint32Array(words);
  readonly #scratchBytes = new Uint8Array(this.#scratch.buffer);
  #next = 1;

  /** A value nobody has written yet. */
  newValue(stamp: Stamp): number {
    const value = this.#next;
    this.#next += 1;
    this.#stamps.set(value, stamp);
    return value;
  }

  /** A value for bytes that a power loss mixed. */
  literal(bytes: Uint8Array): number {
    const value = this.#next;
    this.#next += 1;
    this.#stamps.set(value, bytes.slice());
    return value;
  }

  /** Bytes of a value; valid until the next call. */
  bytesOf(value: number): Uint8Array {
    if (value === zeros) return zeroGranule;
    const stamp = this.#stamps.get(value);
    if (!stamp) throw new Error(`value ${value} was never handed out`);
    if (stamp instanceof Uint8Array) return stamp;
    const scratch = this.#scratch;
    let word = Math.imul(value, 0x9e3779b1) ^ Math.imul(stamp.volume, 0x85ebca6b) ^ Math.imul(stamp.granule, 0xc2b2ae35);
    for (let index = 0; index < words; index += 1) {
      scratch[index] = word;
      word = (word + 0x6d2b79f5) | 0;
    }
    for (let sector = 0; sector < granuleBytes / sectorSizeBytes; sector += 1) {
      scratch[sector * wordsPerSector] = value;
      scratch[sector * wordsPerSector + 1] = stamp.volume;
      scratch[sector * wordsPerSector + 2] = stamp.granule * 8 + sector;
    }
    return this.#scratchBytes;
  }

  isValue(bytes: Uint8Array, value: number): boolean {
    return Buffer.compare(bytes, this.bytesOf(value)) === 0;
  }

  /** Whether every sector of the bytes is the same sector of one of the values: what a torn write leaves. */
  isMixOf(bytes: Uint8Array, values: readonly number[]): boolean {
    const contents = values.map((value) => this.bytesOf(value).slice());
    for (let at = 0; at < granuleBytes; at += sectorSizeBytes) {
      const sector = bytes.subarray(at, at + sectorSizeBytes);
      if (!contents.some((content) => Buffer.compare(sector, content.subarray(at, at + sectorSizeBytes)) === 0)) return false;
    }
    return true;
  }

  /** Says in words what the bytes are. */
  describe(bytes: Uint8Array): string {
    const sectors: string[] = [];
    for (let at = 0; at < granuleBytes; at += sectorSizeBytes) sectors.push(this.#describeSector(bytes, at));
    return sectors.every((sector) => sector === sectors[0]) ? sectors[0]! : `torn [${sectors.join(', ')}]`;
  }

  #describeSector(bytes: Uint8Array, at: number): string {
    const sector = bytes.subarray(at, at + sectorSizeBytes);
    if (Buffer.compare(sector, zeroGranule.subarray(0, sectorSizeBytes)) === 0) return 'zeros';
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, sectorSizeBytes);
    const value = view.getUint32(0, true);
    const stamp = this.#stamps.get(value);
    if (stamp && !(stamp instanceof Uint8Array) && Buffer.compare(sector, this.bytesOf(value).subarray(at, at + sectorSizeBytes)) === 0) {
      return `value ${value} (volume ${stamp.volume}, granule ${stamp.granule})`;
    }
    return `bytes ${Buffer.from(sector.subarray(0, 8)).toString('hex')}…`;
  }
}
