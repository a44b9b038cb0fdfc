import { expect, test } from '@jest/globals';
import { Samples } from './samples.ts';
import { runStage } from './stage.ts';
import type { Subject, SubjectKind } from './subjects/subject.ts';

/** A stage without loads of one subject, whose volumes do not go; answers what was told. */
async function endStage(name: SubjectKind['name'], aborted = false): Promise<string[]> {
  const told: string[] = [];
  const subject: Subject = {
    createVolume: () => Promise.reject(new Error('none is made')),
    removeVolumes: () => Promise.reject(new Error('it hangs')),
    usedBytes: () => Promise.resolve(0),
    settle: () => Promise.resolve(),
  };
  const kind: SubjectKind = {
    name,
    abilities: new Set(),
    stateless: false,
    lack: () => undefined,
    make: () => Promise.resolve(subject),
  };
  await runStage({
    ...{ name: 'of nothing', rows: [], subjects: [{ kind, subject }], samples: new Samples() },
    ...{ folder: '/nowhere', sizeBytes: 0, rounds: 1, seconds: 1, agingLimitMs: 1 },
    signal: aborted ? AbortSignal.abort() : new AbortController().signal,
    newName: () => 'volume',
    progress: (line) => told.push(line),
    isPeer: (one) => one.name === 'qcow2',
  });
  return told;
}

test('a peer whose volumes do not go as they should is told of, and the stage ends well', async () => {
  expect((await endStage('qcow2')).at(-1)).toMatch(/qcow2.*it hangs/);
});

test('volumes of ours that do not go fail the stage', async () => {
  await expect(endStage('chunkstore')).rejects.toThrow('it hangs');
});

test('whoever interrupts a stage does not hear it end well', async () => {
  await expect(endStage('qcow2', true)).rejects.toThrow('it hangs');
});
