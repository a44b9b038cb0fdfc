/**
 * Events, for whoever asks `kubectl describe` why. They are a courtesy: recording one never fails and never waits, and
 * what cannot be written after a few tries, or comes in masses, is dropped.
 *
 * The same event of the same object again is counted in the first one's series, written at most once a minute, until it
 * has not come for a while (events.k8s.io/v1: a series is one event that goes on). All memory here is bounded.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../util/clock.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { pause } from '../util/pause.ts';
import { groupVersion, type KubernetesApi, type KubernetesObject, type ObjectKey, type Resource } from './api.ts';
import { events, type Event } from './resources.ts';
import { microTimestamp } from './times.ts';

export interface RecordedEvent {
  readonly resource: Resource<KubernetesObject>;
  /** What it is about, as it was read: with its UID, without which `kubectl describe` does not show the event. */
  readonly object: KubernetesObject;
  readonly type: 'Normal' | 'Warning';
  /** One word in CamelCase each: why, and what was done or failed. */
  readonly reason: string;
  readonly action: string;
  /** A sentence; beyond 1,024 bytes it is cut. */
  readonly note: string;
}

export interface EventRecorderOptions {
  readonly api: Pick<KubernetesApi, 'create' | 'patch'>;
  /** Which controller speaks, for instance the driver's name, and which instance of it, for instance the pod. */
  readonly controller: string;
  readonly instance: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Limits of the API's validation. */
const LONGEST_NOTE_BYTES = 1024;
const LONGEST_WORD = 128;
const LONGEST_NAME = 253;
/** Events of objects without a namespace are kept here: the API's validation demands it. */
const NAMESPACE_OF_CLUSTER_OBJECTS = 'default';

const SERIES_ENDS_AFTER_MS = 6 * 60_000;
const BETWEEN_SERIES_WRITES_MS = 60_000;
const MOST_REMEMBERED = 512;
/** Different events of one object within one series' time. */
const MOST_OF_AN_OBJECT = 20;
const MOST_WAITING = 256;
const ATTEMPTS = 4;
const FIRST_RETRY_MS = 1_000;

interface Entry {
  readonly key: ObjectKey & { readonly namespace: string };
  readonly of: string;
  readonly event: Event;
  count: number;
  lastMs: number;
  created: boolean;
  writtenCount: number;
  writtenMs: number;
  attempts: number;
}

export class EventRecorder {
  readonly #options: EventRecorderOptions;
  /** The last that was recorded last. */
  readonly #entries = new Map<string, Entry>();
  readonly #waiting = new Set<Entry>();
  #writing: Promise<void> | null = null;
  readonly #stopping = new AbortController();
  #dropped = 0;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
  }

  /** Can be passed on as it is. */
  readonly record = (event: RecordedEvent): void => {
    if (this.#stopping.signal.aborted) return;
    const nowMs = this.#options.clock.nowMs();
    const made = this.#eventOf(event, nowMs);
    const identity = JSON.stringify([made.regarding, made.type, made.reason, made.action, made.note]);
    const known = this.#entries.get(identity);
    this.#entries.delete(identity);
    if (known !== undefined && nowMs - known.lastMs < SERIES_ENDS_AFTER_MS) {
      this.#entries.set(identity, known);
      known.count++;
      known.lastMs = nowMs;
      if (nowMs - known.writtenMs >= BETWEEN_SERIES_WRITES_MS) this.#enqueue(known);
      return;
    }
    const of = JSON.stringify(made.regarding);
    if (this.#recentOf(of, nowMs) >= MOST_OF_AN_OBJECT) return this.#drop(made, 'there are too many of this object');
    const entry: Entry = {
      key: { name: nameOf(made, identity), namespace: made.metadata.namespace ?? NAMESPACE_OF_CLUSTER_OBJECTS },
      of,
      event: made,
      count: 1,
      lastMs: nowMs,
      created: false,
      writtenCount: 0,
      writtenMs: nowMs,
      attempts: 0,
    };
    this.#entries.set(identity, entry);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MOST_REMEMBERED) break;
      this.#entries.delete(oldest);
    }
    this.#enqueue(entry);
  };

  /** Writes what waits, within the time; then nothing more is recorded. */
  async stop(options: { readonly timeoutMs: number }): Promise<void> {
    for (const entry of this.#entries.values()) if (entry.count > entry.writtenCount) this.#enqueue(entry);
    this.#stopping.abort();
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const end = this.#options.clock.after(options.timeoutMs, resolve);
    await Promise.race([this.#writing, late]);
    end();
    this.#waiting.clear();
  }

  #enqueue(entry: Entry): void {
    if (!this.#waiting.has(entry) && this.#waiting.size >= MOST_WAITING) return this.#drop(entry.event, 'too many wait to be written');
    this.#waiting.add(entry);
    this.#writing ??= this.#write();
  }

  async #write(): Promise<void> {
    // What was recorded in the same moment is in one go.
    await Promise.resolve();
    for (let entry = first(this.#waiting); entry !== null; entry = first(this.#waiting)) {
      this.#waiting.delete(entry);
      try {
        await this.#writeOne(entry);
        entry.attempts = 0;
      } catch (error) {
        const passing = error instanceof StoreError && error.code === 'unavailable';
        if (!passing || ++entry.attempts >= ATTEMPTS) {
          this.#drop(entry.event, 'it cannot be written', error);
          entry.attempts = 0;
          continue;
        }
        this.#waiting.add(entry);
        // The API is away for the others as well. At the end there is no time for that.
        await pause(this.#options.clock, FIRST_RETRY_MS * 2 ** entry.attempts, [this.#stopping.signal]);
      }
    }
    // Not a moment later, or what is recorded in between would wait for the next one.
    this.#writing = null;
  }

  async #writeOne(entry: Entry): Promise<void> {
    const { api, clock } = this.#options;
    const { count, lastMs } = entry;
    if (entry.created && count > 1) {
      const series = { count, lastObservedTime: microTimestamp(lastMs) };
      try {
        await api.patch(events, entry.key, { series });
      } catch (error) {
        if (!(error instanceof StoreError) || error.code !== 'not-found') throw error;
        // The API forgets events after an hour.
        entry.created = false;
      }
    }
    if (!entry.created) {
      const series = count > 1 ? { series: { count, lastObservedTime: microTimestamp(lastMs) } } : {};
      try {
        await api.create(events, { ...entry.event, ...series, metadata: entry.key });
      } catch (error) {
        // An earlier try whose answer was lost.
        if (!(error instanceof StoreError) || error.code !== 'already-exists') throw error;
      }
      entry.created = true;
    }
    entry.writtenCount = count;
    entry.writtenMs = clock.nowMs();
  }

  #eventOf({ resource, object, type, reason, action, note }: RecordedEvent, nowMs: number): Event {
    const { name, namespace, uid } = object.metadata;
    const regarding = {
      apiVersion: groupVersion(resource),
      kind: resource.kind,
      name,
      ...(namespace !== undefined && { namespace }),
      ...(uid !== undefined && { uid }),
    };
    return {
      metadata: { name, namespace: namespace ?? NAMESPACE_OF_CLUSTER_OBJECTS },
      eventTime: microTimestamp(nowMs),
      reportingController: this.#options.controller,
      reportingInstance: this.#options.instance.slice(0, LONGEST_WORD),
      action: action.slice(0, LONGEST_WORD),
      reason: reason.slice(0, LONGEST_WORD),
      note: shortened(note, LONGEST_NOTE_BYTES),
      type,
      regarding,
    };
  }

  #recentOf(of: string, nowMs: number): number {
    let count = 0;
    for (const entry of this.#entries.values()) if (entry.of === of && nowMs - entry.lastMs < SERIES_ENDS_AFTER_MS) count++;
    return count;
  }

  #drop(event: Event, why: string, error?: unknown): void {
    const details = { ...(error !== undefined && { err: error }), regarding: event.regarding, reason: event.reason, note: event.note };
    // Once is worth a line: what is missing may be a rule for the service account.
    if (this.#dropped++ === 0) this.#options.logger.warn(details, `an event is dropped: ${why}`);
    else this.#options.logger.debug(details, `an event is dropped: ${why}`);
  }
}

/** The text, if need be with its end cut off between two characters and marked. */
export function shortened(text: string, mostBytes: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= mostBytes) return text;
  const mark = '…';
  let end = mostBytes - Buffer.byteLength(mark);
  // The second and further bytes of a character begin with the bits 10.
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--;
  return `${bytes.subarray(0, end).toString()}${mark}`;
}

/** Its object's name and a hash of what it says and when it began: never that of another event. */
function nameOf(event: Event, identity: string): string {
  const hash = createHash('sha256').update(`${identity} ${event.eventTime} ${event.reportingInstance}`).digest('hex').slice(0, 16);
  const start = event.metadata.name.slice(0, LONGEST_NAME - hash.length - 1).replace(/[^a-z0-9]+$/, '');
  return `${start}.${hash}`;
}

function first<Item>(items: ReadonlySet<Item>): Item | null {
  for (const item of items) return item;
  return null;
}
