/**
 * Who a process is towards others, and whom it believes: what the parts that talk TLS take from the parts that issue and
 * renew certificates. It changes while the process runs, and nobody is restarted for it.
 */

/** PEM texts that belong together. */
export interface TlsMaterial {
  readonly certificate: string;
  readonly key: string;
  /** Certificates of all authorities that are believed. */
  readonly bundle: string;
}

export interface TlsIdentity {
  /** Null until the first certificate is there. */
  current(): TlsMaterial | null;
  /** Called after each change. Returns the end of it. */
  onChange(listener: () => void): () => void;
}

/** The one DNS name in the certificate of a controller. */
export const CONTROLLER_TLS_NAME = 'controller.chunkstore.dev';

/** The one DNS name in the certificate of the store that serves a pool. */
export function poolTlsName(poolId: string): string {
  return `${poolId}.pool.chunkstore.dev`;
}
