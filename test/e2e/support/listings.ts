/** What a controller answers to ListVolumes and ListSnapshots, asked again and again over its CSI socket. */
import type { Fields } from './api.ts';
import type { Kube, PodPlace } from './kube.ts';

export interface Listing {
  readonly call: 'ListVolumes' | 'ListSnapshots';
  /** A gRPC status; the ids are there with 0. */
  readonly code: number;
  readonly ids: readonly string[];
  readonly ms: number;
}

/** Runs in the controller's container, on its own packages: one line of JSON an answer. */
const script = `
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
const { Controller } = grpc.loadPackageDefinition(loader.loadSync('proto/csi.proto', { longs: String })).csi.v1;
const client = new Controller('unix:///csi/csi.sock', grpc.credentials.createInsecure());
const ask = (call) => new Promise((resolve) => {
  const start = performance.now();
  client[call]({}, { deadline: Date.now() + 20_000 }, (error, answer) => {
    const ids = (answer?.entries ?? []).map(({ volume, snapshot }) => volume?.volumeId ?? snapshot?.snapshotId);
    console.log(JSON.stringify({ call, code: error?.code ?? 0, ids, ms: Math.round(performance.now() - start) }));
    resolve();
  });
});
for (const end = Date.now() + Number(process.argv[1]); Date.now() < end; ) {
  await Promise.all([ask('ListVolumes'), ask('ListSnapshots')]);
  await new Promise((resolve) => setTimeout(resolve, 500));
}
client.close();`;

/** All answers of the controller in that pod, for so long. */
export async function watchListings(kube: Kube, where: PodPlace, options: { readonly forMs: number }): Promise<readonly Listing[]> {
  const command = ['/opt/chunkstore/node_modules/node/bin/node', '--input-type=module', '-e', script, String(options.forMs)];
  const output = await kube.exec({ container: 'controller', ...where }, command, { timeoutMs: options.forMs + 60_000 });
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Fields as Listing);
}
