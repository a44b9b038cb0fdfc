/**
 * What a role tells over HTTP: /livez and /readyz for the kubelet's probes, /metrics for Prometheus, and nothing else.
 * Everybody who reaches the port may ask, so the answers hold no names of users' objects beyond what metrics tell, no
 * secrets and no stacks, and whatever is asked costs little: connections, headers and times are limited, and a check that
 * runs already is not started again.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import { isIP } from 'node:net';
import { UsageError } from '../../config.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { withinTime } from '../../util/time-limit.ts';

/** Resolves when all is well; a StoreError's message is told to whoever asked. */
export type HealthCheck = () => Promise<unknown>;

export interface HttpOptions {
  /** "HOST:PORT", or ":PORT" for every address of both families; port 0 takes a free one. */
  readonly listen: string;
  /** A process that fails this is to be started anew: nothing but itself may make it fail. */
  readonly live: HealthCheck;
  /** Whether it can do its work now. */
  readonly ready: HealthCheck;
  /** In Prometheus' text format. */
  readonly metrics?: () => Promise<{ readonly contentType: string; readonly body: string }>;
  readonly log: Logger;
  /** For one check, and for one answer of metrics. */
  readonly timeoutMs?: number;
}

export interface RunningHttp {
  readonly port: number;
  stop(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const TEXT = 'text/plain; charset=utf-8';
/** A little less than a probe usually waits for, when it is told to wait for more than its default of one second. */
const TIMEOUT_MS = 4_000;
const REQUEST_TIMEOUT_MS = 10_000;
const MAXIMUM_CONNECTIONS = 64;
const MAXIMUM_HEADER_BYTES = 8 * 1024;
const LONGEST_REASON = 500;

/** Resolves once it serves. `unavailable` when the port is not to be had. */
export async function startHttp(options: HttpOptions): Promise<RunningHttp> {
  const { host, port } = parseListenAddress(options.listen, '--http');
  const answers = answersOf(options);
  const server = createServer(
    {
      maxHeaderSize: MAXIMUM_HEADER_BYTES,
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: 5_000,
    },
    (request, response) => void serve(request, response, answers),
  );
  server.maxConnections = MAXIMUM_CONNECTIONS;
  server.listen({ port, ...(host === null ? {} : { host }) });
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new StoreError('unavailable', `cannot listen on ${options.listen}: ${(cause as Error).message}`, { cause });
  }
  server.on('error', (error) => options.log.error({ err: error }, 'the HTTP server has a problem'));
  return { port: portOf(server), stop: () => stop(server) };
}

/** `startHttp` where a flag names an address; null without one. */
export async function startHttpIfAsked(listen: string | null, options: Omit<HttpOptions, 'listen'>): Promise<RunningHttp | null> {
  return listen === null ? null : startHttp({ ...options, listen });
}

/** The parts of "HOST:PORT"; an IPv6 address stands in brackets. No host (null) is every address, of both families. */
export function parseListenAddress(text: string, flag: string): { readonly host: string | null; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? Number.NaN);
  const [, inBrackets, plain] = match ?? [];
  const isHost = inBrackets === undefined ? /^[A-Za-z0-9.-]*$/.test(plain ?? '') : isIP(inBrackets) === 6;
  if (match === null || port > 65_535 || !isHost)
    throw new UsageError(`${flag} must be HOST:PORT, like 0.0.0.0:9808, not ${JSON.stringify(text)}`);
  return { host: (inBrackets ?? plain) || null, port };
}

function answersOf({ live, ready, metrics, log, timeoutMs = TIMEOUT_MS }: HttpOptions): ReadonlyMap<string, () => Promise<Answer>> {
  const check = (name: string, look: HealthCheck): (() => Promise<Answer>) => {
    return oneAtATime(async () => {
      try {
        await withinTime(look(), { timeoutMs, what: 'it' });
        return { status: 200, contentType: TEXT, body: 'ok\n' };
      } catch (error) {
        const known = error instanceof StoreError;
        if (!known) log.error({ err: error, check: name }, 'a check failed by a bug');
        return { status: 503, contentType: TEXT, body: `${oneLine(known ? error.message : 'internal error; the log has it')}\n` };
      }
    });
  };
  const answers = new Map([
    ['/livez', check('live', live)],
    ['/readyz', check('ready', ready)],
  ]);
  if (metrics !== undefined) {
    answers.set(
      '/metrics',
      oneAtATime(async () => {
        try {
          return { status: 200, ...(await withinTime(metrics(), { timeoutMs, what: 'metrics' })) };
        } catch (error) {
          log.error({ err: error }, 'metrics could not be told');
          return { status: 500, contentType: TEXT, body: 'the metrics could not be read; the log has the reason\n' };
        }
      }),
    );
  }
  return answers;
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  answers: ReadonlyMap<string, () => Promise<Answer>>,
): Promise<void> {
  const [path = ''] = (request.url ?? '').split('?', 1);
  const find = answers.get(path);
  let answer: Answer;
  if (find === undefined) answer = { status: 404, contentType: TEXT, body: 'there is /livez, /readyz and /metrics\n' };
  else if (request.method !== 'GET' && request.method !== 'HEAD') answer = { status: 405, contentType: TEXT, body: 'only GET\n' };
  else answer = await find();
  // A request's body is of no interest, and whoever sends one need not be waited for.
  const body = Buffer.from(answer.body);
  response.writeHead(answer.status, { 'content-type': answer.contentType, 'content-length': body.length, 'cache-control': 'no-store' });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** Whoever asks while the answer is made gets that one. */
function oneAtATime(make: () => Promise<Answer>): () => Promise<Answer> {
  let running: Promise<Answer> | null = null;
  return () => {
    running ??= make().finally(() => (running = null));
    return running;
  };
}

function oneLine(text: string): string {
  const [line = ''] = text.split('\n', 1);
  return line.slice(0, LONGEST_REASON);
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function stop(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}
