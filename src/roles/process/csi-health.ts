/** Whether a CSI server answers, seen from outside: over a new connection to its socket, as any caller would come. */
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { StoreError } from '../../util/errors.ts';

const METHOD = '/csi.v1.Identity/GetPluginInfo';
/** Its request has no fields, and of its answer only that it came is of interest. */
const NOTHING = Buffer.alloc(0);

/** `unavailable` when no answer comes in time. */
export async function checkCsiServer(endpoint: string, options: { readonly timeoutMs: number }): Promise<void> {
  const client = new Client(endpoint, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
  });
  try {
    await new Promise<void>((resolve, reject) => {
      const deadline = Date.now() + options.timeoutMs;
      client.makeUnaryRequest(
        METHOD,
        () => NOTHING,
        (answer) => answer,
        null,
        new Metadata(),
        { deadline },
        (error) => {
          if (error === null) resolve();
          else reject(new StoreError('unavailable', `the CSI server at ${endpoint} does not answer: ${error.details}`, { cause: error }));
        },
      );
    });
  } finally {
    client.close();
  }
}
