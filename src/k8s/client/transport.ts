/**
 * HTTP to the Kubernetes API: one answer as text, or lines as they come. Every request has a time limit, every answer and
 * line a largest size. What goes wrong on the way is a TransportError, which knows whether the server may have acted.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { StringDecoder } from 'node:string_decoder';
import type { Connection, Credentials } from './connection.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With the query. */
  readonly path: string;
  readonly body?: string;
  readonly contentType?: string;
  readonly timeoutMs: number;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

export interface LineStream {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly lines: AsyncIterable<string>;
}

export interface StreamLimits {
  readonly timeoutMs: number;
  /** Until the head of the answer is there. */
  readonly headTimeoutMs: number;
  /** Without a byte for so long, the connection counts as dead. */
  readonly idleTimeoutMs: number;
}

export class TransportError extends Error {
  override readonly name = 'TransportError';
  /** False: the server never saw the request. */
  readonly maybeSent: boolean;

  constructor(message: string, options: { readonly maybeSent: boolean; readonly cause?: unknown }) {
    super(message, { cause: options.cause });
    this.maybeSent = options.maybeSent;
  }
}

/** A page of a list may hold hundreds of objects of up to 1.5 MiB each; ours are of a few KiB. */
const LARGEST_ANSWER_BYTES = 64 * 1024 * 1024;
/** etcd keeps objects of at most 1.5 MiB, which grow when they are written as JSON. */
const LARGEST_LINE_BYTES = 8 * 1024 * 1024;
const KEEP_ALIVE_MS = 20_000;

export class Transport {
  readonly #connection: Connection;
  readonly #userAgent: string;
  readonly #tls: boolean;
  readonly #agent: http.Agent;

  constructor(connection: Connection, options: { readonly userAgent: string }) {
    this.#connection = connection;
    this.#userAgent = options.userAgent;
    this.#tls = connection.server.protocol === 'https:';
    const agentOptions = { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS, maxFreeSockets: 4 };
    this.#agent = this.#tls ? new https.Agent(agentOptions) : new http.Agent(agentOptions);
  }

  /** Answers whatever the server answers. After a 401 it asks once more with renewed credentials. */
  async request(request: HttpRequest): Promise<HttpResponse> {
    const first = await this.#requestOnce(request, { renewed: false });
    return first.status === 401 ? this.#requestOnce(request, { renewed: true }) : first;
  }

  /** The lines of an answer as they come. They end when the server ends them; a limit, a lost connection and `signal`
   * are TransportErrors. Whoever opens a stream goes through its lines, or it stays open until its limit. */
  async stream(path: string, limits: StreamLimits, signal: AbortSignal): Promise<LineStream> {
    const first = await this.#streamOnce(path, limits, signal, { renewed: false });
    if (first.status !== 401) return first;
    for await (const _line of first.lines);
    return this.#streamOnce(path, limits, signal, { renewed: true });
  }

  close(): void {
    this.#agent.destroy();
  }

  async #requestOnce(request: HttpRequest, options: { readonly renewed: boolean }): Promise<HttpResponse> {
    const timeout = AbortSignal.timeout(request.timeoutMs);
    const opened = await this.#open(request, timeout, options);
    try {
      let text = '';
      for await (const piece of pieces(opened.response)) {
        text += piece;
        if (text.length > LARGEST_ANSWER_BYTES) throw new Error(`the answer is larger than ${LARGEST_ANSWER_BYTES} bytes`);
      }
      return { status: opened.response.statusCode ?? 0, headers: opened.response.headers, text };
    } catch (cause) {
      opened.response.destroy();
      throw new TransportError(timeout.aborted ? `no whole answer within ${request.timeoutMs} ms` : messageOf(cause), {
        maybeSent: true,
        cause,
      });
    }
  }

  async #streamOnce(path: string, limits: StreamLimits, signal: AbortSignal, options: { readonly renewed: boolean }): Promise<LineStream> {
    // Not AbortSignal.any: a signal that lives as long as the process would keep something of every stream.
    const controller = new AbortController();
    const stop = (): void => controller.abort();
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    const timers = [limits.timeoutMs, limits.idleTimeoutMs].map((limitMs) => setTimeout(stop, limitMs));
    const finish = (): void => {
      signal.removeEventListener('abort', stop);
      for (const timer of timers) clearTimeout(timer);
    };
    try {
      const { response } = await this.#open({ method: 'GET', path, timeoutMs: limits.headTimeoutMs }, controller.signal, options);
      const lines = linesOf(response, { onPiece: () => timers[1]?.refresh(), onEnd: finish });
      return { status: response.statusCode ?? 0, headers: response.headers, lines };
    } catch (error) {
      finish();
      throw error;
    }
  }

  /** Sends the request, answers when the head of the answer is there. `signal` ends the answer's body too. */
  async #open(
    request: HttpRequest,
    signal: AbortSignal,
    options: { readonly renewed: boolean },
  ): Promise<{ readonly response: http.IncomingMessage }> {
    const credentials = await this.#credentials(options, request.timeoutMs);
    const { server } = this.#connection;
    const { promise, resolve, reject } = Promise.withResolvers<{ readonly response: http.IncomingMessage }>();
    let maybeSent = false;
    const outgoing = (this.#tls ? https : http).request({
      agent: this.#agent,
      ...credentials,
      protocol: server.protocol,
      hostname: server.hostname.replace(/^\[|\]$/g, ''),
      port: server.port,
      path: `${server.pathname.replace(/\/$/, '')}${request.path}`,
      method: request.method,
      signal,
      headers: {
        ...credentials.headers,
        accept: 'application/json',
        'user-agent': this.#userAgent,
        ...(request.body !== undefined && {
          'content-type': request.contentType ?? 'application/json',
          'content-length': Buffer.byteLength(request.body),
        }),
      },
    });
    const headTimer = setTimeout(() => outgoing.destroy(new Error(`no answer within ${request.timeoutMs} ms`)), request.timeoutMs);
    outgoing.on('socket', (socket) => {
      // Else a watch on a machine that was cut off would look alive until it is idle for too long.
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
      if (!socket.connecting) maybeSent = true;
      else socket.once(this.#tls ? 'secureConnect' : 'connect', () => (maybeSent = true));
    });
    outgoing.on('response', (response) => {
      clearTimeout(headTimer);
      resolve({ response });
    });
    // Stays after the answer's head too: what destroys the request then must not end the process.
    outgoing.on('error', (cause) => {
      clearTimeout(headTimer);
      const message = signal.aborted ? `no answer within ${request.timeoutMs} ms` : messageOf(cause);
      reject(new TransportError(message, { maybeSent, cause }));
    });
    outgoing.end(request.body);
    return promise;
  }

  /** Plugins of a kubeconfig are programs: they may hang. */
  async #credentials(options: { readonly renewed: boolean }, timeoutMs: number): Promise<Credentials> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error(`no credentials within ${timeoutMs} ms`)), timeoutMs);
    try {
      return await Promise.race([this.#connection.credentials(options), late]);
    } catch (cause) {
      throw new TransportError(`credentials cannot be had: ${messageOf(cause)}`, { maybeSent: false, cause });
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The text of an answer. An answer that is cut off ends in an error, not early. */
async function* pieces(response: http.IncomingMessage): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8');
  for await (const piece of response) yield decoder.write(piece as Buffer);
  yield decoder.end();
}

async function* linesOf(
  response: http.IncomingMessage,
  on: { readonly onPiece: () => void; readonly onEnd: () => void },
): AsyncGenerator<string> {
  let rest = '';
  try {
    for await (const piece of pieces(response)) {
      on.onPiece();
      rest += piece;
      for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
        const line = rest.slice(0, end);
        rest = rest.slice(end + 1);
        if (line.trim() !== '') yield line;
      }
      if (rest.length > LARGEST_LINE_BYTES) throw new Error(`a line is longer than ${LARGEST_LINE_BYTES} bytes`);
    }
    if (rest.trim() !== '') yield rest;
  } catch (cause) {
    throw new TransportError(messageOf(cause), { maybeSent: true, cause });
  } finally {
    on.onEnd();
    response.destroy();
  }
}

function messageOf(cause: unknown): string {
  // Node joins what several addresses said in an AggregateError without a message of its own.
  if (cause instanceof AggregateError && cause.message === '') return messageOf(cause.errors[0]);
  return cause instanceof Error ? cause.message : String(cause);
}
