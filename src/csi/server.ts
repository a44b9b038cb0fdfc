/**
 * A gRPC server for CSI services on a unix socket. Each call gets an id and one line in the log; errors become statuses
 * through src/csi/status.ts, so that no stack trace leaves the process.
 *
 * The socket is bound under a name of its own and renamed, so that callers always find a socket that is served, also
 * while one process takes over from another; at the end it is removed only if it is still ours.
 */
import { randomBytes } from 'node:crypto';
import { rename, rm, stat } from 'node:fs/promises';
import { Server, ServerCredentials, status, type handleUnaryCall, type ServiceDefinition } from '@grpc/grpc-js';

import type { ServedController } from './controller/controller.ts';
import type { Identity } from './generated/messages.ts';
import type { ServedNode } from './node/node.ts';
import { csiService, loadCsiPackage, type CsiServiceName } from './proto.ts';
import { codeName, toStatus, type CallStatus } from './status.ts';
import { CallLimit } from '../util/call-limit.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import type { CallObserver } from '../util/metrics.ts';

export interface CsiServerOptions {
  readonly identity: Identity;
  readonly controller?: ServedController;
  readonly node?: ServedNode;
  readonly log: Logger;
  readonly newRequestId: () => string;
  readonly nowMs: () => number;
  readonly observe?: CallObserver;
}

/** What the log may tell of a request: names and ids, never secrets or contexts. */
interface Nameable {
  readonly volumeId?: string;
  readonly sourceVolumeId?: string;
  readonly snapshotId?: string;
  readonly name?: string;
}

type Method = (request: object) => Promise<object>;

/** Asked again and again by probes, by the kubelet before each call, and for figures: the log tells only when they fail. */
const POLLED: ReadonlySet<string> = new Set([
  'GetPluginInfo',
  'GetPluginCapabilities',
  'Probe',
  'ControllerGetCapabilities',
  'GetCapacity',
  'NodeGetCapabilities',
  'NodeGetVolumeStats',
]);

/** The address length of a unix socket in Linux (108 bytes with its terminator). */
const MAXIMUM_SOCKET_PATH_BYTES = 107;

/** A request that names thousands of nodes has about one MiB. */
const MAXIMUM_REQUEST_BYTES = 4 * 1024 * 1024;
/** Over all connections. Sidecars make a hundred at once, a kubelet one a volume. */
const MOST_CALLS = 2_048;

export class CsiServer {
  readonly #server: Server;
  readonly #limit = new CallLimit({ maximum: MOST_CALLS });
  readonly #options: CsiServerOptions;
  #socket: { readonly path: string; readonly inode: number } | null = null;
  /** Handlers that still run, also those whose caller has gone. */
  readonly #running = new Set<Promise<void>>();

  constructor(options: CsiServerOptions) {
    this.#options = options;
    this.#server = new Server({
      'grpc.max_receive_message_length': MAXIMUM_REQUEST_BYTES,
      'grpc.max_concurrent_streams': MOST_CALLS,
    });
    const definition = loadCsiPackage();
    const services: readonly (readonly [CsiServiceName, object | undefined])[] = [
      ['Identity', options.identity],
      ['Controller', options.controller],
      ['Node', options.node],
    ];
    for (const [name, service] of services) {
      if (service !== undefined) this.#add(csiService(definition, name), service as Readonly<Record<string, Method | undefined>>);
    }
  }

  /** `endpoint`: "unix:///path/of/csi.sock". Resolves once calls are served there. */
  async listen(endpoint: string): Promise<void> {
    const path = socketPath(endpoint);
    // Not the process's id, which is 1 in every container: Node removes the name that it bound when the server stops,
    // and that must not be a successor's.
    const temporaryPath = `${path}.${randomBytes(4).toString('hex')}`;
    if (Buffer.byteLength(temporaryPath) > MAXIMUM_SOCKET_PATH_BYTES) {
      const excessBytes = Buffer.byteLength(temporaryPath) - MAXIMUM_SOCKET_PATH_BYTES;
      throw new StoreError('invalid-argument', `the socket path ${path} is too long for a unix socket, by ${excessBytes} bytes`);
    }
    await new Promise<void>((resolve, reject) => {
      this.#server.bindAsync(`unix:${temporaryPath}`, ServerCredentials.createInsecure(), (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
    const { ino } = await stat(temporaryPath);
    await rename(temporaryPath, path);
    this.#socket = { path, inode: ino };
  }

  /** Takes no new calls, waits for the running ones up to `timeoutMs`, then ends the connections. */
  async stop(options: { readonly timeoutMs: number }): Promise<void> {
    if (this.#socket !== null) await removeSocket(this.#socket);
    this.#socket = null;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, options.timeoutMs);
    });
    const drained = new Promise<void>((resolve) => {
      this.#server.tryShutdown(() => resolve());
    }).then(() => Promise.allSettled(this.#running));
    await Promise.race([drained, timeout]);
    clearTimeout(timer);
    this.#server.forceShutdown();
  }

  #add(definition: ServiceDefinition, service: Readonly<Record<string, Method | undefined>>): void {
    const handlers: Record<string, handleUnaryCall<object, object>> = {};
    for (const [name, { originalName = name }] of Object.entries(definition)) {
      const method = service[originalName];
      // grpc-js answers the calls that have no handler with UNIMPLEMENTED.
      if (method !== undefined) handlers[originalName] = this.#handler(name, method);
    }
    this.#server.addService(definition, handlers);
  }

  #handler(methodName: string, method: Method): handleUnaryCall<object, object> {
    return (call, callback) => {
      const answer = async (): Promise<void> => {
        const { failure, response } = await this.#run(methodName, method, call.request);
        try {
          callback(failure, response);
        } catch (error) {
          // The call is lost, and its caller's time limit ends it; all others go on.
          this.#options.log.error({ method: methodName, err: error }, `${methodName} could not be answered`);
        }
      };
      const running = answer();
      this.#running.add(running);
      void running.finally(() => this.#running.delete(running));
    };
  }

  async #run(methodName: string, method: Method, request: object): Promise<{ failure: CallStatus | null; response: object | null }> {
    const { log, newRequestId, nowMs } = this.#options;
    const startMs = nowMs();
    const requestId = newRequestId();
    const line = (code: status): object => {
      const durationMs = Math.round(nowMs() - startMs);
      this.#options.observe?.({ name: methodName, code: codeName(code), durationMs });
      return { method: methodName, requestId, ...subjectOf(request), durationMs, code: codeName(code) };
    };
    try {
      const response = await this.#limit.run(() => method(request));
      log[POLLED.has(methodName) ? 'debug' : 'info'](line(status.OK), `${methodName} done`);
      return { failure: null, response };
    } catch (error) {
      const failure = toStatus(error, { method: methodName, requestId });
      const level = failure.code === status.INTERNAL || failure.code === status.DATA_LOSS ? 'error' : 'warn';
      log[level]({ ...line(failure.code), err: error }, `${methodName} failed`);
      return { failure, response: null };
    }
  }
}

function subjectOf(request: Nameable): object {
  const { volumeId, sourceVolumeId, snapshotId, name } = request;
  const subject = { volume: volumeId ?? sourceVolumeId, snapshot: snapshotId, name };
  return Object.fromEntries(Object.entries(subject).filter(([, value]) => value !== undefined && value !== ''));
}

function socketPath(endpoint: string): string {
  const path = /^unix:(?:\/\/)?(\/.+)$/.exec(endpoint)?.[1];
  if (path === undefined)
    throw new StoreError('invalid-argument', `the endpoint ${JSON.stringify(endpoint)} is not of the form unix:///path/of/csi.sock`);
  return path;
}

/** Another process may have put its socket in place of ours by now. */
async function removeSocket(socket: { readonly path: string; readonly inode: number }): Promise<void> {
  const present = await stat(socket.path).catch(() => null);
  if (present?.ino === socket.inode) await rm(socket.path, { force: true });
}
