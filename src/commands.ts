/** The commands of `chunkstore` and their flags: what the parser accepts and what the help tells. */
import { hostname } from 'node:os';

export interface Flag {
  readonly name: string;
  readonly help: string;
  /** How the help calls its value. */
  readonly value?: string;
  /** It has no value. */
  readonly switch?: boolean;
  readonly required?: boolean;
  readonly repeatable?: boolean;
  readonly choices?: readonly string[];
  readonly initial?: string | (() => string);
}

export interface Command {
  readonly kind: 'role' | 'operator';
  readonly help: string;
  readonly more?: string;
  readonly flags: readonly Flag[];
  readonly positionals?: readonly string[];
}

const state = (required: boolean): Flag => ({
  name: 'state',
  value: 'DIR',
  required,
  help: 'folder of the pool, the sockets and all else that a node keeps',
});
const endpoint = (help: string, required = true): Flag => ({ name: 'endpoint', value: 'unix:///PATH', required, help });
const node: Flag = {
  name: 'node',
  value: 'NAME',
  initial: () => hostname().slice(0, 63),
  help: 'name of this node: the topology value; this host, if not given',
};
const size: Flag = { name: 'size', value: 'SIZE', help: 'size of the pool, like 8GiB; needed when it is created, a larger one grows it' };
const chunkSize: Flag = {
  name: 'chunk-size',
  value: 'SIZE',
  help: '16KiB, 32KiB or 64KiB, chosen when the pool is created',
  choices: ['16KiB', '32KiB', '64KiB'],
};
/** How a pool is served; another value counts from the next start. */
const poolService: readonly Flag[] = [
  {
    name: 'overprovisioning',
    value: 'RATIO',
    initial: '10',
    help: "how many times the pool's size all volumes together may be large",
  },
  {
    name: 'full-pool-wait',
    value: 'SECONDS',
    initial: '60',
    help: 'how long a write waits for room in a full pool before it fails',
  },
  {
    name: 'prewrite',
    value: 'on|off',
    choices: ['on', 'off'],
    initial: 'on',
    help: 'write zeros once into new space while nothing else is to do: first writes are about twice as fast there',
  },
  {
    name: 'scrub-every',
    value: 'TIME|off',
    initial: '7d',
    help: 'how often the chunks that snapshots hold are held against their checksums; off: never by itself, and none get checksums',
  },
  {
    name: 'scrub-rate',
    value: 'SIZE',
    initial: '32MiB',
    help: 'how much of them is read in a second',
  },
];
const stopWait: Flag = {
  name: 'stop-wait',
  value: 'SECONDS',
  initial: '30',
  help: 'how long SIGTERM waits for volumes that are in use, before it is given up',
};
const keeper: Flag = { name: 'keeper', value: 'PATH', required: true, help: "the keeper's socket" };

const kubernetes = (help: string): Flag => ({ name: 'kubernetes', switch: true, help });
const inCluster = (help: string): readonly Flag[] => [
  kubernetes(help),
  { name: 'namespace', value: 'NAME', help: 'where this driver is installed; needed with --kubernetes' },
  {
    name: 'release',
    value: 'NAME',
    initial: 'chunkstore',
    help: 'begins the names of the objects that belong to this installation',
  },
];

const http: Flag = { name: 'http', value: 'HOST:PORT', help: 'where to serve /livez, /readyz and /metrics; nowhere, if not given' };

const output: Flag = {
  name: 'output',
  value: 'FORMAT',
  choices: ['table', 'json'],
  initial: 'table',
  help: 'table for people, json for scripts',
};
const storeFlags: readonly Flag[] = [state(false), endpoint("the store's socket, if not the one under --state", false), output];
const deviceFlags: readonly Flag[] = [
  ...storeFlags,
  { ...keeper, required: false, help: "the keeper's socket, if not the one under --state" },
];

const commands = {
  local: {
    kind: 'role',
    help: 'Run all roles on this machine, with CSI on one socket.',
    more: 'Prints a line with "ready" and the endpoint once it serves. SIGTERM ends it, unless something is still mounted.',
    flags: [state(true), size, chunkSize, endpoint('the CSI socket'), node, ...poolService, stopWait],
  },
  controller: {
    kind: 'role',
    help: 'Serve CSI Identity and Controller.',
    flags: [
      endpoint('the CSI socket'),
      { name: 'store', value: 'NODE=unix:///PATH', repeatable: true, help: 'a store and the node that it is on; not with --kubernetes' },
      ...inCluster('find the stores by their ChunkStorePools; lead elections, issue certificates, revert volumes'),
      { name: 'stores-service', value: 'NAME', help: "the headless Service in front of the stores' pods; needed with --kubernetes" },
      { name: 'identity', value: 'NAME', initial: () => hostname(), help: "this replica's name in elections and events: its pod" },
      http,
    ],
  },
  node: {
    kind: 'role',
    help: 'Serve CSI Identity and Node; set up, format and mount block devices.',
    flags: [
      endpoint('the CSI socket'),
      node,
      { name: 'store', value: 'unix:///PATH', required: true, help: "this node's store" },
      keeper,
      {
        name: 'registration',
        value: 'DIR',
        help: 'register with the kubelet whose folder plugins_registry this is; not needed outside of Kubernetes',
      },
      {
        name: 'kubelet-endpoint',
        value: 'PATH',
        initial: '/var/lib/kubelet/plugins/csi.chunkstore.dev/csi.sock',
        help: 'the CSI socket as the kubelet sees it; counts with --registration',
      },
      http,
    ],
  },
  store: {
    kind: 'role',
    help: 'Serve a pool: its volumes and snapshots, their data and their control.',
    flags: [
      { name: 'pool', value: 'DIR', required: true, help: 'folder of the pool; created when it is missing or empty' },
      size,
      chunkSize,
      endpoint("the store's socket"),
      node,
      keeper,
      ...poolService,
      {
        name: 'pod-uid',
        value: 'UID',
        help: 'of the pod that this is in: the pool is then handed over to the next pod, and taken over from the last',
      },
      { name: 'pool-root', value: 'DIR', help: 'no pool lies outside it; --pool may be relative to it' },
      {
        name: 'node-settings',
        value: 'DIR',
        help: 'one JSON file a node, named by it: {"folder", "size", "chunkSize"} in place of the flags',
      },
      ...inCluster('publish the pool as a ChunkStorePool, and serve the controller over --listen'),
      { name: 'listen', value: 'HOST:PORT', help: 'where the controller reaches this store, by mutual TLS; needed with --kubernetes' },
      http,
    ],
  },
  keeper: {
    kind: 'role',
    help: 'Hold the descriptors of block devices, so that the store may die or be replaced under load.',
    flags: [
      { name: 'socket', value: 'PATH', required: true, help: 'where it listens' },
      {
        name: 'linger',
        value: 'SECONDS',
        help: 'how long SIGTERM waits, while it holds devices, for a store that has them too and stays; without it, not at all',
      },
    ],
  },
  freezer: {
    kind: 'role',
    help: 'Hold one file system frozen for a moment; started by the node role.',
    flags: [],
  },
  list: { kind: 'operator', help: 'List volumes and snapshots as a tree of descent.', flags: storeFlags },
  space: { kind: 'operator', help: "Show the pool's space, and what each volume and snapshot uses.", flags: storeFlags },
  create: {
    kind: 'operator',
    help: 'Create an empty volume.',
    positionals: ['NAME'],
    flags: [{ name: 'size', value: 'SIZE', required: true, help: 'like 1GiB' }, ...storeFlags],
  },
  delete: { kind: 'operator', help: 'Delete a volume or a snapshot.', positionals: ['VOLUME|SNAPSHOT'], flags: storeFlags },
  snapshot: { kind: 'operator', help: 'Cut a snapshot of a volume.', positionals: ['VOLUME', 'NAME'], flags: storeFlags },
  clone: {
    kind: 'operator',
    help: 'Make a volume from a snapshot or a volume.',
    positionals: ['VOLUME|SNAPSHOT', 'NAME'],
    flags: [{ name: 'size', value: 'SIZE', help: "larger than the source's, if not the same" }, ...storeFlags],
  },
  revert: {
    kind: 'operator',
    help: 'Make a volume what one of its snapshots is; what it holds now is kept as a snapshot.',
    positionals: ['VOLUME', 'SNAPSHOT'],
    flags: [
      { name: 'no-safety-snapshot', switch: true, help: 'do not keep what the volume holds now' },
      { name: 'safety-name', value: 'NAME', help: 'name of the snapshot that keeps what the volume holds now' },
      ...storeFlags,
    ],
  },
  resize: {
    kind: 'operator',
    help: 'Grow a volume. A file system on it is grown by CSI, or by its own tools.',
    positionals: ['VOLUME'],
    flags: [{ name: 'size', value: 'SIZE', required: true, help: 'like 2GiB' }, ...storeFlags],
  },
  attach: {
    kind: 'operator',
    help: 'Make a volume, or read-only a snapshot, a block device of this machine; prints its path.',
    positionals: ['VOLUME|SNAPSHOT'],
    flags: deviceFlags,
  },
  detach: {
    kind: 'operator',
    help: 'Take its block device down.',
    positionals: ['VOLUME|SNAPSHOT'],
    flags: deviceFlags,
  },
  check: {
    kind: 'operator',
    help: 'Prove the reference counts on one cut of all roots, in the running store or, with --pool, in a folder.',
    flags: [{ name: 'pool', value: 'DIR', help: 'folder of a pool that no store has open' }, ...storeFlags],
  },
  scrub: {
    kind: 'operator',
    help: 'Hold the chunks that snapshots hold against their checksums, and tell what is damaged.',
    more: 'start begins a pass over the pool, or goes on with one; status tells of it, and what is damaged; stop stops it. Status 1 when something is damaged.',
    positionals: ['start|stop|status'],
    flags: [
      { name: 'rate', value: 'SIZE', help: "how much start has read in a second, if not the store's --scrub-rate" },
      { name: 'wait', switch: true, help: 'after start: print the progress on standard error, until the end of the pass' },
      { name: 'pool', value: 'DIR', help: 'folder of a pool that no store has open' },
      ...storeFlags,
    ],
  },
  defragment: {
    kind: 'operator',
    help: "Move a volume's chunks next to each other, so that it is read in order as fast as when it was new.",
    more: 'It begins in the background, beside the I/O of all volumes. What snapshots share is copied and takes space; it ends before less than a sixteenth of the pool is free.',
    positionals: ['VOLUME'],
    flags: [
      { name: 'wait', switch: true, help: 'print the progress on standard error, until the end; status 1 when it ends early' },
      { name: 'status', switch: true, help: 'only tell how far it is, or how it ended' },
      { name: 'stop', switch: true, help: 'end it where it is; what was moved stays' },
      ...storeFlags,
    ],
  },
  'uninstall-check': {
    kind: 'operator',
    help: 'Refuse when volumes are in use in the cluster, else tell what stays; run by helm uninstall.',
    flags: [
      kubernetes('ask the cluster that this pod runs in, or the one of --kubeconfig'),
      { name: 'kubeconfig', value: 'PATH', help: 'instead of the pod that this runs in' },
      { name: 'pool-root', value: 'DIR', initial: '/var/lib/chunkstore', help: 'folder of the nodes that holds their pools' },
      { name: 'resume', value: 'COMMAND', help: 'told to whoever is refused: what undoes the attempt' },
    ],
  },
  'await-snapshot-kinds': {
    kind: 'operator',
    help: 'Wait until the cluster serves VolumeSnapshotClasses; run by helm install, which brings their CRD.',
    flags: [
      kubernetes('ask the cluster that this pod runs in, or the one of --kubeconfig'),
      { name: 'kubeconfig', value: 'PATH', help: 'instead of the pod that this runs in' },
    ],
  },
} satisfies Record<string, Command>;

export type CommandName = keyof typeof commands;
export const COMMANDS: Readonly<Record<CommandName, Command>> = commands;
