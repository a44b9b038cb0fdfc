/**
 * The gRPC edge of the store: proto/store.proto over a StoreService. Every call is logged with its duration; a failure
 * leaves as a status, never with a stack.
 */
import { randomUUID } from 'node:crypto';
import {
  Server,
  type UntypedHandleCall,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { toStatus } from './errors.ts';
import {
  loadStoreProtocol,
  MAXIMUM_MESSAGE_BYTES,
  type NodeReplyMessage,
  type NodeRequestMessage,
  type StoreCallName,
  type StoreCalls,
} from './messages.ts';
import type { NodeSessions, NodeSessionStream } from './node-sessions.ts';

type ServiceCallName = Exclude<StoreCallName, 'handOver'>;
export type StoreHandlers = { [Name in ServiceCallName]: (request: StoreCalls[Name]['request']) => Promise<StoreCalls[Name]['response']> };

/** Gives the pool up. `gone` fires when whoever asked does not wait for the answer any more. */
export type HandOverHandler = (
  request: StoreCalls['handOver']['request'],
  options: { readonly gone: AbortSignal },
) => Promise<StoreCalls['handOver']['response']>;

/** A server of the store's calls that is bound nowhere yet. */
export function createStoreServer(options: {
  readonly service: StoreHandlers;
  readonly nodes: NodeSessions;
  readonly log: Logger;
  /** Missing: this server does not know the call. */
  readonly handOver?: HandOverHandler;
}): Server {
  const { service, nodes, log, handOver } = options;
  const server = new Server({ 'grpc.max_receive_message_length': MAXIMUM_MESSAGE_BYTES });
  const unary = <Name extends StoreCallName>(
    name: Name,
    serve: (request: StoreCalls[Name]['request'], options: { readonly gone: AbortSignal }) => Promise<StoreCalls[Name]['response']>,
  ): UntypedHandleCall => {
    const handle = (
      call: ServerUnaryCall<StoreCalls[Name]['request'], unknown>,
      done: sendUnaryData<StoreCalls[Name]['response']>,
    ): void => {
      const gone = new AbortController();
      call.on('cancelled', () => gone.abort());
      void answer(name, call.request, (request) => serve(request, { gone: gone.signal }), log).then(
        (response) => done(null, response),
        (error: unknown) => done(toStatus(error)),
      );
    };
    return handle as UntypedHandleCall;
  };
  const implementation: UntypedServiceImplementation = {
    nodeSession: (call: ServerDuplexStream<NodeReplyMessage, NodeRequestMessage>) => serveNodeSession(call, nodes, log),
  };
  const add = <Name extends ServiceCallName>(name: Name): void => {
    implementation[name] = unary(name, (request) => service[name](request));
  };
  for (const name of CALL_NAMES) add(name);
  if (handOver !== undefined) implementation['handOver'] = unary('handOver', handOver);
  server.addService(loadStoreProtocol().service, implementation);
  return server;
}

const CALL_NAMES: readonly ServiceCallName[] = [
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
  'attach',
  'detach',
  'getUsage',
  'listUsage',
  'check',
];

async function answer<Request, Response>(
  name: string,
  request: Request,
  serve: (request: Request) => Promise<Response>,
  log: Logger,
): Promise<Response> {
  const requestId = randomUUID();
  const startedMs = performance.now();
  const about = { requestId, call: name, ...identity(request) };
  try {
    const response = await serve(request);
    log.debug({ ...about, durationMs: since(startedMs) }, 'call');
    return response;
  } catch (error) {
    const durationMs = since(startedMs);
    if (error instanceof StoreError) log.info({ ...about, durationMs, code: error.code, reason: error.message }, 'call failed');
    else log.error({ ...about, durationMs, err: error }, 'call failed by a bug');
    throw error;
  }
}

function serveNodeSession(call: ServerDuplexStream<NodeReplyMessage, NodeRequestMessage>, nodes: NodeSessions, log: Logger): void {
  const session: NodeSessionStream = { send: (request) => void call.write(request), end: () => void call.end() };
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
    else nodes.replied(reply);
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
