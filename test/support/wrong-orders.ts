/**
 * Rules of the design broken on purpose, beside those of planted-bugs.ts: random walks seldom meet these, so a script
 * shows each (test/engine/wrong-orders.test.ts). `plant` breaks a method of a class and returns what takes that back;
 * `wrapPorts` and `world` break what the engine stands on.
 */
import { decodePoolRow, encodeRow, type PoolRow } from '../../src/engine/checkpoint-rows.ts';
import { Durability, type Durable } from '../../src/engine/durability.ts';
import { Engine } from '../../src/engine/engine.ts';
import { Journal } from '../../src/engine/journal.ts';
import { Objects } from '../../src/engine/objects.ts';
import type { MetadataChange } from '../../src/engine/ports.ts';
import { Flights } from '../../src/engine/part-lists.ts';
import { RecordLog } from '../../src/engine/record-log.ts';
import { Slots } from '../../src/engine/slots.ts';
import { Tree } from '../../src/engine/tree.ts';
import { WitnessReader } from '../../src/engine/witness.ts';
import { replaceGetter, replaceMethod } from './planted-bugs.ts';
import type { PortsWrapper, SimulatedWorld } from './simulated-world.ts';

export interface WrongOrder {
  /** The rule of the design that is broken. */
  readonly rule: number;
  readonly plant?: () => () => void;
  readonly wrapPorts?: PortsWrapper;
  readonly world?: (world: SimulatedWorld) => void;
}

/** Made anew for each run: some remember what they see of the engine. */
export const wrongOrders = {
  'the log takes records that are newer than the data sync': (): WrongOrder => ({
    rule: 1,
    plant: () =>
      replaceMethod(
        RecordLog.prototype,
        'writeBatch',
        (original) =>
          function writeBatch(this: RecordLog, ...[ring, from, , done]: Parameters<RecordLog['writeBatch']>): void {
            original.call(this, ring, from, Number.MAX_SAFE_INTEGER, done);
          },
      ),
  }),

  'the log is written while the data is being synced': (): WrongOrder => ({
    rule: 1,
    plant: () => replaceSyncData({ answersAtOnce: (durability) => durability.running }),
  }),

  'a checkpoint is committed while the data is being synced': (): WrongOrder => ({
    rule: 1,
    plant: () => replaceSyncData({ answersAtOnce: (durability) => !durability.running }),
  }),

  'a flush shares a cycle that began before its write landed': (): WrongOrder => ({
    rule: 1,
    plant: () =>
      replaceMethod(Durability.prototype, 'request', (original) => {
        const sharing: Durable[] = [];
        return function request(this: Durability, done: Durable): void {
          if (this.running) return void sharing.push(done);
          original.call(this, (errno) => {
            done(errno);
            for (const other of sharing.splice(0)) other(errno);
          });
        };
      }),
  }),

  'recovery believes what the last batch says': (): WrongOrder => ({
    rule: 1,
    plant: () => replaceMethod(WitnessReader.prototype, 'compare', () => (_, done) => done(null, true)),
  }),

  'a batch that is left out stays on the disk': (): WrongOrder => ({
    rule: 1,
    wrapPorts: (ports) => {
      const { log, memory } = ports;
      const write: typeof log.write = (offset, length, from, tag) => {
        const isErasing = memory.bytes.subarray(from, from + length).every((byte) => byte === 0);
        if (isErasing) log.read(offset, length, from, tag);
        else log.write(offset, length, from, tag);
      };
      return { ...ports, log: { ...log, write } };
    },
  }),

  'what the last batch speaks of is overwritten': (): WrongOrder => ({
    rule: 1,
    plant: () => replaceMethod(Durability.prototype, 'isWitnessed', () => () => false),
  }),

  'the end of a data sync marks the pool as clean': (): WrongOrder => {
    const syncing = new Set<Durability>();
    return {
      rule: 1,
      plant: () => {
        const takeBackSync = replaceMethod(
          Durability.prototype,
          'syncData',
          (original) =>
            function syncData(this: Durability, done: (errno: number) => void): void {
              syncing.add(this);
              original.call(this, (errno) => {
                syncing.delete(this);
                done(errno);
              });
            },
        );
        const takeBackLanded = replaceMethod(
          Durability.prototype,
          'landed',
          (original) =>
            function landed(this: Durability): void {
              if (!syncing.has(this)) original.call(this);
            },
        );
        return () => {
          takeBackLanded();
          takeBackSync();
        };
      },
    };
  },

  'a repeated call is answered by what is in memory': (): WrongOrder => {
    const seen: Objects[] = [];
    return {
      rule: 5,
      plant: () => {
        const takeBackAdd = replaceMethod(
          Objects.prototype,
          'add',
          (original) =>
            function add(this: Objects, object: Parameters<Objects['add']>[0]): void {
              seen.push(this);
              original.call(this, object);
            },
        );
        const takeBackControl = replaceMethod(
          Engine.prototype,
          'control',
          (original) =>
            function control(this: Engine, ...[request, done]: Parameters<Engine['control']>): void {
              const made = request.kind === 'snapshot' ? seen.at(-1)?.byName('snapshot', request.name) : undefined;
              if (made === undefined) original.call(this, request, done);
              else done(null, { object: made.info(), existed: true, safety: null });
            },
        );
        return () => {
          takeBackControl();
          takeBackAdd();
        };
      },
    };
  },

  'the logs are trimmed when the commit is issued': (): WrongOrder => ({
    rule: 6,
    wrapPorts: (ports) => {
      const { metadata } = ports;
      const commit: typeof metadata.commit = (changes, done) => {
        metadata.commit(changes, () => undefined);
        done(null);
      };
      return { ...ports, metadata: { ...metadata, commit } };
    },
  }),

  'a checkpoint stores the sequence of its commit': (): WrongOrder => {
    const journals: Journal[] = [];
    return {
      rule: 6,
      plant: () =>
        replaceMethod(
          Journal.prototype,
          'entry',
          (original) =>
            function entry(this: Journal, ...args: Parameters<Journal['entry']>): number {
              journals.push(this);
              return original.apply(this, args);
            },
        ),
      wrapPorts: (ports) => {
        const { metadata } = ports;
        const late = (row: PoolRow): PoolRow => ({ ...row, ...journals.at(-1)?.last });
        const change = (one: MetadataChange): MetadataChange =>
          one.table === 'pool' && one.value ? { ...one, value: encodeRow(late(decodePoolRow(one.value))) } : one;
        const commit: typeof metadata.commit = (changes, done) => metadata.commit(changes.map(change), done);
        return { ...ports, metadata: { ...metadata, commit } };
      },
    };
  },

  'recovery takes a commit that it can read for durable': (): WrongOrder => ({
    rule: 6,
    world: (world) => void (world.metadata.loadsWithoutSync = true),
  }),

  'the reserve is used although newer records name its slots': (): WrongOrder => {
    let reserve: number[] = [];
    return {
      rule: 7,
      wrapPorts: (ports) => {
        const { metadata } = ports;
        const load: typeof metadata.load = (done) =>
          metadata.load((error, image) => {
            const pool = image?.pool ?? null;
            reserve = pool === null ? [] : [...decodePoolRow(pool).reserve];
            done(error, image);
          });
        return { ...ports, metadata: { ...metadata, load } };
      },
      plant: () =>
        replaceMethod(
          Slots.prototype,
          'take',
          (original) =>
            function take(this: Slots): number {
              return this.counted || !this.settled ? original.call(this) : (reserve.pop() ?? 0);
            },
        ),
    };
  },
  'sealed slots are written in place': (): WrongOrder => ({
    rule: 8,
    plant: () =>
      replaceMethod(
        Tree.prototype,
        'unsealedLayers',
        () =>
          function unsealedLayers(this: Tree, ...[, set]: Parameters<Tree['unsealedLayers']>): number {
            return set;
          },
      ),
  }),

  'a slot is read for its checksum with writes in flight': (): WrongOrder => ({
    rule: 8,
    plant: () => replaceGetter(Flights.prototype, 'oldestStamp', () => Infinity),
  }),

  'a seal stays on disk when its slot is free': (): WrongOrder => ({
    rule: 8,
    wrapPorts: (ports) => {
      const { metadata } = ports;
      const commit: typeof metadata.commit = (changes, done) =>
        metadata.commit(
          changes.filter(({ table, value }) => table !== 'seals' || value !== null),
          done,
        );
      return { ...ports, metadata: { ...metadata, commit } };
    },
  }),

  'a checksum is stored before its data is synced': (): WrongOrder => ({
    rule: 8,
    plant: () => replaceSyncData({ answersAtOnce: () => true }),
  }),
} satisfies Readonly<Record<string, () => WrongOrder>>;

/** The sync goes on, but whoever asked for it does not wait. */
function replaceSyncData(options: { readonly answersAtOnce: (durability: Durability) => boolean }): () => void {
  return replaceMethod(
    Durability.prototype,
    'syncData',
    (original) =>
      function syncData(this: Durability, done: (errno: number) => void): void {
        if (!options.answersAtOnce(this)) return original.call(this, done);
        original.call(this, () => undefined);
        done(0);
      },
  );
}
