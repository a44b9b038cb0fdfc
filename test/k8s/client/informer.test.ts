import { describe, expect, test } from '@jest/globals';
import type { KubernetesObject } from '../../../src/k8s/api.ts';
import { ExpiredError } from '../../../src/k8s/client/errors.ts';
import { ResourceInformer, type ListedObjects, type ListWatch, type WatchEvent } from '../../../src/k8s/client/informer.ts';
import { StoreError } from '../../../src/util/errors.ts';
import { silentLogger } from '../../../src/util/log.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const object = (name: string, version: number, uid = `uid-${name}`): KubernetesObject => ({
  metadata: { name, namespace: 'n', uid, resourceVersion: String(version) },
});
const away = (): StoreError => new StoreError('unavailable', 'connection refused');

type Step = WatchEvent<KubernetesObject> | Error | 'end';

/** A server whose answers a test writes down: lists are taken one after another, watches stay open and are fed. */
class ScriptedSource implements ListWatch<KubernetesObject> {
  readonly asked: string[] = [];
  readonly lists: (ListedObjects<KubernetesObject> | Error)[] = [];
  /** Without one, watches stay open. */
  watchFails: Error | 'end' | null = null;
  #feeds: ((step: Step) => void)[] = [];

  list(): Promise<ListedObjects<KubernetesObject>> {
    this.asked.push('list');
    const answer = this.lists.length > 1 ? this.lists.shift()! : this.lists[0]!;
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  }

  async *watch(resourceVersion: string, signal: AbortSignal): AsyncGenerator<WatchEvent<KubernetesObject>> {
    this.asked.push(`watch ${resourceVersion}`);
    if (this.watchFails === 'end') return;
    if (this.watchFails !== null) throw this.watchFails;
    const steps: Step[] = [];
    let wake = (): void => {};
    this.#feeds.push((step) => {
      steps.push(step);
      wake();
    });
    signal.addEventListener('abort', () => wake());
    while (!signal.aborted) {
      const step = steps.shift();
      if (step === 'end') return;
      if (step instanceof Error) throw step;
      if (step !== undefined) yield step;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  }

  feed(...steps: Step[]): void {
    for (const step of steps) this.#feeds.at(-1)!(step);
  }
}

function bed(...lists: (ListedObjects<KubernetesObject> | Error)[]): {
  source: ScriptedSource;
  clock: ManualClock;
  informer: ResourceInformer<KubernetesObject>;
  told: string[];
} {
  const source = new ScriptedSource();
  source.lists.push(...lists);
  const clock = new ManualClock();
  const informer = new ResourceInformer({ what: 'things', source, logger: silentLogger(), clock, random: () => 0.999 });
  const told: string[] = [];
  informer.onChange((change) => told.push(`${change.kind} ${change.object.metadata.name} ${change.object.metadata.resourceVersion}`));
  return { source, clock, informer, told };
}

const names = (informer: ResourceInformer<KubernetesObject>): string[] => informer.all().map(({ metadata }) => metadata.name);

describe('an informer', () => {
  test('lists, watches from there, and goes on after the version of a bookmark', async () => {
    const { source, clock, informer, told } = bed({ objects: [object('a', 3)], resourceVersion: '10' });
    await informer.ready;
    await clock.advance(0);
    source.feed({ kind: 'set', object: object('b', 11) }, { kind: 'bookmark', resourceVersion: '50' }, 'end');
    await clock.advance(0);
    expect(source.asked).toEqual(['list', 'watch 10', 'watch 50']);
    source.feed({ kind: 'removed', object: object('a', 51) });
    await clock.advance(0);
    expect(told).toEqual(['set a 3', 'set b 11', 'removed a 51']);
    expect(names(informer)).toEqual(['b']);
    expect(informer.get({ name: 'b', namespace: 'n' })?.metadata.resourceVersion).toBe('11');
    expect(informer.get({ name: 'b' })).toBeNull();
    informer.close();
  });

  test('a lost connection: goes on where it was, after a moment', async () => {
    const { source, clock, informer } = bed({ objects: [], resourceVersion: '10' });
    await clock.advance(0);
    source.feed({ kind: 'set', object: object('a', 12) }, away());
    await clock.advance(200);
    expect(source.asked).toEqual(['list', 'watch 10']);
    await clock.advance(100);
    expect(source.asked).toEqual(['list', 'watch 10', 'watch 12']);
    informer.close();
  });

  test('a version that is too old: lists at once, and tells what went and what was made anew meanwhile', async () => {
    const { source, clock, informer, told } = bed(
      { objects: [object('gone', 1), object('again', 2), object('same', 3), object('changed', 4)], resourceVersion: '10' },
      { objects: [object('again', 20, 'another'), object('same', 3), object('changed', 21), object('new', 22)], resourceVersion: '30' },
    );
    await clock.advance(0);
    told.length = 0;
    source.feed(new ExpiredError('too old'));
    await clock.advance(0);
    expect(source.asked).toEqual(['list', 'watch 10', 'list', 'watch 30']);
    expect(told).toEqual(['removed gone 1', 'removed again 2', 'set again 20', 'set changed 21', 'set new 22']);
    expect(names(informer)).toEqual(['same', 'changed', 'again', 'new']);
    informer.close();
  });

  test('too old again and again: waits longer and longer', async () => {
    const { source, clock, informer } = bed({ objects: [], resourceVersion: '10' });
    source.watchFails = new ExpiredError('too old');
    await clock.advance(600_000);
    // Once at once, then at waits that grow to ten seconds.
    expect(source.asked.length).toBeGreaterThan(100);
    expect(source.asked.length).toBeLessThan(150);
    informer.close();
  });

  test('an API that is away from the start: ready once it is there', async () => {
    const { source, clock, informer } = bed(away(), away(), away(), away(), away(), { objects: [object('a', 1)], resourceVersion: '2' });
    let ready = false;
    void informer.ready.then(() => (ready = true));
    await clock.advance(3000);
    expect(ready).toBe(false);
    await clock.advance(10_000);
    expect(ready).toBe(true);
    expect(source.asked).toEqual([...new Array<string>(6).fill('list'), 'watch 2']);
    informer.close();
  });

  test('an API that restarts keeps the picture, and is not stormed', async () => {
    const { source, clock, informer, told } = bed({ objects: [object('a', 1)], resourceVersion: '2' });
    await clock.advance(0);
    source.lists.splice(0, 1, away());
    source.watchFails = away();
    source.feed(away());
    await clock.advance(120_000);
    expect(names(informer)).toEqual(['a']);
    expect(source.asked.length).toBeLessThan(25);
    source.watchFails = null;
    source.lists.splice(0, 1, { objects: [object('b', 7)], resourceVersion: '8' });
    await clock.advance(10_000);
    expect(told).toEqual(['set a 1', 'removed a 1', 'set b 7']);
    informer.close();
  });

  test('what cannot be understood: from the same version first, then everything anew', async () => {
    const { source, clock, informer } = bed({ objects: [], resourceVersion: '10' });
    source.watchFails = new StoreError('unavailable', 'a line that is not JSON');
    await clock.advance(2000);
    expect(source.asked.slice(0, 5)).toEqual(['list', 'watch 10', 'watch 10', 'watch 10', 'list']);
    informer.close();
  });

  test('watches that the server ends at once are not asked for at once again; long ones are', async () => {
    const { source, clock, informer } = bed({ objects: [], resourceVersion: '10' });
    source.watchFails = 'end';
    await clock.advance(60_000);
    expect(source.asked.length).toBeLessThan(15);
    source.watchFails = null;
    await clock.advance(10_000);
    source.asked.length = 0;
    for (let count = 0; count < 3; count++) {
      await clock.advance(300_000);
      source.feed('end');
      await clock.advance(0);
    }
    expect(source.asked).toEqual(['watch 10', 'watch 10', 'watch 10']);
    informer.close();
  });

  test('a kind that is not installed is asked for about once a minute', async () => {
    const { source, clock, informer } = bed(new StoreError('failed-precondition', 'install it'));
    await clock.advance(600_000);
    expect(source.asked.length).toBeLessThan(20);
    source.lists.splice(0, 1, { objects: [object('a', 1)], resourceVersion: '1' });
    await clock.advance(60_000);
    expect(names(informer)).toEqual(['a']);
    informer.close();
  });

  test('closed, it asks nothing and tells nothing, and leaves no timer', async () => {
    const { source, clock, informer, told } = bed(away());
    await clock.advance(100);
    informer.close();
    await clock.advance(100_000);
    expect(source.asked).toEqual(['list']);
    expect(clock.waiting).toBe(0);

    const open = bed({ objects: [], resourceVersion: '1' });
    await open.clock.advance(0);
    open.source.feed({ kind: 'set', object: object('a', 2) });
    open.informer.close();
    await open.clock.advance(100_000);
    expect(open.told).toEqual([]);
    expect(open.clock.waiting).toBe(0);
    expect(told).toEqual([]);
  });

  test('a listener is told what is there already, once, and nothing after its end', async () => {
    const { source, clock, informer } = bed({ objects: [object('a', 1)], resourceVersion: '2' });
    await informer.ready;
    await clock.advance(0);
    const told: string[] = [];
    const end = informer.onChange((change) => told.push(change.object.metadata.name));
    source.feed({ kind: 'set', object: object('b', 3) });
    await clock.advance(0);
    end();
    source.feed({ kind: 'set', object: object('c', 4) });
    await clock.advance(0);
    expect(told).toEqual(['a', 'b']);
    informer.close();
  });
});
