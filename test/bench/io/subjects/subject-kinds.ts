/** All that are compared, in the order in which they are set up. */
import { chunkstore } from './chunkstore.ts';
import { loop } from './loop.ts';
import type { SubjectKind } from './subject.ts';

export const subjectKinds: readonly SubjectKind[] = [loop, chunkstore];
