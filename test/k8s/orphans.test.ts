import { describe, expect, test } from '@jest/globals';
import { collectOrphans, isNobodys, type OrphanStore, type OrphanVolume } from '../../src/k8s/orphans.ts';
import { DRIVER_NAME, persistentVolumes, type PersistentVolume } from '../../src/k8s/resources.ts';
import { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import { FakeKubernetes } from '../support/fake-kubernetes.ts';
import { ManualClock } from '../support/manual-clock.ts';

const CLAIM_UID = '11111111-2222-3333-4444-555555555555';
const NAME = `pvc-${CLAIM_UID}`;
const HERE = 'poolhere.volume';
const ELSEWHERE = 'poolelsewhere.volume';
const MINUTE = 60_000;

function persistentVolume(
  changes: { driver?: string; handle?: string; claimUid?: string; provisionedBy?: string; name?: string } = {},
): PersistentVolume {
  const { driver = DRIVER_NAME, handle = ELSEWHERE, claimUid = CLAIM_UID, provisionedBy = DRIVER_NAME, name = NAME } = changes;
  return {
    metadata: { name, annotations: { 'pv.kubernetes.io/provisioned-by': provisionedBy } },
    spec: { csi: { driver, volumeHandle: handle }, claimRef: { namespace: 'team', name: 'data', uid: claimUid } },
    status: { phase: 'Bound' },
  };
}

const volume = (changes: Partial<OrphanVolume> = {}): OrphanVolume => ({
  id: HERE,
  name: NAME,
  createdAtMs: 0,
  attached: false,
  source: null,
  ...changes,
});

class FakeStore implements OrphanStore {
  readonly volumes: OrphanVolume[];
  readonly deleted: string[] = [];
  usedBytes = 0;
  away = false;

  constructor(...volumes: OrphanVolume[]) {
    this.volumes = volumes;
  }

  listVolumes(): Promise<readonly OrphanVolume[]> {
    if (this.away) return Promise.reject(new StoreError('unavailable', 'away'));
    return Promise.resolve(this.volumes.filter(({ id }) => !this.deleted.includes(id)));
  }

  getUsage(): Promise<{ usedBytes: number }> {
    return Promise.resolve({ usedBytes: this.usedBytes });
  }

  deleteVolume(id: string): Promise<void> {
    if (this.volumes.find((known) => known.id === id)?.attached === true)
      return Promise.reject(new StoreError('failed-precondition', 'attached'));
    this.deleted.push(id);
    return Promise.resolve();
  }
}

/** Runs the collection for `minutes`, with what a test does to the world before. */
async function collected(
  stores: readonly FakeStore[],
  prepare: (world: { kubernetes: FakeKubernetes; clock: ManualClock }) => unknown,
  minutes = 60,
): Promise<readonly string[]> {
  const clock = new ManualClock();
  const kubernetes = new FakeKubernetes({ now: () => clock.nowMs() });
  const stop = new AbortController();
  await prepare({ kubernetes, clock });
  const running = collectOrphans({ api: kubernetes, stores: () => Promise.resolve(stores), clock, logger: silentLogger() }, stop.signal);
  await clock.advance(minutes * MINUTE);
  stop.abort();
  await running;
  expect(clock.waiting).toBe(0);
  return stores.flatMap((store) => store.deleted);
}

const bound = ({ kubernetes }: { kubernetes: FakeKubernetes }): unknown => kubernetes.seed(persistentVolumes, persistentVolume());

describe('an orphaned volume', () => {
  test('whose claim is bound to another one is deleted, after some minutes', async () => {
    expect(await collected([new FakeStore(volume())], bound, 9)).toEqual([]);
    expect(await collected([new FakeStore(volume())], bound, 16)).toEqual([HERE]);
  });

  test('is deleted although other stores are away', async () => {
    const away = new FakeStore(volume({ id: 'other' }));
    away.away = true;
    expect(await collected([away, new FakeStore(volume())], bound)).toEqual([HERE]);
  });

  test('is left alone while it is young, by the store’s clock too', async () => {
    const start = new ManualClock().nowMs();
    expect(await collected([new FakeStore(volume({ createdAtMs: start + 55 * MINUTE }))], bound)).toEqual([]);
  });

  test('that holds data, or began with another one’s, is kept', async () => {
    const store = new FakeStore(volume());
    store.usedBytes = 65536;
    expect(await collected([store], bound)).toEqual([]);
    expect(await collected([new FakeStore(volume({ source: { kind: 'snapshot', id: 's' } }))], bound)).toEqual([]);
  });

  test('without a PersistentVolume is kept: somebody may have deleted that to keep the data', async () => {
    expect(await collected([new FakeStore(volume())], () => {})).toEqual([]);
  });

  test('whose PersistentVolume went, or was made anew, since the picture of them was made is kept', async () => {
    const gone = ({ kubernetes }: { kubernetes: FakeKubernetes }, again: boolean): void => {
      kubernetes.seed(persistentVolumes, persistentVolume());
      // The first picture is taken, then it gets stale.
      setImmediate(() => {
        setImmediate(() => {
          kubernetes.pauseWatches();
          kubernetes.remove(persistentVolumes, { name: NAME });
          if (again) kubernetes.seed(persistentVolumes, persistentVolume());
        });
      });
    };
    expect(await collected([new FakeStore(volume())], (world) => gone(world, false))).toEqual([]);
    expect(await collected([new FakeStore(volume())], (world) => gone(world, true))).toEqual([]);
  });

  test('is kept while the API cannot be asked', async () => {
    const refused = ({ kubernetes }: { kubernetes: FakeKubernetes }): void => {
      kubernetes.seed(persistentVolumes, persistentVolume());
      kubernetes.fail({ verb: 'get', times: Infinity });
    };
    expect(await collected([new FakeStore(volume())], refused)).toEqual([]);
  });

  test('that is attached between the look and the deletion is kept by its store', async () => {
    const store = new FakeStore(volume());
    const attached = volume({ attached: true });
    store.listVolumes = () => Promise.resolve([volume()]);
    store.volumes.splice(0, 1, attached);
    expect(await collected([store], bound)).toEqual([]);
  });

  test('is not deleted any more by whoever does not lead any more', async () => {
    const store = new FakeStore(volume());
    const clock = new ManualClock();
    const kubernetes = new FakeKubernetes({ now: () => clock.nowMs() });
    kubernetes.seed(persistentVolumes, persistentVolume());
    const stop = new AbortController();
    const running = collectOrphans({ api: kubernetes, stores: () => Promise.resolve([store]), clock, logger: silentLogger() }, stop.signal);
    await clock.advance(9 * MINUTE);
    const held = kubernetes.hold({ verb: 'get' });
    await clock.advance(10 * MINUTE);
    await held.reached;
    stop.abort();
    held.release();
    await running;
    expect(store.deleted).toEqual([]);
  });
});

describe('a volume is nobody’s', () => {
  test('only if the driver’s PersistentVolume of its name and claim has another handle', () => {
    expect(isNobodys(volume(), persistentVolume())).toBe(true);
    const others: [string, Partial<OrphanVolume>, Parameters<typeof persistentVolume>[0] | null][] = [
      ['it is the one that the claim is bound to', {}, { handle: HERE }],
      ['there is none', {}, null],
      ['another driver has it', {}, { driver: 'csi.other.dev' }],
      ['it has no handle', {}, { handle: '' }],
      ['it was not provisioned', {}, { provisionedBy: 'somebody' }],
      ['it is bound to another claim', {}, { claimUid: '99999999-2222-3333-4444-555555555555' }],
      ['it has another name', {}, { name: 'pvc-other' }],
      ['the volume is attached', { attached: true }, {}],
      ['the volume is a clone', { source: {} }, {}],
      ['the volume has a name of somebody’s own', { name: 'data' }, { name: 'data' }],
      ['the volume’s name only begins so', { name: `${NAME}-copy` }, { name: `${NAME}-copy` }],
    ];
    const nobodys = others.filter(([, of, by]) => isNobodys(volume(of), by === null ? null : persistentVolume(by)));
    expect(nobodys.map(([why]) => why)).toEqual([]);
  });
});
