import { describe, expect, test } from '@jest/globals';
import { EventRecorder, shortened, type RecordedEvent } from '../../src/k8s/events.ts';
import { chunkStorePools, events, persistentVolumeClaims } from '../../src/k8s/resources.ts';
import { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import { FakeKubernetes } from '../support/fake-kubernetes.ts';
import { ManualClock } from '../support/manual-clock.ts';

const claim = { metadata: { name: 'data', namespace: 'team', uid: 'u-1' }, spec: {} };
const waits: RecordedEvent = {
  resource: persistentVolumeClaims,
  object: claim,
  type: 'Warning',
  reason: 'NoRoom',
  action: 'Provision',
  note: 'no room on node-1',
};

function bed(): { kubernetes: FakeKubernetes; clock: ManualClock; recorder: EventRecorder } {
  const clock = new ManualClock();
  const kubernetes = new FakeKubernetes({ now: () => clock.nowMs() });
  const recorder = new EventRecorder({
    api: kubernetes,
    controller: 'csi.chunkstore.dev',
    instance: 'pod-1',
    clock,
    logger: silentLogger(),
  });
  return { kubernetes, clock, recorder };
}

describe('the event recorder', () => {
  test('writes what is asked for, beside the object', async () => {
    const { kubernetes, clock, recorder } = bed();
    recorder.record(waits);
    await clock.advance(0);
    const [event] = kubernetes.objects(events);
    expect(event).toMatchObject({
      eventTime: '2025-01-01T00:00:00.000000Z',
      reportingController: 'csi.chunkstore.dev',
      reportingInstance: 'pod-1',
      type: 'Warning',
      reason: 'NoRoom',
      action: 'Provision',
      note: 'no room on node-1',
      regarding: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: 'data', namespace: 'team', uid: 'u-1' },
      metadata: { namespace: 'team', name: expect.stringMatching(/^data\.[0-9a-f]{16}$/) },
    });
    expect(event).not.toHaveProperty('series');
  });

  test('of an object without a namespace goes to the default one; long names are cut to valid ones', async () => {
    const { kubernetes, clock, recorder } = bed();
    const name = `${'p-'.repeat(126)}x`;
    recorder.record({ ...waits, resource: chunkStorePools, object: { metadata: { name, uid: 'u-2' } } });
    await clock.advance(0);
    const [event] = kubernetes.objects(events);
    expect(event?.metadata.namespace).toBe('default');
    expect(event?.metadata.name).toMatch(/^[a-z0-9-]*[a-z0-9]\.[0-9a-f]{16}$/);
    expect(event?.metadata.name.length).toBeLessThanOrEqual(253);
    expect(event?.regarding).toEqual({ apiVersion: 'chunkstore.dev/v1alpha1', kind: 'ChunkStorePool', name, uid: 'u-2' });
  });

  test('counts repetitions in a series, written at most once a minute', async () => {
    const { kubernetes, clock, recorder } = bed();
    for (let second = 0; second < 150; second++) {
      recorder.record(waits);
      await clock.advance(1000);
    }
    expect(kubernetes.objects(events)).toHaveLength(1);
    expect(kubernetes.calls.map((call) => call.body)).toEqual([
      expect.objectContaining({ reason: 'NoRoom' }),
      { series: { count: 61, lastObservedTime: '2025-01-01T00:01:00.000000Z' } },
      { series: { count: 121, lastObservedTime: '2025-01-01T00:02:00.000000Z' } },
    ]);
    await recorder.stop({ timeoutMs: 1000 });
    expect(kubernetes.objects(events)[0]?.series?.count).toBe(150);
    recorder.record(waits);
    await clock.advance(100_000);
    expect(kubernetes.calls).toHaveLength(4);
  });

  test('other words are another event, and so is the same after a pause', async () => {
    const { kubernetes, clock, recorder } = bed();
    recorder.record(waits);
    recorder.record({ ...waits, note: 'no room on node-2' });
    await clock.advance(7 * 60_000);
    recorder.record(waits);
    await clock.advance(0);
    expect(kubernetes.objects(events)).toHaveLength(3);
  });

  test('one that the API has forgotten is made anew', async () => {
    const { kubernetes, clock, recorder } = bed();
    recorder.record(waits);
    await clock.advance(120_000);
    kubernetes.remove(events, kubernetes.objects(events)[0]!.metadata);
    recorder.record(waits);
    await clock.advance(0);
    expect(kubernetes.objects(events)[0]?.series?.count).toBe(2);
  });

  test('with the API away: tries a few times, in bounded memory, and never fails', async () => {
    const { kubernetes, clock, recorder } = bed();
    kubernetes.goAway();
    for (let index = 0; index < 10_000; index++) {
      recorder.record({ ...waits, object: { metadata: { name: `c-${index}`, namespace: 'team', uid: `u-${index}` } } });
    }
    await clock.advance(2_000);
    kubernetes.comeBack();
    await clock.advance(60_000);
    const written = kubernetes.objects(events).length;
    expect(written).toBeGreaterThan(200);
    expect(written).toBeLessThanOrEqual(256);
    kubernetes.fail({ verb: 'create', times: 4 });
    recorder.record({ ...waits, reason: 'Lost' });
    await clock.advance(60_000);
    recorder.record({ ...waits, reason: 'Written' });
    await clock.advance(0);
    expect(kubernetes.objects(events).map(({ reason }) => reason)).not.toContain('Lost');
    expect(kubernetes.objects(events).map(({ reason }) => reason)).toContain('Written');
  });

  test('a refused one is dropped at once, a lost answer makes no second one', async () => {
    const { kubernetes, clock, recorder } = bed();
    kubernetes.fail({ verb: 'create', error: new StoreError('failed-precondition', 'forbidden') });
    recorder.record(waits);
    await clock.advance(60_000);
    expect(kubernetes.calls).toHaveLength(0);
    kubernetes.fail({ verb: 'create', afterEffect: true });
    recorder.record({ ...waits, reason: 'Other' });
    await clock.advance(60_000);
    expect(kubernetes.objects(events)).toHaveLength(1);
  });

  test('one object does not flood the rest', async () => {
    const { kubernetes, clock, recorder } = bed();
    for (let index = 0; index < 1000; index++) recorder.record({ ...waits, note: `attempt ${index}` });
    recorder.record({ ...waits, object: { metadata: { ...claim.metadata, uid: 'u-3' } } });
    await clock.advance(0);
    expect(kubernetes.objects(events)).toHaveLength(21);
  });

  test('stopping does not wait for an API that is away', async () => {
    const { kubernetes, clock, recorder } = bed();
    kubernetes.hold({ verb: 'create' });
    recorder.record(waits);
    await clock.advance(0);
    const stopped = recorder.stop({ timeoutMs: 1000 });
    await clock.advance(1000);
    await stopped;
  });
});

describe('a text that is cut', () => {
  test('has at most so many bytes, and only whole characters', () => {
    expect(shortened('short', 1024)).toBe('short');
    const long = shortened('ä€😀'.repeat(500), 1024);
    expect(Buffer.byteLength(long)).toBeLessThanOrEqual(1024);
    expect(Buffer.byteLength(long)).toBeGreaterThan(1016);
    expect(long).toMatch(/^(ä€😀)+(ä|ä€)?…$/u);
    for (let length = 3; length < 30; length++) expect(shortened('😀'.repeat(20), length)).toMatch(/^(😀)*…$/u);
  });
});
