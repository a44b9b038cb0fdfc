/** A block device node as the contract suite wants it: direct reads and writes, blkdiscard in both its forms, fsync. */
import fs from 'node:fs';
import { blockDeviceSize } from '../../src/linux/files.ts';
import { Structure } from '../../src/linux/structure.ts';
import { runCommand } from '../../src/util/exec.ts';

const alignmentBytes = 4096;
const discardLimitMs = 20_000;

export class RawDevice {
  readonly sizeBytes: number;
  readonly #path: string;
  readonly #file: fs.promises.FileHandle;
  #discards = 0;

  private constructor(path: string, file: fs.promises.FileHandle) {
    this.#path = path;
    this.#file = file;
    this.sizeBytes = blockDeviceSize(file.fd);
  }

  static async open(path: string): Promise<RawDevice> {
    return new RawDevice(path, await fs.promises.open(path, fs.constants.O_RDWR | fs.constants.O_DIRECT));
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const { bytes } = new Structure(lengthBytes, { alignmentBytes });
    const { bytesRead } = await this.#file.read(bytes, 0, lengthBytes, offsetBytes);
    // At its end a device is silent about what it does not have.
    if (bytesRead !== lengthBytes) throw new Error(`only ${bytesRead} of ${lengthBytes} bytes could be read at ${offsetBytes}`);
    return bytes;
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    // What begins inside and ends outside the kernel cuts short, as it would for a file: nothing that a device decides.
    if (offsetBytes < this.sizeBytes) this.#requireInside(offsetBytes, bytes.length);
    const aligned = new Structure(bytes.length, { alignmentBytes });
    aligned.bytes.set(bytes);
    const { bytesWritten } = await this.#file.write(aligned.bytes, 0, bytes.length, offsetBytes);
    if (bytesWritten !== bytes.length) throw new Error(`only ${bytesWritten} of ${bytes.length} bytes could be written at ${offsetBytes}`);
  }

  /** Discard and write-zeroes in turns: both must read as zeros. */
  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    // The program cuts such a range short without a word.
    this.#requireInside(offsetBytes, lengthBytes);
    this.#discards += 1;
    const form = this.#discards % 2 === 0 ? ['--zeroout'] : [];
    const range = ['--offset', String(offsetBytes), '--length', String(lengthBytes)];
    await runCommand('blkdiscard', ['--force', ...form, ...range, this.#path], { timeoutMs: discardLimitMs });
  }

  async flush(): Promise<void> {
    await this.#file.sync();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #requireInside(offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes + lengthBytes > this.sizeBytes) throw new Error(`${lengthBytes} bytes at ${offsetBytes} lie outside the device`);
  }
}
