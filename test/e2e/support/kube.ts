/**
 * The cluster as tests use it: objects, waiting for them with an error that explains itself, commands in pods, and the
 * programs kubectl and helm. Every wait has a limit.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Api, describeReference, type Manifest, type Reference } from './api.ts';
import { run, runAny, type RunOptions, type RunResult } from './command.ts';
import { explainNamespace } from './explain.ts';
import type { Settings } from './settings.ts';

const pollMs = 200;
const commandLimitMs = 60_000;

/** True, or a text that says what is still missing. */
export type Verdict = true | string;

export interface PodPlace {
  readonly namespace: string;
  readonly pod: string;
  readonly container?: string;
}

export interface CommandOptions {
  /** A minute, if not given. */
  readonly timeoutMs?: number;
  readonly input?: string;
}

export class Kube {
  readonly api: Api;
  readonly #settings: Settings;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.api = new Api({ socket: settings.apiSocket });
  }

  /** Fails when it is not there. */
  async get(reference: Reference): Promise<Manifest> {
    const object = await this.api.find(reference);
    if (object === null) throw new Error(`there is no ${describeReference(reference)}`);
    return object;
  }

  /** In their order, one after another. */
  async apply(...manifests: readonly Manifest[]): Promise<void> {
    for (const manifest of manifests) await this.api.apply(manifest);
  }

  /**
   * Waits until `judge` says true of the object (null while it is not there). The error after the limit tells what was
   * missing last, and what happened in the namespace.
   */
  async waitFor(
    reference: Reference,
    judge: (object: Manifest | null) => Verdict,
    options: { readonly what: string; readonly timeoutMs: number },
  ): Promise<Manifest | null> {
    let last: Manifest | null = null;
    await this.until(
      `${describeReference(reference)} ${options.what}`,
      async () => {
        last = await this.api.find(reference);
        return judge(last);
      },
      { timeoutMs: options.timeoutMs, namespaces: reference.namespace === undefined ? [] : [reference.namespace] },
    );
    return last;
  }

  /** Waits until it is gone. */
  async waitUntilGone(reference: Reference, options: { readonly timeoutMs: number }): Promise<void> {
    await this.waitFor(
      reference,
      (object) => object === null || `it is there, with finalizers ${JSON.stringify(object.metadata['finalizers'])}`,
      {
        what: 'is gone',
        ...options,
      },
    );
  }

  /** Deletes it and waits until it is gone. */
  async remove(reference: Reference, options: { readonly timeoutMs: number; readonly graceSeconds?: number }): Promise<void> {
    await this.api.remove(reference, options);
    await this.waitUntilGone(reference, options);
  }

  /** Waits until `probe` says true. What went on in the namespaces goes into the error after the limit. */
  async until(
    what: string,
    probe: () => Promise<Verdict> | Verdict,
    options: { readonly timeoutMs: number; readonly namespaces?: readonly string[] },
  ): Promise<void> {
    const deadline = performance.now() + options.timeoutMs;
    for (;;) {
      const verdict = await probe();
      if (verdict === true) return;
      if (performance.now() > deadline) {
        const details = await Promise.all((options.namespaces ?? []).map((namespace) => explainNamespace(this.api, namespace)));
        throw new Error([`did not come about within ${options.timeoutMs} ms: ${what}: ${verdict}`, ...details].join('\n'));
      }
      await delay(pollMs);
    }
  }

  /** The standard output of a command in a pod; it must succeed. */
  exec(where: PodPlace, command: readonly string[], options: CommandOptions = {}): Promise<string> {
    return this.kubectl([...execParameters(where, options), ...command], options);
  }

  /** How a command in a pod ended, whatever its status. */
  execAny(where: PodPlace, command: readonly string[], options: CommandOptions = {}): Promise<RunResult> {
    return this.kubectlAny([...execParameters(where, options), ...command], options);
  }

  /** The standard output of kubectl, which must succeed. */
  kubectl(parameters: readonly string[], options: CommandOptions = {}): Promise<string> {
    return run(...this.#command('kubectl', parameters), this.#runOptions(options));
  }

  /** How kubectl ended, whatever its status. */
  kubectlAny(parameters: readonly string[], options: CommandOptions = {}): Promise<RunResult> {
    return runAny(...this.#command('kubectl', parameters), this.#runOptions(options));
  }

  /** How helm ended, whatever its status: tests look at refusals too. */
  helm(parameters: readonly string[], options: { readonly timeoutMs: number }): Promise<RunResult> {
    return runAny(...this.#command(this.#settings.helm, parameters), this.#runOptions(options));
  }

  #command(program: string, parameters: readonly string[]): [string, string[]] {
    const [first = '', ...rest] = [...this.#settings.prefix, program, ...parameters];
    return [first, rest];
  }

  #runOptions(options: CommandOptions): RunOptions {
    return {
      timeoutMs: options.timeoutMs ?? commandLimitMs,
      environment: { KUBECONFIG: this.#settings.kubeconfig },
      ...(options.input === undefined ? {} : { input: options.input }),
    };
  }
}

function execParameters(where: PodPlace, options: CommandOptions): string[] {
  return [
    'exec',
    `--namespace=${where.namespace}`,
    where.pod,
    ...(where.container === undefined ? [] : [`--container=${where.container}`]),
    ...(options.input === undefined ? [] : ['--stdin']),
    '--quiet',
    '--',
  ];
}
