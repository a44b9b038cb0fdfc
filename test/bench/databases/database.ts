/** A database under a load of small transactions, each of them durable before it is answered. */
import type { Transaction } from './transactions.ts';

export interface DatabaseKind {
  /** The workload of its measurements. */
  readonly name: string;
  /** Why this machine cannot run it, in words for a person; undefined where it can. */
  lack(): string | undefined;
  /** Makes one with its first data. */
  make(options: DatabaseOptions): Promise<Database>;
}

export interface DatabaseOptions {
  /** Its own, on the file system that is measured; there already, and empty. */
  readonly folder: string;
  readonly signal: AbortSignal;
  /** Given what ends the database's processes, before there are any. It may be called at any time, and again. */
  readonly atEnd: (action: () => Promise<void>) => void;
}

export interface Database {
  /** Runs transactions for that time, and says when they begin. Nothing of it runs between two calls. */
  load(options: { readonly seconds: number; readonly begins: () => void }): Promise<readonly Transaction[]>;
}
