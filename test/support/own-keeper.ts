/** A keeper for a store in this process: it holds copies of descriptors, as the keeper does, without a process of its own. */
import { duplicateDescriptor } from '../../src/linux/duplicate.ts';
import { closeDescriptor } from '../../src/linux/files.ts';
import type { StoreKeeper } from '../../src/store/store.ts';

export class OwnKeeper implements StoreKeeper {
  readonly ready = true;
  readonly entries = new Map<string, number[]>();

  async put(key: string, _: unknown, descriptors: readonly number[]): Promise<void> {
    await this.drop(key);
    this.entries.set(key, descriptors.map(duplicateDescriptor));
  }

  adopt(key: string): Promise<{ metadata: Record<string, never>; descriptors: number[] } | null> {
    const held = this.entries.get(key);
    return Promise.resolve(held === undefined ? null : { metadata: {}, descriptors: held.map(duplicateDescriptor) });
  }

  get(key: string): Promise<{ descriptors: number[] } | null> {
    return this.adopt(key);
  }

  drop(key: string): Promise<void> {
    for (const descriptor of this.entries.get(key) ?? []) closeDescriptor(descriptor);
    this.entries.delete(key);
    return Promise.resolve();
  }

  list(): Promise<{ key: string }[]> {
    return Promise.resolve([...this.entries.keys()].map((key) => ({ key })));
  }

  leave(): Promise<boolean> {
    return Promise.resolve(true);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
