/** What is compared: ways to have block devices with snapshots on one disk, each set up as fast as its users would have
 * it; and two without snapshots, which say what the disk and what FUSE leave for them. */

export type SubjectName = 'chunkstore' | 'loop' | 'pass-through' | 'qcow2' | 'xfs-reflink' | 'btrfs' | 'dm-thin';

export type Ability = 'snapshot' | 'clone' | 'revert' | 'defragment';

/** How a subject is made. */
export interface SubjectKind {
  readonly name: SubjectName;
  readonly abilities: ReadonlySet<Ability>;
  /** Whether its volumes are as good as new always, so that one stands for all conditions. */
  readonly stateless: boolean;
  /** Why this machine cannot run it, in words for a person; undefined where it can. */
  lack(): string | undefined;
  make(options: SubjectOptions): Promise<Subject>;
}

export interface SubjectOptions {
  /** Its own, on the disk that is measured; there already, and empty. */
  readonly folder: string;
  /** What all of its volumes and snapshots may hold at the same time. */
  readonly poolBytes: number;
  readonly signal: AbortSignal;
  /** Given what takes it down, before there is anything to take down. What it is given may be called at any time, in the
   * middle of a step too; it ends within a minute, and fails when something is left. A second call does nothing. */
  readonly atEnd: (action: () => Promise<void>) => void;
}

export interface Subject {
  /** Of a volume without data. Its name is its own among volumes, past ones too. */
  createVolume(options: { readonly name: string; readonly sizeBytes: number }): Promise<Volume>;
  /** All that there are, with their snapshots. */
  removeVolumes(): Promise<void>;
  /** What volumes and snapshots take of the space that they share, as the subject itself counts. */
  usedBytes(): Promise<number>;
  /** Ends when what was deleted has given its space back, or a minute later. */
  settle(): Promise<void>;
}

/** What a subject has not among its abilities fails. */
export interface Volume {
  /** May be another one after a revert. */
  readonly devicePath: string;
  snapshot(name: string): Promise<void>;
  deleteSnapshot(name: string): Promise<void>;
  /** With the device out of use meanwhile. */
  revert(snapshotName: string): Promise<void>;
  clone(options: { readonly snapshotName: string; readonly name: string }): Promise<Volume>;
  /** Puts it in order on the disk, in use; its snapshots stay. Only where that is among the abilities. */
  defragment?(): Promise<void>;
  /** With its snapshots. */
  remove(): Promise<void>;
}
