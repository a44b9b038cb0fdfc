/** Reverts volumes as VolumeReverts ask for it. It runs in the controller that leads; docs/revert.md says what it promises. */
import type { Informer, KubernetesApi } from '../api.ts';
import { volumeReverts, type VolumeRevert } from '../resources.ts';
import { assert } from '../../util/assert.ts';
import { BusyLocks } from '../../util/busy-locks.ts';
import type { Clock } from '../../util/clock.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { isTerminal } from './decide.ts';
import { REVERT_FINALIZER } from './names.ts';
import type { RecordEvent, RevertStores } from './ports.ts';
import { Schedule } from './schedule.ts';
import { takeOn } from './steps.ts';

export interface RevertReconcilerOptions {
  readonly api: KubernetesApi;
  readonly stores: RevertStores;
  readonly record: RecordEvent;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

const MOST_AT_ONCE = 4;
/** While a pod is in the way, a revert comes at most this long after it is gone. */
const LONGEST_WAIT_MS = 10_000;
const SHORTEST_WAIT_MS = 500;

export class RevertReconciler {
  readonly #options: RevertReconcilerOptions;
  readonly #schedule: Schedule;
  /** Reverts of the same claim take turns. */
  readonly #claims = new BusyLocks();
  /** What was wanted last, by key: the status is written here, and to look again because of that would never end. */
  readonly #wishes = new Map<string, string>();
  #informer: Informer<VolumeRevert> | null = null;
  #stopped = false;

  constructor(options: RevertReconcilerOptions) {
    this.#options = options;
    this.#schedule = new Schedule({
      work: (key) => this.#work(key),
      clock: options.clock,
      random: options.random,
      mostAtOnce: MOST_AT_ONCE,
      shortestMs: SHORTEST_WAIT_MS,
      longestMs: LONGEST_WAIT_MS,
    });
  }

  /** From now on; once. */
  start(): void {
    assert(this.#informer === null && !this.#stopped, 'a reconciler is started once');
    this.#informer = this.#options.api.watch(volumeReverts);
    this.#informer.onChange(({ kind, object }) => {
      const { namespace, name, finalizers } = object.metadata;
      const key = `${namespace}/${name}`;
      const over = isTerminal(object) && !(finalizers ?? []).includes(REVERT_FINALIZER);
      if (kind === 'removed' || over) return void this.#wishes.delete(key);
      const wish = wishOf(object);
      if (this.#wishes.get(key) === wish) return;
      this.#wishes.set(key, wish);
      this.#schedule.changed(key);
    });
  }

  /** Begins nothing more from now on, and resolves when what runs has come to an end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#informer?.close();
    await this.#schedule.stop();
  }

  async #work(key: string): Promise<boolean> {
    const { api, stores, record, clock, log } = this.#options;
    const [namespace = '', name = ''] = key.split('/');
    const reverts = (): readonly VolumeRevert[] => this.#informer?.all() ?? [];
    const claimName = this.#informer?.get({ namespace, name })?.spec.claimName;
    if (claimName === undefined) return true;
    const ports = { api, stores, record, log, reverts, nowMs: () => clock.nowMs(), stopped: () => this.#stopped };
    try {
      return await this.#claims.with({ exclusive: [`${namespace}/${claimName}`] }, async () => {
        return (await takeOn(ports, { namespace, name })) === 'finished';
      });
    } catch (error) {
      // Somebody else has changed the object, or is at the same claim: nothing to complain about.
      if (error instanceof StoreError && error.code === 'busy') return false;
      log.warn({ namespace, volumeRevert: name, err: error }, 'a VolumeRevert could not be taken on; it is tried again');
      return false;
    }
  }
}

/** All that others change of a VolumeRevert. */
function wishOf({ metadata, spec }: VolumeRevert): string {
  const { uid, deletionTimestamp, labels, annotations, finalizers } = metadata;
  return JSON.stringify([uid, deletionTimestamp, labels, annotations, finalizers, spec]);
}
