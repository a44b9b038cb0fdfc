/**
 * The gRPC edge of the store: proto/store.proto over a StoreService. Every call is logged with its duration; a failure
 * leaves as a status, never with a stack.
 */
import { randomUUID } from 'node:crypto';
import {
  Server,
  status,
  type ServerOptions,
  type UntypedHandleCall,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { CallLimit } from '../../util/call-limit.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import type { CallObserver } from '../../util/metrics.ts';
import { toStatus } from './errors.ts';
import { loadStoreProtocol, type NodeReplyMessage, type NodeRequestMessage, type StoreCallName, type StoreCalls } from './messages.ts';
import type { NodeSessions, NodeSessionStream } from './node-sessions.ts';

type ServiceCallName = Exclude<StoreCallName, 'handOver'>;
export type StoreHandlers = { [Name in ServiceCallName]: (request: StoreCalls[Name]['request']) => Promise<StoreCalls[Name]['response']> };

/** Gives the pool up. `gone` fires when whoever asked does not wait for the answer any more. */
export type HandOverHandler = (
  request: StoreCalls['handOver']['request'],
  options: { readonly gone: AbortSignal },
) => Promise<StoreCalls['handOver']['response']>;

/** What the controller may call, over the network. Nothing here attaches a device or ends the process. */
const CONTROLLER_CALLS: readonly ServiceCallName[] = [
  'getPool',
  'createVolume',
  'deleteVolume',
  'getVolume',
  'findVolume',
  'listVolumes',
  'resizeVolume',
  'revertVolume',
  'createSnapshot',
  'deleteSnapshot',
  'getSnapshot',
  'listSnapshots',
  'getUsage',
  'listUsage',
  'check',
];
/** What else the processes on the store's own node may call. */
const NODE_CALLS: readonly ServiceCallName[] = [
  'attach',
  'detach',
  'startScrub',
  'stopScrub',
  'getScrub',
  'listDamage',
  'startDefragment',
  'stopDefragment',
  'getDefragment',
];

/** A server of all calls, for the unix socket; bound nowhere yet. */
export function createStoreServer(options: {
  readonly service: StoreHandlers;
  readonly nodes: NodeSessions;
  readonly log: Logger;
  readonly observe?: CallObserver;
  /** Missing: this server does not know the call. */
  readonly handOver?: HandOverHandler;
}): Server {
  const { nodes, log, handOver } = options;
  const witness = { ...options, limit: new CallLimit({ maximum: MOST_CALLS }) };
  return createServer(
    {
      ...unaryCalls([...CONTROLLER_CALLS, ...NODE_CALLS], witness),
      ...(handOver !== undefined && { handOver: unary('handOver', handOver, witness) }),
      nodeSession: (call: ServerDuplexStream<NodeReplyMessage, NodeRequestMessage>) => serveNodeSession(call, nodes, log),
    },
    { 'grpc.max_receive_message_length': MAXIMUM_REQUEST_BYTES, 'grpc.max_concurrent_streams': MOST_CALLS },
  );
}

/** A server of the controller's calls only, for tls-listener.ts; bound nowhere yet. All others are unknown to it. */
export function createControllerServer(options: {
  readonly service: StoreHandlers;
  readonly log: Logger;
  readonly observe?: CallObserver;
}): Server {
  return createServer(unaryCalls(CONTROLLER_CALLS, { ...options, limit: new CallLimit({ maximum: MOST_CALLS }) }), {
    'grpc.max_receive_message_length': MAXIMUM_REQUEST_BYTES,
    'grpc.max_concurrent_streams': 256,
    // A controller whose node died must not stay in the count of connections.
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  });
}

/** Requests are names, sizes and a few attributes; only answers are large. */
const MAXIMUM_REQUEST_BYTES = 1024 * 1024;
/** Of one server, over all its connections. */
const MOST_CALLS = 2_048;
/** Requests to a node role that it has not read. It does not read at all then. */
const MOST_UNREAD_REQUESTS = 1_000;

function createServer(implementation: UntypedServiceImplementation, options: ServerOptions): Server {
  const server = new Server(options);
  server.addService(loadStoreProtocol().service, implementation);
  return server;
}

/** Where calls are written down. */
interface Witness {
  readonly limit: CallLimit;
  readonly log: Logger;
  readonly observe?: CallObserver;
}

function unaryCalls(
  names: readonly ServiceCallName[],
  options: Witness & { readonly service: StoreHandlers },
): UntypedServiceImplementation {
  const { service } = options;
  const calls: UntypedServiceImplementation = {};
  const add = <Name extends ServiceCallName>(name: Name): void => {
    calls[name] = unary<Name>(name, (request) => service[name](request), options);
  };
  for (const name of names) add(name);
  return calls;
}

function unary<Name extends StoreCallName>(
  name: Name,
  serve: (request: StoreCalls[Name]['request'], options: { readonly gone: AbortSignal }) => Promise<StoreCalls[Name]['response']>,
  witness: Witness,
): UntypedHandleCall {
  const handle = (call: ServerUnaryCall<StoreCalls[Name]['request'], unknown>, done: sendUnaryData<StoreCalls[Name]['response']>): void => {
    const gone = new AbortController();
    call.on('cancelled', () => gone.abort());
    void answer(name, call.request, (request) => serve(request, { gone: gone.signal }), witness)
      .then(
        (response) => done(null, response),
        (error: unknown) => done(toStatus(error)),
      )
      // The call is lost, and its caller's time limit ends it; all others go on.
      .catch((error: unknown) => witness.log.error({ call: name, err: error }, 'a call could not be answered'));
  };
  return handle as UntypedHandleCall;
}

async function answer<Request, Response>(
  name: string,
  request: Request,
  serve: (request: Request) => Promise<Response>,
  { limit, log, observe }: Witness,
): Promise<Response> {
  const requestId = randomUUID();
  const startedMs = performance.now();
  const about = { requestId, call: name, ...identity(request) };
  try {
    const response = await limit.run(() => serve(request));
    const durationMs = since(startedMs);
    log.debug({ ...about, durationMs }, 'call');
    observe?.({ name, code: 'OK', durationMs });
    return response;
  } catch (error) {
    const durationMs = since(startedMs);
    observe?.({ name, code: status[toStatus(error).code], durationMs });
    if (error instanceof StoreError) log.info({ ...about, durationMs, code: error.code, reason: error.message }, 'call failed');
    else log.error({ ...about, durationMs, err: error }, 'call failed by a bug');
    throw error;
  }
}

function serveNodeSession(call: ServerDuplexStream<NodeReplyMessage, NodeRequestMessage>, nodes: NodeSessions, log: Logger): void {
  const session: NodeSessionStream = {
    send: (request) => {
      // Of a gRPC stream that is a number of messages, not of bytes.
      if (call.writableLength < MOST_UNREAD_REQUESTS) call.write(request);
      // Not destroyed: one that reads again is to hear of it, and open another session.
      else
        call.emit(
          'error',
          Object.assign(new Error('a node role did not read'), {
            code: status.RESOURCE_EXHAUSTED,
            details: 'the node role does not read what it is asked',
          }),
        );
    },
    end: () => void call.end(),
  };
  nodes.opened(session);
  let open = true;
  const close = (): void => {
    if (!open) return;
    open = false;
    nodes.closed(session);
    log.info('node session closed');
  };
  call.on('data', (reply: NodeReplyMessage) => {
    if (reply.requestId === 0) log.info({ node: reply.node }, 'node session opened');
    else nodes.replied(session, reply);
  });
  call.on('end', () => {
    close();
    call.end();
  });
  call.on('cancelled', close);
  call.on('error', close);
}

function identity(request: unknown): Record<string, unknown> {
  const { id, name } = request as { id?: string; name?: string };
  return { ...(id === undefined ? {} : { object: id }), ...(name === undefined ? {} : { name }) };
}

function since(startedMs: number): number {
  return Math.round((performance.now() - startedMs) * 10) / 10;
}
