/**
 * How the active slots are shared. Half of them are kept for devices that have less than an equal part of that half, or
 * none; the rest is for whoever comes first. One device can take most of them, but never that half.
 */
export class SlotShares {
  readonly #slots: number;
  readonly #used: Int32Array;
  readonly #present: Uint8Array;
  #devices = 0;
  #guaranteed = 0;
  #free: number;
  /** Guaranteed and not in use, over all devices. */
  #owed = 0;

  constructor(options: { readonly slots: number; readonly devices: number }) {
    this.#slots = options.slots;
    this.#free = options.slots;
    this.#used = new Int32Array(options.devices);
    this.#present = new Uint8Array(options.devices);
  }

  addDevice(device: number): void {
    this.#present[device] = 1;
    this.#devices++;
    this.#divide();
  }

  /** The device must have given back all it used. */
  removeDevice(device: number): void {
    this.#present[device] = 0;
    this.#devices--;
    this.#divide();
  }

  mayTake(device: number): boolean {
    return this.#free > 0 && (this.#used[device]! < this.#guaranteed || this.#free > Math.min(this.#owed, this.#slots / 2));
  }

  take(device: number): void {
    if (this.#used[device]! < this.#guaranteed) this.#owed--;
    this.#used[device]!++;
    this.#free--;
  }

  giveBack(device: number): void {
    this.#used[device]!--;
    if (this.#used[device]! < this.#guaranteed) this.#owed++;
    this.#free++;
  }

  #divide(): void {
    this.#guaranteed = Math.max(1, Math.floor(this.#slots / 2 / Math.max(1, this.#devices)));
    this.#owed = 0;
    for (let device = 0; device < this.#used.length; device++) {
      if (this.#present[device] === 1) this.#owed += Math.max(0, this.#guaranteed - this.#used[device]!);
    }
  }
}
