/**
 * Serves a gRPC server on TCP, to one kind of peer only: whoever holds a certificate of the believed authorities with the
 * expected name, and a key for it. gRPC sees a connection only after that; to all others nothing is said but what a TLS 1.3
 * handshake says, and what they cost is bounded in number and time.
 *
 * Certificates and authorities follow the identity while the listener runs. Connections under way go on with what they
 * began with, until the peer's certificate expires or its authority is believed no more. Sessions cannot be resumed,
 * because a resumed one would pass without its certificate being looked at again.
 */
import type { X509Certificate } from 'node:crypto';
import type { AddressInfo, Socket } from 'node:net';
import { createServer, type TLSSocket, type Server as TlsServer } from 'node:tls';
import { ServerCredentials, type Server as GrpcServer } from '@grpc/grpc-js';
import { systemClock } from '../../util/clock.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import type { TlsIdentity, TlsMaterial } from '../../util/tls-identity.ts';
import { contextOptionsOf, isBelieved } from './tls-context.ts';

export interface TlsListenerLimits {
  /** Until a peer has shown who it is. */
  readonly handshakeTimeoutMs: number;
  /** Connections whose peer is not known yet. One more ends the oldest: an honest handshake is over in milliseconds. */
  readonly handshakes: number;
  /** Connections of known peers. One more is refused. */
  readonly connections: number;
  /** Between two lines of the log about refusals. */
  readonly logIntervalMs: number;
}

const LIMITS: TlsListenerLimits = { handshakeTimeoutMs: 5_000, handshakes: 32, connections: 64, logIntervalMs: 10_000 };

export interface TlsListenerOptions {
  readonly server: GrpcServer;
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** While it has nothing, connections are closed at once. */
  readonly identity: TlsIdentity;
  /** The one DNS name that a peer's certificate must have. */
  readonly peerName: string;
  readonly log: Logger;
  readonly limits?: Partial<TlsListenerLimits>;
}

/** Errors: unavailable, when the address cannot be had. */
export async function listenWithTls(options: TlsListenerOptions): Promise<TlsListener> {
  const listener = new TlsListener(options);
  await listener.listen(options);
  return listener;
}

export class TlsListener {
  readonly #server: TlsServer;
  readonly #identity: TlsIdentity;
  readonly #peerName: string;
  readonly #limits: TlsListenerLimits;
  readonly #log: Logger;
  readonly #refusals: RefusalLog;
  /** Connections whose handshake is not over, oldest first. */
  readonly #handshakes = new Map<string, Socket>();
  readonly #peers = new Map<TLSSocket, X509Certificate>();
  readonly #inject: (connection: TLSSocket) => void;
  #material: TlsMaterial | null;
  #endOfChanges: () => void = () => {};

  constructor(options: TlsListenerOptions) {
    const { server, identity, peerName, log } = options;
    this.#identity = identity;
    this.#peerName = peerName;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#log = log;
    this.#refusals = new RefusalLog({ log, intervalMs: this.#limits.logIntervalMs });
    this.#material = identity.current();
    this.#server = createServer({
      ...contextOptionsOf(this.#material),
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2'],
      handshakeTimeout: this.#limits.handshakeTimeoutMs,
    });
    // The connections that gRPC is given are encrypted and known already.
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#inject = (connection) => injector.injectConnection(connection);
    this.#server.prependListener('connection', (socket: Socket) => this.#connected(socket));
    this.#server.on('secureConnection', (socket: TLSSocket) => this.#handshakeDone(socket));
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => this.#handshakeFailed(error, socket));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async listen({ host, port }: { readonly host: string; readonly port: number }): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => {
        reject(new StoreError('unavailable', `cannot listen on ${host}:${port}: ${error.message}`, { cause: error }));
      });
      this.#server.listen({ host, port }, () => resolve());
    });
    this.#server.on('error', (error) => this.#log.error({ err: error }, 'the TCP listener failed'));
    this.#endOfChanges = this.#identity.onChange(() => this.#identityChanged());
  }

  /** Takes no more connections. Those of known peers are the gRPC server's to end. */
  close(): void {
    this.#endOfChanges();
    this.#server.close();
    for (const socket of this.#handshakes.values()) socket.destroy();
    this.#refusals.close();
  }

  #connected(socket: Socket): void {
    if (this.#material === null) {
      this.#refusals.add(socket.remoteAddress, 'there is no certificate yet');
      socket.destroy();
      return;
    }
    const [oldest] = this.#handshakes.values();
    if (oldest !== undefined && this.#handshakes.size >= this.#limits.handshakes) {
      this.#refusals.add(oldest.remoteAddress, 'too many connections did not say who they are');
      oldest.destroy();
    }
    const key = keyOf(socket);
    this.#handshakes.set(key, socket);
    socket.once('close', () => {
      if (this.#handshakes.get(key) === socket) this.#handshakes.delete(key);
    });
  }

  #handshakeFailed(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    const reason = socket.authorizationError ?? error.code ?? 'unknown';
    this.#refusals.add(socket.remoteAddress, `the handshake failed: ${String(reason)}`);
    socket.destroy();
  }

  #handshakeDone(socket: TLSSocket): void {
    this.#handshakes.delete(keyOf(socket));
    // Until it has a listener, an error would end the process.
    socket.on('error', (error) => this.#log.debug({ reason: error.message }, 'a connection ended with an error'));
    const certificate = socket.getPeerX509Certificate();
    const refusal = this.#refusalOf(socket, certificate);
    if (refusal !== null || certificate === undefined) {
      this.#refusals.add(socket.remoteAddress, refusal ?? 'no certificate');
      socket.destroy();
      return;
    }
    const cancelExpiry = systemClock.after(certificate.validToDate.getTime() - Date.now(), () => socket.destroy());
    this.#peers.set(socket, certificate);
    socket.once('close', () => {
      cancelExpiry();
      this.#peers.delete(socket);
    });
    this.#inject(socket);
  }

  #refusalOf(socket: TLSSocket, certificate: X509Certificate | undefined): string | null {
    if (!socket.authorized || certificate === undefined) return 'the peer is not authorised';
    if (certificate.subjectAltName !== `DNS:${this.#peerName}`) {
      return `its certificate is for ${certificate.subjectAltName ?? 'nobody'}, not for ${this.#peerName}`;
    }
    if (socket.alpnProtocol !== 'h2') return 'it does not speak HTTP/2';
    if (this.#peers.size >= this.#limits.connections) return `there are ${this.#peers.size} connections already`;
    return null;
  }

  #identityChanged(): void {
    const material = this.#identity.current();
    if (material === null) return;
    try {
      this.#server.setSecureContext(contextOptionsOf(material));
    } catch (error) {
      this.#log.error({ err: error }, 'a new certificate cannot be used; the former one stays');
      return;
    }
    this.#material = material;
    for (const [socket, certificate] of this.#peers) {
      if (isBelieved(certificate, material)) continue;
      this.#refusals.add(socket.remoteAddress, 'its authority is believed no more');
      socket.destroy();
    }
  }
}

/** The same for a connection and for the TLS layer on it. */
function keyOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress}`;
}

/** One line for many refusals: whoever knocks must not fill the log. */
class RefusalLog {
  readonly #log: Logger;
  readonly #intervalMs: number;
  #timer: NodeJS.Timeout | null = null;
  #suppressed = 0;

  constructor(options: { readonly log: Logger; readonly intervalMs: number }) {
    this.#log = options.log;
    this.#intervalMs = options.intervalMs;
  }

  add(peer: string | undefined, reason: string): void {
    if (this.#timer !== null) {
      this.#suppressed++;
      return;
    }
    this.#log.warn({ peer, reason }, 'a connection was refused');
    this.#timer = setTimeout(() => this.#endInterval(), this.#intervalMs).unref();
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #endInterval(): void {
    this.#timer = null;
    if (this.#suppressed > 0) this.#log.warn({ connections: this.#suppressed }, 'more connections were refused');
    this.#suppressed = 0;
  }
}
