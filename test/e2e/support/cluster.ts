/** The nodes of the cluster that the tests started themselves, and what may happen to them. */
import type { Kube } from './kube.ts';
import type { Fields, Manifest } from './api.ts';
import { run } from './command.ts';

const commandLimitMs = 60_000;
/** The controller manager calls a silent node NotReady after 20 s, and looks every 5. */
const notReadyLimitMs = 90_000;
const readyLimitMs = 90_000;

export class OwnCluster {
  readonly #program: string;
  readonly #kube: Kube;

  constructor(options: { readonly program: string; readonly kube: Kube }) {
    this.#program = options.program;
    this.#kube = options.kube;
  }

  /** Cuts a node from the network: its pods run on, and nobody hears of it. Undo it with `back`, in a `finally`. */
  async lose(node: string): Promise<void> {
    await this.#run('lose', numberOf(node));
  }

  async back(node: string): Promise<void> {
    await this.#run('back', numberOf(node));
  }

  /** Ends the kubelet and starts another, and waits until that one knows the node's pods. They run on. */
  async restartKubelet(node: string): Promise<void> {
    await this.#run('restart-kubelet', numberOf(node));
    const probe = async () => {
      const { api } = this.#kube;
      const expected = await api.list('Pod', { fields: `spec.nodeName=${node}` });
      const { items } = await api.call<{ items: Manifest[] | null }>('GET', `api/v1/nodes/${node}/proxy/pods`);
      const known = new Set((items ?? []).map(({ metadata }) => metadata['uid']));
      const unknown = expected.filter(({ metadata }) => !known.has(metadata['uid']));
      return unknown.length === 0 || `it does not know ${unknown.map(({ metadata }) => metadata.name).join(', ')}`;
    };
    await this.#kube.until(`the kubelet of ${node} knows its pods again`, probe, { timeoutMs: readyLimitMs });
  }

  /** The standard output of a command in the node's namespaces: its own mounts, its own network. */
  on(node: string, command: readonly string[]): Promise<string> {
    return this.#run('on', numberOf(node), ...command);
  }

  /** Kills a container's first process, by the id in a pod's status ("containerd://…"). */
  async killContainer(node: string, containerId: string, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    await this.#run('containerd', numberOf(node), 'tasks', 'kill', '--signal', signal, containerId.replace('containerd://', ''));
  }

  /** Gives an image on the nodes another name too: a "new version" for an upgrade. */
  async tagImage(name: string, otherName: string): Promise<void> {
    await this.#run('tag', name, otherName);
  }

  async waitUntilReady(node: string): Promise<void> {
    await this.#waitForReadiness(node, 'True', readyLimitMs);
  }

  async waitUntilNotReady(node: string): Promise<void> {
    await this.#waitForReadiness(node, 'Unknown', notReadyLimitMs);
  }

  async #waitForReadiness(node: string, wanted: string, timeoutMs: number): Promise<void> {
    const judge = (object: Fields | null) => {
      const status = object?.['status'].conditions.find((condition: Fields) => condition['type'] === 'Ready')?.status;
      return status === wanted || `it is ${status}`;
    };
    await this.#kube.waitFor({ kind: 'Node', name: node }, judge, { what: `has Ready=${wanted}`, timeoutMs });
  }

  #run(...parameters: readonly string[]): Promise<string> {
    return run(this.#program, parameters, { timeoutMs: commandLimitMs });
  }
}

function numberOf(node: string): string {
  const number = /^node([1-9])$/.exec(node)?.[1];
  if (number === undefined) throw new Error(`${node} is no node of the tests' own cluster`);
  return number;
}
