/**
 * Makes the driver known to the kubelet of this node, by a socket in its plugin folder (pluginregistration v1).
 *
 * The kubelet watches that folder: it calls whatever socket appears there, at its own start all that are there, and
 * takes a driver whose socket is removed off its list. It passes over names that begin with a dot, and a rename onto a
 * name counts as its appearance (pkg/kubelet/pluginmanager/pluginwatcher, Kubernetes 1.34). So the socket is bound under
 * such a name and renamed, which also replaces what a predecessor that was killed has left. After a restart of the
 * kubelet nothing is to be done: it finds the socket and calls again.
 *
 * A refusal is final for the kubelet until the socket appears anew, so the process has to be started again.
 */
import { randomBytes } from 'node:crypto';
import { chmod, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadPackageDefinition, Server, ServerCredentials, type handleUnaryCall, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';

export interface RegistrationOptions {
  /** The kubelet's plugin folder, `<kubelet folder>/plugins_registry` on the node, as this process sees it. */
  readonly folder: string;
  readonly driver: string;
  /** The path of the CSI socket as the kubelet sees it. It must be served already. */
  readonly endpoint: string;
  readonly log: Logger;
  /** The kubelet does not take the driver, and will not ask again by itself. */
  readonly refused: (error: StoreError) => void;
  /** When to warn that the kubelet has not called at all. */
  readonly patienceMs?: number;
}

interface RegistrationStatus {
  readonly pluginRegistered: boolean;
  readonly error: string;
}

const PROTO_FILE = fileURLToPath(new URL('../../proto/pluginregistration.proto', import.meta.url));
/** The address of a unix socket in Linux, without its terminator. */
const LONGEST_SOCKET_PATH_BYTES = 107;
/** Of CSI: the kubelet looks at the first number only, and takes 1. */
const CSI_VERSIONS = ['1.0.0'];
const PATIENCE_MS = 60_000;

export class Registration {
  readonly #options: RegistrationOptions;
  readonly #server: Server;
  readonly #socketPath: string;
  readonly #patience: NodeJS.Timeout;
  #inode: number | null = null;
  #state: 'not asked' | 'asked' | 'registered' | 'refused' = 'not asked';

  private constructor(options: RegistrationOptions) {
    this.#options = options;
    this.#socketPath = path.join(options.folder, `${options.driver}-reg.sock`);
    this.#server = this.#createServer();
    this.#patience = setTimeout(() => this.#warn(), options.patienceMs ?? PATIENCE_MS).unref();
  }

  /** Resolves once the kubelet may call. `failed-precondition` when the folder is not there, or its path is too long. */
  static async start(options: RegistrationOptions): Promise<Registration> {
    const registration = new Registration(options);
    try {
      await registration.#listen();
    } catch (error) {
      await registration.stop();
      throw error;
    }
    return registration;
  }

  /** Resolves when the kubelet has taken the driver; `unavailable` while it has not. */
  async check(): Promise<void> {
    if (this.#state === 'registered') return;
    const why =
      this.#state === 'refused' ? 'it refused the driver' : this.#state === 'asked' ? 'it has not answered yet' : 'it has not asked yet';
    throw new StoreError('unavailable', `not registered with the kubelet: ${why}`);
  }

  /** `unavailable` when the socket's name leads nowhere any more, so that the kubelet has forgotten the driver. */
  async checkSocket(): Promise<void> {
    if ((await inodeOf(this.#socketPath)) === null) throw new StoreError('unavailable', `the socket ${this.#socketPath} was removed`);
  }

  /** Takes the driver off the kubelet's list, unless another process has registered it since. */
  async stop(): Promise<void> {
    clearTimeout(this.#patience);
    // Our inode is not given to another file while the socket is open, so equal numbers mean the same socket.
    if (this.#inode !== null && (await inodeOf(this.#socketPath)) === this.#inode) await rm(this.#socketPath, { force: true });
    this.#inode = null;
    this.#server.forceShutdown();
  }

  async #listen(): Promise<void> {
    const { folder, log } = this.#options;
    const temporaryPath = path.join(folder, `.${path.basename(this.#socketPath)}.${randomBytes(4).toString('hex')}`);
    if (Buffer.byteLength(temporaryPath) > LONGEST_SOCKET_PATH_BYTES)
      throw new StoreError('failed-precondition', `the folder ${folder} is too long for a unix socket in it; mount it at a shorter path`);
    // It is the kubelet's: a folder of our own making would be one that nobody watches.
    if (!(await stat(folder).catch(() => null))?.isDirectory())
      throw new StoreError('failed-precondition', `there is no folder ${folder}; it must be the kubelet's plugins_registry`);
    await new Promise<void>((resolve, reject) => {
      this.#server.bindAsync(`unix:${temporaryPath}`, ServerCredentials.createInsecure(), (error) => {
        if (error === null) resolve();
        else reject(new StoreError('unavailable', `cannot listen at ${temporaryPath}: ${error.message}`, { cause: error }));
      });
    });
    await chmod(temporaryPath, 0o600);
    this.#inode = await inodeOf(temporaryPath);
    await rename(temporaryPath, this.#socketPath);
    log.info({ socket: this.#socketPath, endpoint: this.#options.endpoint }, 'the kubelet may register the driver');
  }

  #createServer(): Server {
    const getInfo: handleUnaryCall<object, object> = (_call, done) => {
      // After a restart of the kubelet it asks again; what it had said stays true until it says otherwise.
      if (this.#state === 'not asked') this.#state = 'asked';
      clearTimeout(this.#patience);
      const { driver, endpoint } = this.#options;
      done(null, { type: 'CSIPlugin', name: driver, endpoint, supportedVersions: CSI_VERSIONS });
    };
    const notifyRegistrationStatus: handleUnaryCall<RegistrationStatus, object> = (call, done) => {
      done(null, {});
      this.#notified(call.request);
    };
    const server = new Server();
    server.addService(loadService(), { getInfo, notifyRegistrationStatus });
    return server;
  }

  #notified({ pluginRegistered, error }: RegistrationStatus): void {
    const { log, driver, refused } = this.#options;
    if (pluginRegistered) {
      this.#state = 'registered';
      log.info({ driver }, 'registered with the kubelet');
      return;
    }
    this.#state = 'refused';
    log.error({ driver, reason: error }, 'the kubelet does not register the driver');
    refused(new StoreError('unavailable', `the kubelet does not register ${driver}: ${error === '' ? 'it gives no reason' : error}`));
  }

  #warn(): void {
    const { log, folder } = this.#options;
    log.warn({ folder }, 'the kubelet has not asked for the driver yet; is this folder the plugins_registry of its --root-dir?');
  }
}

async function inodeOf(file: string): Promise<number | null> {
  return (await stat(file).catch(() => null))?.ino ?? null;
}

function loadService(): ServiceDefinition {
  const definition = loadPackageDefinition(loadSync(PROTO_FILE, { enums: String, defaults: true }));
  const { Registration: service } = definition['pluginregistration'] as Record<string, unknown>;
  assert(typeof service === 'function' && 'service' in service, `${PROTO_FILE} defines the service Registration`);
  return service.service as ServiceDefinition;
}
