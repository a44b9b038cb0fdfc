/**
 * Volumes that nobody will ever ask for: made for a claim on a node that went silent before it answered, while the
 * provisioner then had the volume made on another node. When the first node returns, its volume has the claim's name and
 * is nobody's.
 *
 * Such a volume is deleted only if every one of these holds; in all doubt it stays:
 * - Its name is the one that the external provisioner makes: "pvc-" and the UID of the claim.
 * - A PersistentVolume of that name exists, was provisioned by this driver for that very claim, and its handle names
 *   another volume. Handles cannot be changed, so it never becomes ours later. (Where there is no such PersistentVolume,
 *   it may have been deleted by hand to keep the data, or be about to be made.)
 * - The volume was created empty, holds nothing and is not attached. Whoever was ever given its handle would have written
 *   to it; and what holds nothing cannot be lost, even if somebody made the PersistentVolume anew by hand.
 * - All of that was so before, some minutes ago, and is so when the API server, not a cache, is asked just before.
 */
import type { Clock } from '../util/clock.ts';
import type { Logger } from '../util/log.ts';
import { pause } from '../util/pause.ts';
import type { Informer, KubernetesApi } from './api.ts';
import { DRIVER_NAME, persistentVolumes, type PersistentVolume } from './resources.ts';

export interface OrphanVolume {
  /** The handle: "<pool id>.<object id>". */
  readonly id: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly attached: boolean;
  readonly source: object | null;
}

/** One store; StoreClient fits as it is. Deleting an attached volume fails. */
export interface OrphanStore {
  listVolumes(): Promise<readonly OrphanVolume[]>;
  getUsage(id: string): Promise<{ readonly usedBytes: number }>;
  deleteVolume(id: string): Promise<void>;
}

export interface OrphanCollectionOptions {
  readonly api: Pick<KubernetesApi, 'get' | 'watch'>;
  /** Those that can be asked now. Whoever does not answer is asked the next time. */
  readonly stores: () => Promise<readonly OrphanStore[]>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** By both clocks, the store's and ours: a volume is not looked at before, and is not deleted sooner after the first look. */
  readonly minimumAgeMs?: number;
  readonly intervalMs?: number;
}

const MINIMUM_AGE_MS = 10 * 60_000;
const INTERVAL_MS = 5 * 60_000;
/** Of one round; the next one goes on. */
const MOST_DELETIONS = 100;
/** As csi-provisioner makes names, unless it is told otherwise: its --volume-name-prefix, and the claim's whole UID. */
const PROVISIONED_NAME = /^pvc-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$/;
/** Set by the provisioner on what it made. */
const PROVISIONED_BY = 'pv.kubernetes.io/provisioned-by';

interface Suspicion {
  readonly sinceMs: number;
  readonly persistentVolumeUid: string | undefined;
}

/** Looks again and again until `signal` is aborted: for the controller that leads. Never fails. */
export async function collectOrphans(options: OrphanCollectionOptions, signal: AbortSignal): Promise<void> {
  const { api, clock, logger, intervalMs = INTERVAL_MS } = options;
  const known = api.watch(persistentVolumes);
  const collector = new OrphanCollector(options, known);
  try {
    while (!signal.aborted) {
      await collector
        .round(signal)
        .catch((error: unknown) => logger.warn({ err: error }, 'orphaned volumes cannot be looked for; later again'));
      await pause(clock, intervalMs, [signal]);
    }
  } finally {
    known.close();
  }
}

export class OrphanCollector {
  readonly #options: OrphanCollectionOptions;
  readonly #known: Informer<PersistentVolume>;
  /** By handle. Only what the last round saw. */
  #suspicions = new Map<string, Suspicion>();
  /** Handles of volumes that are nobody's, but hold something: told once. */
  #told = new Set<string>();

  constructor(options: OrphanCollectionOptions, known: Informer<PersistentVolume>) {
    this.#options = options;
    this.#known = known;
  }

  /** One look at every store. Answers how many volumes were deleted. */
  async round(signal: AbortSignal): Promise<number> {
    const { logger, stores } = this.#options;
    const before = this.#suspicions;
    const told = this.#told;
    this.#suspicions = new Map();
    this.#told = new Set();
    let deleted = 0;
    for (const store of await stores()) {
      try {
        for (const volume of await store.listVolumes()) {
          if (signal.aborted) return deleted;
          const suspicion = this.#suspect(volume, before.get(volume.id));
          if (suspicion === null) continue;
          this.#suspicions.set(volume.id, suspicion);
          if (told.has(volume.id)) this.#told.add(volume.id);
          if (!this.#isRipe(suspicion) || deleted >= MOST_DELETIONS) continue;
          if (await this.#deleteIfSure(store, volume, suspicion, signal)) deleted++;
        }
      } catch (error) {
        logger.debug({ err: error }, 'a store could not be searched for orphaned volumes');
      }
    }
    return deleted;
  }

  /** From what is known without asking; null when it is surely somebody's, or perhaps. */
  #suspect(volume: OrphanVolume, earlier: Suspicion | undefined): Suspicion | null {
    const nowMs = this.#options.clock.nowMs();
    const { minimumAgeMs = MINIMUM_AGE_MS } = this.#options;
    const persistentVolume = this.#known.get({ name: volume.name });
    if (nowMs - volume.createdAtMs < minimumAgeMs || !isNobodys(volume, persistentVolume)) return null;
    const persistentVolumeUid = persistentVolume?.metadata.uid;
    return earlier?.persistentVolumeUid === persistentVolumeUid && earlier !== undefined
      ? earlier
      : { sinceMs: nowMs, persistentVolumeUid };
  }

  #isRipe(suspicion: Suspicion): boolean {
    const { clock, minimumAgeMs = MINIMUM_AGE_MS } = this.#options;
    return clock.nowMs() - suspicion.sinceMs >= minimumAgeMs;
  }

  async #deleteIfSure(store: OrphanStore, volume: OrphanVolume, suspicion: Suspicion, signal: AbortSignal): Promise<boolean> {
    const { api, logger } = this.#options;
    const usage = await store.getUsage(volume.id);
    const persistentVolume = await api.get(persistentVolumes, { name: volume.name });
    if (signal.aborted || persistentVolume?.metadata.uid !== suspicion.persistentVolumeUid || !isNobodys(volume, persistentVolume))
      return false;
    const about = { volume: volume.id, name: volume.name, boundTo: persistentVolume?.spec.csi?.volumeHandle };
    if (usage.usedBytes > 0) {
      if (!this.#told.has(volume.id)) {
        logger.warn(
          { ...about, usedBytes: usage.usedBytes },
          'a volume is nobody’s (its claim is bound to another one), but holds data: it is kept',
        );
      }
      this.#told.add(volume.id);
      return false;
    }
    await store.deleteVolume(volume.id);
    logger.info(about, 'deleted an empty volume that was made for a claim while its node was away; the claim is bound to another one');
    return true;
  }
}

/** The decision, without the volume's age and content. */
export function isNobodys(volume: OrphanVolume, persistentVolume: PersistentVolume | null): boolean {
  const claimUid = PROVISIONED_NAME.exec(volume.name)?.[1];
  if (claimUid === undefined || volume.attached || volume.source !== null || persistentVolume === null) return false;
  const { metadata, spec } = persistentVolume;
  if (metadata.name !== volume.name || spec.csi?.driver !== DRIVER_NAME || metadata.annotations?.[PROVISIONED_BY] !== DRIVER_NAME)
    return false;
  const handle = spec.csi.volumeHandle;
  return spec.claimRef?.uid === claimUid && handle !== '' && handle !== volume.id;
}
