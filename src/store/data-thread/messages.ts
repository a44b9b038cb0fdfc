/** Messages between the main thread of the store and its data thread. */
import type { MessagePort } from 'node:worker_threads';
import type { ControlRequest, ObjectId } from '../../engine/control.ts';
import type { ErrorCode } from '../../util/errors.ts';
import type { DeviceConnection } from './control.ts';

/** What the data thread is started with, before anybody has the pool. Descriptors are the process's; it closes none of
 * them. */
export interface DataThreadSetup {
  /** The opening, then requests from the main thread; each of those is followed by a signal of the wake descriptor. */
  readonly port: MessagePort;
  readonly metadataPort: MessagePort;
  readonly wakeDescriptor: number;
  readonly memoryDescriptor: number;
  readonly parkTimeoutMs: number;
  readonly prewrite: boolean;
}

/** The first message: this process has the pool's locks. From then on the thread serves. */
export interface DataThreadOpening {
  readonly data: { readonly descriptor: number; readonly sizeBytes: number };
  readonly log: { readonly descriptor: number; readonly sizeBytes: number };
  readonly pool: { readonly poolId: ObjectId; readonly chunkSizeBytes: number };
}

/** The descriptor of a connection is the data thread's from then on. */
export type DataThreadRequest =
  | { readonly kind: 'control'; readonly request: ControlRequest }
  /** Once, before any `add`: the connections that a dead predecessor served. */
  | { readonly kind: 'recover'; readonly connections: readonly DeviceConnection[] }
  | { readonly kind: 'add'; readonly connection: DeviceConnection }
  | { readonly kind: 'remove'; readonly connection: number }
  | { readonly kind: 'resize'; readonly connection: number; readonly sizeBytes: number }
  | { readonly kind: 'open' }
  | { readonly kind: 'statistics' }
  /** Fresh: the metadata thread is asked, and not only what it said last. */
  | { readonly kind: 'metadataSpace'; readonly fresh: boolean }
  /** Begins nothing any more that nobody waits for; `stop` follows. */
  | { readonly kind: 'quiesce' }
  /** Answers what is under way, and ends. */
  | { readonly kind: 'stop' };

export type DataThreadMessage =
  /** The memory is mapped and in order, the ring is made: it can be opened. */
  | { readonly kind: 'prepared'; readonly error: MessageError | null; readonly warnings: readonly string[] }
  /** The engine has recovered. */
  | { readonly kind: 'started'; readonly error: MessageError | null }
  | { readonly kind: 'answer'; readonly id: number; readonly error: MessageError | null; readonly answer: unknown }
  /** It was told to stop, and none of its I/O is under way any more. */
  | { readonly kind: 'ended' }
  /** A sync or the metadata failed: reads only from now on. */
  | { readonly kind: 'failed'; readonly reason: string };

/** `code` null: a bug of ours. */
export interface MessageError {
  readonly code: ErrorCode | null;
  readonly message: string;
}
