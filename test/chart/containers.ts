/** The pods that a chart makes, whatever makes them. */
import type { Manifest } from './chart.ts';

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number; readonly hostPort?: number }[];
  readonly resources?: { readonly requests?: Readonly<Record<string, string>>; readonly limits?: Readonly<Record<string, string>> };
  readonly securityContext?: {
    readonly privileged?: boolean;
    readonly readOnlyRootFilesystem?: boolean;
    readonly allowPrivilegeEscalation?: boolean;
    readonly capabilities?: { readonly drop?: readonly string[]; readonly add?: readonly string[] };
  };
  readonly livenessProbe?: object;
  readonly readinessProbe?: object;
  readonly startupProbe?: object;
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly mountPropagation?: string }[];
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly hostNetwork?: boolean;
  readonly hostPID?: boolean;
  readonly hostIPC?: boolean;
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly priorityClassName?: string;
  readonly securityContext?: { readonly runAsNonRoot?: boolean; readonly seccompProfile?: { readonly type: string } };
  readonly volumes?: readonly { readonly name: string; readonly hostPath?: { readonly path: string; readonly type: string } }[];
}

export interface Workload {
  readonly kind: string;
  readonly name: string;
  /** As the labels call it: controller, node, store, keeper … */
  readonly component: string;
  readonly pod: PodSpec;
  readonly manifest: Manifest;
}

export function workloadsOf(manifests: readonly Manifest[]): readonly Workload[] {
  return manifests
    .filter(({ kind }) => ['Deployment', 'DaemonSet', 'Job'].includes(kind))
    .map((manifest) => ({
      kind: manifest.kind,
      name: manifest.metadata.name,
      component: manifest.metadata.labels?.['app.kubernetes.io/component'] ?? '',
      pod: (manifest.spec as { readonly template: { readonly spec: PodSpec } }).template.spec,
      manifest,
    }));
}

/** Every container, with a name for messages. */
export function containersOf(
  manifests: readonly Manifest[],
): readonly { readonly where: string; readonly workload: Workload; readonly container: Container }[] {
  return workloadsOf(manifests).flatMap((workload) =>
    [...(workload.pod.initContainers ?? []), ...workload.pod.containers].map((container) => ({
      where: `${workload.name}/${container.name}`,
      workload,
      container,
    })),
  );
}

/** The only workload of a component. */
export function workload(manifests: readonly Manifest[], component: string): Workload {
  const found = workloadsOf(manifests).filter((each) => each.component === component);
  const [only] = found;
  if (only === undefined || found.length > 1) throw new Error(`${found.length} workloads of ${component}`);
  return only;
}
