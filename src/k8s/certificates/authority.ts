/**
 * Makes, publishes and rotates the certificate authorities; runs in the controller that leads. All state is in the Secret,
 * so a crash at any point is resumed by whoever leads next:
 *
 * - The Secret is changed only in the state in which it was read, so two that lead at once (for a moment) cannot both win.
 * - The bundle is written from a Secret that was read after the bundle, so nobody publishes an older bundle over a newer one.
 * - A damaged Secret is reported and left alone: new authorities would cut off every store. Deleting it is how to ask for them.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../util/clock.ts';
import { StoreError } from '../../util/errors.ts';
import { Recurring } from '../../util/recurring.ts';
import type { Informer } from '../api.ts';
import { configMaps, secrets, type ConfigMap, type Secret } from '../resources.ts';
import { bundleOf, decodeAuthorities, encodeAuthorities, type AuthorityState } from './authority-state.ts';
import { authoritySecretOf, BUNDLE_KEY, bundleConfigMapOf, watchOne, type Installation, type NamespacedName } from './installation.ts';
import { ProblemLog } from './problem-log.ts';
import { LONGEST_PAUSE_MS, validityFrom, type CertificatePolicy } from './policy.ts';
import { afterStep, nextStep, publishedAnew, startOf } from './rotation.ts';
import { createAuthority, type KeyAndCertificate } from './x509.ts';

/** More steps than ever follow each other without waiting, also when others change the Secret meanwhile. */
const MOST_STEPS = 10;
const RETRY_MS = { first: 1_000, most: 60_000 };

export interface AuthorityOptions extends Installation {
  readonly policy: CertificatePolicy;
  /** Told of each new problem that a person must solve, in words, and of null when all is well again. */
  readonly onProblem: (problem: string | null) => void;
}

/** Keeps the authorities in order until it is stopped. */
export class AuthorityKeeper {
  readonly #steps: AuthoritySteps;
  readonly #problem: ProblemLog;
  readonly #onProblem: (problem: string | null) => void;
  readonly #informers: readonly Informer<Secret | ConfigMap>[];
  readonly #recurring: Recurring;
  /** Somebody was told of a problem, and not yet that it is over. */
  #told = false;

  constructor(options: AuthorityOptions) {
    const { api, clock, log, onProblem } = options;
    this.#steps = new AuthoritySteps(options);
    this.#problem = new ProblemLog({ log, subject: 'the certificate authority' });
    this.#onProblem = onProblem;
    this.#recurring = new Recurring({ clock, action: () => this.#run(clock), onError: (error) => this.#failed(error), retryMs: RETRY_MS });
    this.#informers = [watchOne(api, secrets, this.#steps.secretKey), watchOne(api, configMaps, this.#steps.bundleKey)];
    for (const informer of this.#informers) informer.onChange(() => this.#recurring.poke());
  }

  async stop(): Promise<void> {
    for (const informer of this.#informers) informer.close();
    await this.#recurring.stop();
  }

  async #run(clock: Clock): Promise<number> {
    const untilMs = await this.#steps.run();
    this.#problem.solved();
    if (this.#told) this.#onProblem(null);
    this.#told = false;
    return Math.min(untilMs - clock.nowMs(), LONGEST_PAUSE_MS);
  }

  #failed(error: unknown): void {
    if (!this.#problem.found(error)) return;
    // The rest passes by itself, for instance when the API is back.
    if (!(error instanceof StoreError && error.code === 'failed-precondition')) return;
    this.#told = true;
    this.#onProblem(error.message);
  }
}

/** The steps themselves, without timers. */
export class AuthoritySteps {
  readonly secretKey: NamespacedName;
  readonly bundleKey: NamespacedName;
  readonly #options: Omit<AuthorityOptions, 'onProblem'>;

  constructor(options: Omit<AuthorityOptions, 'onProblem'>) {
    this.#options = options;
    this.secretKey = authoritySecretOf(options);
    this.bundleKey = bundleConfigMapOf(options);
  }

  /** Goes on until there is nothing more to do for now. Answers the time at which there will be. */
  async run(): Promise<number> {
    for (let steps = 0; steps < MOST_STEPS; steps++) {
      const untilMs = await this.#step().catch(nullIfOvertaken);
      if (untilMs !== null) return untilMs;
    }
    throw new StoreError('busy', 'the certificate authorities change again and again; is another controller of the same release leading?');
  }

  /** One change at most. Null: there may be more to do. */
  async #step(): Promise<number | null> {
    const { api, clock, policy, log } = this.#options;
    const published = await api.get(configMaps, this.bundleKey);
    const secret = await api.get(secrets, this.secretKey);
    if (secret === null) {
      await this.#create();
      return null;
    }
    const state = decodeAuthorities(secret);
    const nowMs = clock.nowMs();
    this.#checkClock(state, nowMs);
    if (published?.data?.[BUNDLE_KEY] !== bundleOf(state)) {
      if (state.next !== null && state.next.issueAfterMs !== null) await this.#replace(secret, publishedAnew(state));
      await this.#publish(published, bundleOf(state));
      return null;
    }
    const step = nextStep(state, nowMs, policy);
    if (step.kind === 'wait') return step.untilMs;
    await this.#replace(secret, afterStep(state, step, { nowMs, policy, createAuthority: () => this.#newAuthority() }));
    log.info({ step: step.kind }, 'certificate authorities rotate');
    return null;
  }

  /** A certificate from the future is believed by nobody, whatever is done with it. */
  #checkClock(state: AuthorityState, nowMs: number): void {
    const startsMs = startOf(state.current.certificate);
    if (nowMs >= startsMs) return;
    throw new StoreError(
      'failed-precondition',
      `the certificate authority in the Secret ${this.secretKey.namespace}/${this.secretKey.name} is valid from ` +
        `${new Date(startsMs).toISOString()}, but it is ${new Date(nowMs).toISOString()} here: correct the clock of this node, or, if ` +
        'that one was made by a wrong clock, delete the Secret',
    );
  }

  async #create(): Promise<void> {
    const { api, log } = this.#options;
    const data = encodeAuthorities({ current: this.#newAuthority(), next: null, previous: null });
    await api.create(secrets, { metadata: { ...this.secretKey, labels: this.#labels() }, type: 'Opaque', data });
    log.info({ secret: this.secretKey.name }, 'certificate authority made');
  }

  async #replace(secret: Secret, state: AuthorityState): Promise<void> {
    await this.#options.api.replace(secrets, { ...secret, data: encodeAuthorities(state) });
  }

  async #publish(published: ConfigMap | null, bundle: string): Promise<void> {
    const { api, log } = this.#options;
    if (published === null) {
      await api.create(configMaps, { metadata: { ...this.bundleKey, labels: this.#labels() }, data: { [BUNDLE_KEY]: bundle } });
    } else {
      await api.replace(configMaps, { ...published, data: { ...published.data, [BUNDLE_KEY]: bundle } });
    }
    log.info({ configMap: this.bundleKey.name }, 'bundle of certificate authorities published');
  }

  #newAuthority(): KeyAndCertificate {
    const { clock, policy } = this.#options;
    // Names differ, because issuers are looked for by name.
    const name = `chunkstore authority ${randomBytes(4).toString('hex')}`;
    return createAuthority({ name, validity: validityFrom(clock.nowMs(), policy.authorityLifetimeMs, policy) });
  }

  #labels(): Readonly<Record<string, string>> {
    return { 'app.kubernetes.io/name': 'chunkstore', 'app.kubernetes.io/instance': this.#options.release };
  }
}

/** Another replica, or a person, was faster: what is there now is looked at anew. */
function nullIfOvertaken(error: unknown): null {
  if (error instanceof StoreError && ['busy', 'already-exists', 'not-found'].includes(error.code)) return null;
  throw error;
}
