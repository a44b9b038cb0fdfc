import { beforeAll, expect, test } from '@jest/globals';
import { COMMANDS } from '../../src/commands.ts';
import { parseCommandLine } from '../../src/config.ts';
import { describeIf, hasHelm } from '../support/capabilities.ts';
import { renderSet, valueSets, type Manifest } from './chart.ts';
import { containersOf, workload, workloadsOf } from './containers.ts';

/** Programs that the kernel lets do their work only so; see the comments in the templates. */
const PRIVILEGED = ['node', 'store'];
/** Programs that only answer others, or end by themselves. */
const WITHOUT_PROBES = ['await-snapshot-kinds', 'keeper', 'uninstall-check'];

describeIf(hasHelm())("the chart's pods", () => {
  const renderings = new Map<string, readonly Manifest[]>();
  beforeAll(async () => {
    for (const name of valueSets()) renderings.set(name, await renderSet(name));
  });
  const of = (name: string): readonly Manifest[] => renderings.get(name) ?? [];
  const all = (): readonly Manifest[] => [...renderings.values()].flat();

  test('every container says what it needs, and has a limit only where an end in the middle is harmless', () => {
    const lacking = containersOf(all()).filter(({ container }) => container.resources?.requests?.['memory'] === undefined);
    expect(lacking.map(({ where }) => where)).toEqual([]);
    for (const component of ['node', 'store', 'keeper']) {
      expect(workload(of('minimal'), component).pod.containers.map(({ resources }) => resources?.limits)).toEqual([undefined]);
    }
  });

  test('every container has a root file system that it cannot write', () => {
    const writable = containersOf(all()).filter(({ container }) => container.securityContext?.readOnlyRootFilesystem !== true);
    expect(writable.map(({ where }) => where)).toEqual([]);
  });

  test('only the programs that need it are privileged; the others have no capability, the keeper one', () => {
    for (const { workload: parent, container } of containersOf(all())) {
      const { privileged = false, capabilities, allowPrivilegeEscalation } = container.securityContext ?? {};
      const is = { name: container.name, privileged, drop: capabilities?.drop, add: capabilities?.add, allowPrivilegeEscalation };
      const needed = PRIVILEGED.includes(parent.component);
      expect(is).toEqual({
        name: container.name,
        privileged: needed,
        drop: needed ? undefined : ['ALL'],
        // With it the kernel does not make the keeper wait for volumes when memory is short.
        add: container.name === 'keeper' ? ['SYS_RESOURCE'] : undefined,
        allowPrivilegeEscalation: needed ? undefined : false,
      });
    }
  });

  test('what runs beside the nodes is no root, and under the default seccomp profile', () => {
    for (const { kind, name, pod } of workloadsOf(all())) {
      if (kind === 'DaemonSet') continue;
      expect({ name, runAsNonRoot: pod.securityContext?.runAsNonRoot, profile: pod.securityContext?.seccompProfile?.type }).toEqual({
        name,
        runAsNonRoot: true,
        profile: 'RuntimeDefault',
      });
    }
  });

  test('no pod uses a port, the network, the processes or the memory of its node', () => {
    for (const { name, pod } of workloadsOf(all())) {
      const { hostNetwork = false, hostPID = false, hostIPC = false } = pod;
      expect({ name, hostNetwork, hostPID, hostIPC }).toEqual({ name, hostNetwork: false, hostPID: false, hostIPC: false });
    }
    const ports = containersOf(all()).flatMap(({ container }) => container.ports ?? []);
    expect(ports.filter(({ hostPort }) => hostPort !== undefined)).toEqual([]);
  });

  test('folders of the node are made where they are missing', () => {
    const volumes = workloadsOf(all()).flatMap(({ pod }) => pod.volumes ?? []);
    const types = new Set(volumes.flatMap(({ hostPath }) => (hostPath === undefined || hostPath.path === '/dev' ? [] : [hostPath.type])));
    expect([...types]).toEqual(['DirectoryOrCreate']);
  });

  test('everything that serves has a liveness probe, but for the keeper, which nothing may end', () => {
    const probed = containersOf(of('everything')).filter(({ container }) => container.livenessProbe !== undefined);
    const bare = containersOf(of('everything')).filter(({ container }) => container.livenessProbe === undefined);
    expect(probed.length).toBeGreaterThanOrEqual(7);
    expect([...new Set(bare.map(({ workload: { component } }) => component))].toSorted()).toEqual(WITHOUT_PROBES);
  });

  test('a store is up before its predecessor goes; a keeper stays until its pod is deleted', () => {
    const strategyOf = (component: string): unknown => workload(of('minimal'), component).manifest.spec?.['updateStrategy'];
    expect(strategyOf('store')).toEqual({ type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } });
    expect(strategyOf('keeper')).toEqual({ type: 'OnDelete' });
    expect(strategyOf('node')).toEqual({ type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '10%' } });
  });

  test('what a node cannot do without is kept when memory is short, also before user pods', () => {
    const classes = Object.fromEntries(workloadsOf(of('minimal')).map(({ component, pod }) => [component, pod.priorityClassName]));
    expect(classes).toEqual({
      controller: 'system-cluster-critical',
      node: 'system-node-critical',
      store: 'system-node-critical',
      keeper: 'system-node-critical',
      'uninstall-check': 'system-cluster-critical',
    });
  });

  test('only who asks the API has a token for it', () => {
    for (const { component, pod } of workloadsOf(all())) {
      const asks = !['node', 'keeper'].includes(component);
      expect({ component, token: pod.automountServiceAccountToken ?? true }).toEqual({ component, token: asks });
    }
  });

  test('mounts pass from the node program to kubelet and pods, and from the node to the store', () => {
    const propagationOf = (component: string): readonly string[] =>
      (workload(of('minimal'), component).pod.containers[0]?.volumeMounts ?? [])
        .filter(({ mountPropagation }) => mountPropagation !== undefined)
        .map(({ mountPath, mountPropagation }) => `${mountPath} ${mountPropagation}`);
    expect(propagationOf('node')).toEqual(['/var/lib/kubelet Bidirectional']);
    expect(propagationOf('store')).toEqual(['/var/lib/chunkstore HostToContainer']);
  });

  test('the program understands every flag that it is given', () => {
    const own = containersOf(all()).filter(({ container }) => container.command?.[0] === '/usr/local/bin/chunkstore');
    expect(new Set(own.map(({ container }) => container.args?.[0]))).toEqual(
      new Set(['controller', 'node', 'store', 'keeper', 'uninstall-check', 'await-snapshot-kinds']),
    );
    for (const { container } of own) {
      expect(Object.keys(COMMANDS)).toContain(container.args?.[0]);
      expect(typeof parseCommandLine(container.args ?? [], {})).toBe('object');
    }
  });
});
