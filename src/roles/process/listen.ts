/**
 * Sockets for gRPC servers. A socket is bound under a temporary name and renamed, so that its name always leads to a
 * server that serves, and nobody unlinks another's. Temporary names differ from process to process: Node removes the
 * name that it bound when the server closes, which would be a successor's if both bound the same one.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { ServerCredentials, type Server } from '@grpc/grpc-js';
import { StoreError } from '../../util/errors.ts';

/** sockaddr_un holds 108 bytes with the zero at its end. */
const LONGEST_SOCKET_PATH_BYTES = 107;
const TEMPORARY_SUFFIX_BYTES = 9;

/** Serves on a unix socket for this user alone; the folder is made. */
export async function listenOnSocket(server: Server, socketPath: string): Promise<void> {
  checkSocketPath(socketPath);
  fs.mkdirSync(path.dirname(socketPath), { recursive: true });
  const temporary = temporaryNameOf(socketPath);
  await bind(server, `unix://${temporary}`);
  fs.chmodSync(temporary, 0o600);
  fs.renameSync(temporary, socketPath);
}

/** A name beside the socket's that nobody else has. */
export function temporaryNameOf(socketPath: string): string {
  return `${socketPath}.${randomBytes(4).toString('hex')}`;
}

/** Names the remedy while there is time: the kernel would only say EINVAL. */
export function checkSocketPath(socketPath: string): void {
  const bytes = Buffer.byteLength(socketPath) + TEMPORARY_SUFFIX_BYTES;
  if (bytes > LONGEST_SOCKET_PATH_BYTES) {
    throw new StoreError(
      'invalid-argument',
      `${socketPath} is too long for a unix socket (${bytes} bytes of ${LONGEST_SOCKET_PATH_BYTES}): choose a shorter folder`,
    );
  }
}

function bind(server: Server, target: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(target, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(new StoreError('unavailable', `cannot listen on ${target}: ${error.message}`, { cause: error }));
    });
  });
}

/** Lets the calls under way end, but not for longer than the limit. */
export async function closeServer(server: Server, options: { readonly timeoutMs: number }): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    server.forceShutdown();
    resolve();
  }, options.timeoutMs);
  server.tryShutdown(() => resolve());
  await promise;
  clearTimeout(timer);
}
