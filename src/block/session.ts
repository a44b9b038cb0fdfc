/** What the data thread knows of one FUSE connection. */
export class Session {
  /** Place in the arena's device table, and of the descriptor in the ring's table of files. */
  readonly index: number;
  readonly connection: number;
  readonly incarnation: number;
  /** The device's number for the target of its requests. */
  readonly device: number;
  readonly fuseDescriptor: number;
  readonly readOnly: boolean;
  sizeBytes: number;
  /** The kernel has ended the connection: nothing can be read from it, and nobody waits for replies. */
  gone = false;
  /** Called once nothing of the session is left; set when it is to be removed. */
  removed: (() => void) | null = null;
  /** A poll waits for the connection to be readable. */
  polling = false;
  /** It stands in the queue of those that are to be read from. */
  queued = false;
  /** Reads that are worth trying in the next round. */
  expected = 1;
  /** Slots that hold its requests and replies. */
  held = 0;

  constructor(options: SessionOptions & { readonly index: number }) {
    this.index = options.index;
    this.connection = options.connection;
    this.incarnation = options.incarnation;
    this.device = options.device;
    this.fuseDescriptor = options.fuseDescriptor;
    this.readOnly = options.readOnly;
    this.sizeBytes = options.sizeBytes;
  }
}

export interface SessionOptions {
  /** Names the FUSE connection, from 1; stays the same over restarts of this process. */
  readonly connection: number;
  /** Tells connections apart that have the same number one after the other. */
  readonly incarnation: number;
  /** /dev/fuse, opened with O_NONBLOCK. Owned by the data loop from now on: it closes it. */
  readonly fuseDescriptor: number;
  readonly device: number;
  /** A multiple of 4,096. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
}
