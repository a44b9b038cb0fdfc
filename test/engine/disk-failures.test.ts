/**
 * Every call to disks and metadata fails, in every way: `make torture CAMPAIGN=faults` does more of it, and long sequences.
 * CHUNKSTORE_SEED chooses the first walk.
 */
import { afterAll, describe, expect, test } from '@jest/globals';
import type { EnginePorts } from '../../src/engine/ports.ts';
import { failEverywhere, faultForms, faultMoments, walkWithFaults, type FaultForm, type FaultTally } from '../support/disk-failures.ts';
import { engineSubject } from '../support/engine-subject.ts';
import type { DiskOperationKind } from '../support/simulated-disk.ts';
import type { WalkSubject } from '../support/walk-runner.ts';

const firstSeed = Number(process.env['CHUNKSTORE_SEED'] ?? Date.now() % 1_000_000_000);
const walks = 25;
const total = { cases: 0, stopped: 0 };

function count(tally: FaultTally): FaultTally {
  total.cases += tally.cases;
  total.stopped += tally.stopped;
  return tally;
}

afterAll(() => void process.stdout.write(`disk failures: ${total.cases} cases, the engine stopped in ${total.stopped} of them\n`));

function nameOf(form: FaultForm): string {
  return [form.port, form.kind, 'how' in form ? form.how : 'error', 'errno' in form ? form.errno : ''].join(' ');
}

describe.each(faultMoments)('the nth call fails, %s', (moment) => {
  test.each(faultForms.map((form) => [nameOf(form), form] as const))(
    '%s',
    (_, form) => {
      const { cases } = count(failEverywhere(engineSubject(), { form, moment, oneEnd: true }));
      count(failEverywhere(engineSubject({ flushesToLearn: 0 }), { form, moment, oneEnd: true }));
      // What is read at a start only is not read while the pool serves, and the other way round nothing is left out.
      const none = moment === 'serving' && (form.kind === 'load' || (form.port === 'log' && form.kind === 'read'));
      expect(cases > 0).toBe(!none);
    },
    120_000,
  );
});

test(`calls fail all over walks, from seed ${firstSeed}`, () => {
  for (let seed = firstSeed; seed < firstSeed + walks; seed += 1) count(walkWithFaults(engineSubject(), seed, 100));
}, 120_000);

interface Call {
  readonly port: 'data' | 'log';
  readonly kind: DiskOperationKind;
  readonly lengthBytes: number;
}

/** An engine that is told another result of its disk operations than the disk gave. */
function deceived(told: (call: Call, result: number) => number, wrap: (ports: EnginePorts) => EnginePorts = (ports) => ports): WalkSubject {
  const sound = engineSubject();
  return {
    ...sound,
    makeEngine: (ports, setup, failed) => {
      const calls = new Map<number, Call>();
      const noted = (port: 'data' | 'log'): EnginePorts['data'] => ({
        sizeBytes: ports[port].sizeBytes,
        read: (offset, lengthBytes, memory, tag) => {
          calls.set(tag, { port, kind: 'read', lengthBytes });
          ports[port].read(offset, lengthBytes, memory, tag);
        },
        readPieces: (offset, pieces, tag) => {
          calls.set(tag, { port, kind: 'read', lengthBytes: pieces.wantedBytes });
          return ports.data.readPieces(offset, pieces, tag);
        },
        write: (offset, lengthBytes, memory, tag) => {
          calls.set(tag, { port, kind: 'write', lengthBytes });
          ports[port].write(offset, lengthBytes, memory, tag);
        },
        sync: (tag) => {
          calls.set(tag, { port, kind: 'sync', lengthBytes: 0 });
          ports[port].sync(tag);
        },
      });
      const engine = sound.makeEngine(wrap({ ...ports, data: noted('data'), log: noted('log') }), setup, failed);
      const completed = engine.diskCompleted.bind(engine);
      engine.diskCompleted = (tag, result) => completed(tag, told(calls.get(tag)!, result));
      return engine;
    },
  };
}

describe('an engine is found that does not look at', () => {
  const sound = (_: Call, result: number): number => result;
  const ignores =
    (port: 'data' | 'log', kind: DiskOperationKind) =>
    (call: Call, result: number): number =>
      call.port === port && call.kind === kind ? call.lengthBytes : result;
  const heedless = (ports: EnginePorts): EnginePorts => ({
    ...ports,
    metadata: {
      load: (done) => ports.metadata.load(done),
      readPage: (key, done) => ports.metadata.readPage(key, done),
      readChecksums: (key, done) => ports.metadata.readChecksums(key, done),
      commit: (changes, done) => ports.metadata.commit(changes, () => done(null)),
    },
  });

  test.each<[string, WalkSubject, FaultForm]>([
    ['a failed sync of the data', deceived(ignores('data', 'sync')), { port: 'data', kind: 'sync', errno: 5 }],
    ['a failed sync of the log', deceived(ignores('log', 'sync')), { port: 'log', kind: 'sync', errno: 5 }],
    ['a failed write of data', deceived(ignores('data', 'write')), { port: 'data', kind: 'write', errno: 5 }],
    ['a short write of data', deceived(ignores('data', 'write')), { port: 'data', kind: 'write', errno: 5, how: 'short' }],
    ['a short read of data', deceived(ignores('data', 'read')), { port: 'data', kind: 'read', errno: 5, how: 'short' }],
    ['a torn write of the log', deceived(ignores('log', 'write')), { port: 'log', kind: 'write', errno: 5, how: 'torn' }],
    ['a failed commit of the metadata', deceived(sound, heedless), { port: 'metadata', kind: 'commit', how: 'error' }],
  ])(
    '%s',
    (_, subject, form) => {
      expect(() => failEverywhere(subject, { form, moment: 'serving' })).toThrow(/Violation|Error/);
    },
    120_000,
  );
});
