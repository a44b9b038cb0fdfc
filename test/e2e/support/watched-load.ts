/**
 * I/O that goes on in pods of a node until it is stopped, with every byte compared and the longest wait measured: direct
 * I/O on a raw block volume by fio, and a file system through the page cache by programs/checked-writer.ts. A pod whose
 * I/O fails ends with an error, and so does `stop`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Manifest } from './api.ts';
import type { WriterReport } from './programs/checked-writer.ts';
import type { Bed, Space } from './space.ts';

export interface LoadReport {
  /** Requests of fio that were answered, and the longest that one took. */
  readonly direct: { readonly requests: number; readonly longestMs: number };
  /** The longest that four writes, a sync and a read took. */
  readonly buffered: WriterReport;
}

const program = 'checked-writer.ts';
const nodeProgram = '/opt/chunkstore/node_modules/node/bin/node';
const sizeMib = 64;
const startLimitMs = 60_000;
const stopLimitMs = 60_000;

/** fio ends in order and reports when it is interrupted; it says so by status 128. */
const fioScript = `
  fio --name=direct --filename=/dev/volume --size=${sizeMib}m --rw=randrw --bs=4k --iodepth=4 --ioengine=libaio --direct=1 \
    --verify=crc32c --verify_fatal=1 --verify_backlog=64 --time_based --runtime=1h --rate_iops=400 \
    --output=/tmp/report --output-format=json & fio=$!
  until [ -e /tmp/stop ] || ! kill -0 $fio 2>/dev/null; do sleep 0.2; done
  kill -INT $fio 2>/dev/null
  wait $fio; echo "fio ended with status $?"
  tr -d '\\n' </tmp/report; echo`;

export class WatchedLoad {
  readonly node: string;
  readonly #bed: Bed;
  readonly #space: Space;

  private constructor(bed: Bed, space: Space, node: string) {
    this.#bed = bed;
    this.#space = space;
    this.node = node;
  }

  /** Makes the volumes and pods, and waits until both write. */
  static async start(bed: Bed, space: Space, node: string): Promise<WatchedLoad> {
    const load = new WatchedLoad(bed, space, node);
    const { repository, tag } = bed.settings.driverImage;
    await space.apply(programs());
    await space.claim({ name: load.#direct, volumeMode: 'Block', size: `${sizeMib}Mi` });
    await space.claim({ name: load.#buffered, size: '256Mi' });
    await space.startPod({
      name: load.#direct,
      node,
      devices: { '/dev/volume': load.#direct },
      command: ['bash', '-c', fioScript],
    });
    await space.startPod({
      name: load.#buffered,
      node,
      mounts: { '/data': load.#buffered },
      command: [nodeProgram, `/programs/${program}`, '/data/file', String(sizeMib)],
      container: { image: `${repository}:${tag}`, volumeMounts: [mount('mount-0', '/data'), mount('programs', '/programs')] },
      spec: {
        volumes: [
          { name: 'mount-0', persistentVolumeClaim: { claimName: load.#buffered } },
          { name: 'programs', configMap: { name: 'programs' } },
        ],
      },
    });
    await Promise.all([load.#direct, load.#buffered].map((pod) => space.podReady(pod)));
    const begun = async () => (await load.#log(load.#buffered)).includes('writing') || 'it has not begun to write';
    await bed.kube.until(`the load on ${node} runs`, begun, { timeoutMs: startLimitMs, namespaces: [space.name] });
    return load;
  }

  get #direct(): string {
    return `direct-${this.node}`;
  }

  get #buffered(): string {
    return `buffered-${this.node}`;
  }

  /** Ends it; fails when an I/O failed or a byte was wrong. */
  async stop(): Promise<LoadReport> {
    // Of a program that has ended by itself, the log is to be seen, not that nothing can be run beside it.
    const { kube } = this.#bed;
    const namespace = this.#space.name;
    await Promise.all([
      kube.execAny({ namespace, pod: this.#direct }, ['touch', '/tmp/stop']),
      kube.execAny({ namespace, pod: this.#buffered }, ['touch', '/data/file.stop']),
    ]);
    await Promise.all([this.#direct, this.#buffered].map((pod) => this.#space.podSucceeded(pod, { timeoutMs: stopLimitMs })));
    const buffered = JSON.parse((await this.#log(this.#buffered)).trim().split('\n').at(-1) ?? '') as WriterReport;
    return { direct: directReport(await this.#log(this.#direct)), buffered };
  }

  #log(pod: string): Promise<string> {
    return this.#bed.kube.api.logs({ namespace: this.#space.name, pod });
  }
}

interface FioSide {
  readonly total_ios: number;
  readonly lat_ns: { readonly max: number };
}

function directReport(log: string): LoadReport['direct'] {
  const status = /^fio ended with status (\d+)$/m.exec(log)?.[1];
  const report = /\{.*\}/.exec(log)?.[0];
  if (report === undefined) throw new Error(`fio left no report: ${log}`);
  const { jobs } = JSON.parse(report) as { jobs: { error: number; read: FioSide; write: FioSide }[] };
  const [job] = jobs;
  if (job === undefined || job.error !== 0 || (status !== '0' && status !== '128')) {
    throw new Error(`fio found an error (${job?.error}, status ${status}): ${log.slice(0, 2000)}`);
  }
  const sides = [job.read, job.write];
  return {
    requests: sides.reduce((sum, { total_ios: requests }) => sum + requests, 0),
    longestMs: Math.round(Math.max(...sides.map(({ lat_ns: latency }) => latency.max)) / 1_000_000),
  };
}

function programs(): Manifest {
  const text = readFileSync(join(import.meta.dirname, 'programs', program), 'utf8');
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'programs' }, data: { [program]: text } };
}

function mount(name: string, mountPath: string): { readonly name: string; readonly mountPath: string } {
  return { name, mountPath };
}
