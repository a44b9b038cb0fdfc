/** All that are compared, in the order in which they are set up. */
import { btrfs } from './btrfs.ts';
import { chunkstore } from './chunkstore.ts';
import { dmThin } from './dm-thin.ts';
import { loop } from './loop.ts';
import { passThrough } from './pass-through.ts';
import { qcow2 } from './qcow2.ts';
import type { SubjectKind } from './subject.ts';
import { xfsReflink } from './xfs-reflink.ts';

export const subjectKinds: readonly SubjectKind[] = [loop, passThrough, chunkstore, qcow2, xfsReflink, btrfs, dmThin];
