/** The present TLS material of a process, and who wants to know when it changes. */
import type { Logger } from '../../util/log.ts';
import type { TlsIdentity, TlsMaterial } from '../../util/tls-identity.ts';

export class IdentityHolder implements TlsIdentity {
  readonly #log: Logger;
  readonly #listeners = new Set<() => void>();
  #material: TlsMaterial | null = null;

  constructor(options: { readonly log: Logger }) {
    this.#log = options.log;
  }

  current(): TlsMaterial | null {
    return this.#material;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  set(material: TlsMaterial): void {
    const { certificate, key, bundle } = this.#material ?? {};
    if (material.certificate === certificate && material.key === key && material.bundle === bundle) return;
    this.#material = material;
    for (const listener of this.#listeners) {
      try {
        listener();
      } catch (error) {
        this.#log.error({ err: error }, 'a listener of the TLS identity failed');
      }
    }
  }
}
