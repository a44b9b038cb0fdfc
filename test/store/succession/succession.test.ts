import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  afterLeaving,
  afterPromise,
  afterTaking,
  isSucceeded,
  keptFor,
  mayAsk,
  mustWait,
  NO_SUCCESSION,
  SuccessionFile,
  type Succession,
} from '../../../src/store/succession/succession.ts';
import { silentLogger } from '../../../src/util/log.ts';

/** What a pod may do: take a free pool at once, and ask for one that is taken. */
function standing(succession: Succession, pod: string): string {
  return `${mustWait(succession, pod) ? 'waits' : 'takes'}, ${mayAsk(succession, pod) ? 'asks' : 'does not ask'}`;
}

describe('succession', () => {
  const oldServes = afterTaking(NO_SUCCESSION, 'old');
  const promised = afterPromise(oldServes, 'new');
  const newServes = afterTaking(promised, 'new');

  test('the first pod takes the pool, and a new one may ask it', () => {
    expect(standing(NO_SUCCESSION, 'old')).toBe('takes, asks');
    expect(standing(oldServes, 'old')).toBe('takes, does not ask');
    expect(standing(oldServes, 'new')).toBe('takes, asks');
  });

  test('between promise and taking, the promised pod goes first, whoever was killed', () => {
    expect(standing(promised, 'new')).toBe('takes, asks');
    expect(standing(promised, 'old')).toBe('waits, does not ask');
    expect(standing(promised, 'third')).toBe('waits, asks');
    expect(isSucceeded(promised, 'old')).toBe(false);
  });

  test('after the taking, the former holder lets the new one go first and never asks for the pool back', () => {
    expect(standing(newServes, 'new')).toBe('takes, does not ask');
    expect(standing(newServes, 'old')).toBe('waits, does not ask');
    expect(isSucceeded(newServes, 'old')).toBe(true);
    expect(isSucceeded(newServes, 'new')).toBe(false);
  });

  test('a holder that took the pool back has had the last word: its successor does not ask again', () => {
    const takenBack = afterTaking(promised, 'old');
    expect(takenBack).toEqual({ holder: 'old', promised: null, past: ['new'], kept: [] });
    expect(standing(takenBack, 'new')).toBe('waits, does not ask');
    expect(standing(takenBack, 'third')).toBe('takes, asks');
    expect(isSucceeded(takenBack, 'old')).toBe(false);
  });

  test('a promise that was called off leaves everything as it was', () => {
    expect(afterPromise(promised, null)).toEqual(oldServes);
  });

  test('a pod that finds the pool free, because the holder died, retires it', () => {
    const taken = afterTaking(oldServes, 'new');
    expect(standing(taken, 'old')).toBe('waits, does not ask');
  });

  test('after an orderly end anybody takes the pool at once, and who ended may ask for it again', () => {
    const left = afterLeaving(newServes);
    expect(standing(left, 'old')).toBe('takes, does not ask');
    expect(standing(left, 'new')).toBe('takes, asks');
    expect(standing(left, 'third')).toBe('takes, asks');
  });

  test('a rolled back version comes as a new pod, which asks like any other', () => {
    expect(standing(newServes, 'old again')).toBe('takes, asks');
  });

  test('two new pods get their turn one after the other, and then it is over', () => {
    const first = afterTaking(afterPromise(oldServes, 'first'), 'first');
    expect(standing(first, 'second')).toBe('takes, asks');
    const second = afterTaking(afterPromise(first, 'second'), 'second');
    expect(standing(second, 'first')).toBe('waits, does not ask');
    expect(standing(second, 'old')).toBe('waits, does not ask');
  });

  test('the list of those that had their turn is bounded, and names nobody twice', () => {
    let succession = NO_SUCCESSION;
    for (let index = 0; index < 200; index++) succession = afterTaking(succession, `pod-${index}`);
    expect(succession.past).toHaveLength(64);
    expect(succession.past.at(-1)).toBe('pod-198');
    const again = afterTaking(afterTaking(succession, 'pod-198'), 'pod-199');
    expect(new Set(again.past).size).toBe(again.past.length);
    expect(again.past).not.toContain('pod-199');
  });
});

describe('the file of the succession', () => {
  let folder: string;
  let file: SuccessionFile;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-succession-'));
    file = new SuccessionFile({ folder: path.join(folder, 'run'), poolId: 'pool', log: silentLogger() });
  });
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  test('says what was written, and nobody where there is none, as after a boot', () => {
    expect(file.read()).toEqual(NO_SUCCESSION);
    const succession = afterPromise(afterTaking(NO_SUCCESSION, 'old'), 'new', ['memory']);
    file.write(succession);
    expect(file.read()).toEqual(succession);
    expect(fs.readdirSync(path.join(folder, 'run'))).toEqual(['pool.succession']);
  });

  test('of a version that does not say what is kept is read as well', () => {
    fs.mkdirSync(path.join(folder, 'run'));
    fs.writeFileSync(path.join(folder, 'run/pool.succession'), '{"version":1,"holder":"old","promised":"new","past":[]}');
    expect(file.read()).toEqual(afterPromise(afterTaking(NO_SUCCESSION, 'old'), 'new'));
    expect(keptFor(file.read(), 'new')).toBeNull();
  });

  test.each(['', '{', '[]', '{"version":2,"holder":null,"promised":null,"past":[]}', '{"version":1,"holder":7,"promised":null,"past":[]}'])(
    'what is not a succession (%s) counts as nobody, and can be written over',
    (content) => {
      fs.mkdirSync(path.join(folder, 'run'));
      fs.writeFileSync(path.join(folder, 'run/pool.succession'), content);
      expect(file.read()).toEqual(NO_SUCCESSION);
      file.write(afterTaking(NO_SUCCESSION, 'pod'));
      expect(file.read().holder).toBe('pod');
    },
  );

  test('a folder that cannot be written to is no failure', () => {
    fs.writeFileSync(path.join(folder, 'run'), 'not a folder');
    file.write(afterTaking(NO_SUCCESSION, 'pod'));
    expect(file.read()).toEqual(NO_SUCCESSION);
  });
});
