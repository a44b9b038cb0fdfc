/**
 * Holds VolumeReverts before one of the controller's writes: an admission policy refuses it, by the name of the VolumeRevert,
 * until it is lifted. What was done before that write is done, and nothing after it: the state in which a controller that
 * was killed in between leaves things.
 */
import type { Manifest } from './api.ts';
import type { Driver } from './driver.ts';
import type { Kube } from './kube.ts';

const policyName = 'chunkstore-e2e-revert-holds';
const finalizer = "'chunkstore.dev/revert'";
const knownLimitMs = 30_000;

/** A write, as CEL over an admission request, and what is done by then. */
interface Hold {
  readonly resource: 'volumereverts' | 'volumereverts/status' | 'volumesnapshots' | 'volumesnapshotcontents';
  readonly write: string;
}

/** In the order of the controller's steps; "dropping" are those with keepSafetySnapshot false. */
const holds: Readonly<Record<string, Hold>> = {
  adopting: {
    resource: 'volumereverts',
    write: `${holdsFinalizer('object')} && !(${holdsFinalizer('oldObject')})`,
  },
  pinning: { resource: 'volumereverts/status', write: 'has(object.status.volumeHandle)' },
  attempting: { resource: 'volumereverts/status', write: 'has(object.status.attemptedAt)' },
  noting: { resource: 'volumereverts/status', write: 'has(object.status.revertedAt)' },
  'noting-dropping': { resource: 'volumereverts/status', write: 'has(object.status.revertedAt)' },
  'making-content': { resource: 'volumesnapshotcontents', write: 'true' },
  'making-snapshot': { resource: 'volumesnapshots', write: 'true' },
  completing: { resource: 'volumereverts/status', write: isComplete('object') },
  'completing-dropping': { resource: 'volumereverts/status', write: isComplete('object') },
  releasing: {
    resource: 'volumereverts',
    write: `${holdsFinalizer('oldObject')} && !(${holdsFinalizer('object')})`,
  },
};

/** Names of VolumeReverts that are held: each before the write that it is named after. */
export const heldReverts: readonly string[] = Object.keys(holds);

export class RevertHolds {
  readonly #kube: Kube;
  readonly #account: string;

  private constructor(options: { readonly kube: Kube; readonly account: string }) {
    this.#kube = options.kube;
    this.#account = options.account;
  }

  /** They hold in one namespace, once this has ended. */
  static async lay(options: { readonly kube: Kube; readonly driver: Driver; readonly namespace: string }): Promise<RevertHolds> {
    const { kube, driver, namespace } = options;
    const pod = await driver.pod('controller');
    const account = `system:serviceaccount:${driver.namespace}:${pod['spec'].serviceAccountName}`;
    const laid = new RevertHolds({ kube, account });
    await kube.apply(policy(account), binding(namespace));
    await laid.#waitUntilInForce(namespace);
    return laid;
  }

  async lift(): Promise<void> {
    await this.#kube.api.remove({ kind: 'ValidatingAdmissionPolicyBinding', name: policyName });
    await this.#kube.api.remove({ kind: 'ValidatingAdmissionPolicy', name: policyName });
  }

  /** The API server takes a second to heed a new policy: it is asked to do what the policy forbids, without doing it. */
  async #waitUntilInForce(namespace: string): Promise<void> {
    const name = 'making-content';
    const forbidden = {
      apiVersion: 'snapshot.storage.k8s.io/v1',
      kind: 'VolumeSnapshotContent',
      metadata: { name: `${namespace}-probe` },
      spec: {
        driver: 'csi.example.com',
        deletionPolicy: 'Retain',
        source: { snapshotHandle: 'none' },
        volumeSnapshotRef: { namespace, name: `${name}-before-probe` },
      },
    };
    const create = ['create', `--as=${this.#account}`, '--dry-run=server', '--filename=-'];
    const probe = async () => {
      const { status, errorOutput } = await this.#kube.kubectlAny(create, { input: JSON.stringify(forbidden) });
      return (status !== 0 && errorOutput.includes(messageOf(name))) || `the write was answered with: ${errorOutput}`;
    };
    await this.#kube.until('the policy that holds VolumeReverts is in force', probe, { timeoutMs: knownLimitMs });
  }
}

/** What the controller is told when a write is held. */
export function messageOf(name: string): string {
  return `held by a test before ${name}`;
}

function policy(account: string): Manifest {
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingAdmissionPolicy',
    metadata: { name: policyName },
    spec: {
      failurePolicy: 'Fail',
      matchConstraints: {
        resourceRules: [
          {
            apiGroups: ['chunkstore.dev'],
            apiVersions: ['v1alpha1'],
            operations: ['UPDATE'],
            resources: ['volumereverts', 'volumereverts/status'],
          },
          {
            apiGroups: ['snapshot.storage.k8s.io'],
            apiVersions: ['v1'],
            operations: ['CREATE'],
            resources: ['volumesnapshots', 'volumesnapshotcontents'],
          },
        ],
      },
      matchConditions: [{ name: 'controller', expression: `request.userInfo.username == '${account}'` }],
      validations: Object.entries(holds).map(([name, { resource, write }]) => ({
        expression: `!(${isAbout(resource, name)} && ${write})`,
        message: messageOf(name),
        reason: 'Forbidden',
      })),
    },
  };
}

/** A content has no namespace that it could be selected by, so the condition on its snapshot's is in the expression. */
function binding(namespace: string): Manifest {
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingAdmissionPolicyBinding',
    metadata: { name: policyName },
    spec: {
      policyName,
      validationActions: ['Deny'],
      matchResources: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } } },
    },
  };
}

function isAbout(resource: Hold['resource'], name: string): string {
  const [plural, subresource = ''] = resource.split('/');
  // What a request has not is no field of it.
  const isSubresource = `(has(request.subResource) ? request.subResource : '') == '${subresource}'`;
  const kind = `request.resource.resource == '${plural}' && ${isSubresource}`;
  switch (resource) {
    case 'volumereverts':
    case 'volumereverts/status':
      return `${kind} && object.metadata.name == '${name}'`;
    case 'volumesnapshots':
      return `${kind} && object.metadata.name.startsWith('${name}-before-')`;
    case 'volumesnapshotcontents':
      return `${kind} && object.spec.volumeSnapshotRef.name.startsWith('${name}-before-')`;
  }
}

function holdsFinalizer(object: string): string {
  return `has(${object}.metadata.finalizers) && ${finalizer} in ${object}.metadata.finalizers`;
}

function isComplete(object: string): string {
  return `has(${object}.status.phase) && ${object}.status.phase == 'Complete'`;
}
