/**
 * Messages with open files in them, between processes of one machine: AF_UNIX sockets of type SOCK_SEQPACKET, whose
 * messages arrive whole or not at all, with descriptors attached by SCM_RIGHTS. Nothing here blocks; a Poller tells when
 * to try again. Every descriptor made here is close-on-exec.
 *
 * The layouts are those of struct msghdr and struct cmsghdr on 64-bit Linux.
 */
import fs from 'node:fs';
import path from 'node:path';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { closeDescriptor } from './files.ts';
import { systemCall } from './libc.ts';
import { Structure } from './structure.ts';
import { isSystemError, storeErrorOf } from './system-error.ts';

export interface Message {
  readonly bytes: Uint8Array;
  /** They belong to the receiver, who closes them. */
  readonly descriptors: readonly number[];
}

export const maximumDescriptors = 64;
export const maximumMessageBytes = 64 * 1024;

/**
 * Listens at `socketPath`. The socket is bound under a temporary name, made private to this user and renamed, so that
 * whoever finds the path can connect at once; a dead socket there is replaced. Whether a live one is there is the
 * caller's to know.
 */
export function listen(socketPath: string, options: { readonly backlog: number }): number {
  const temporaryPath = `${socketPath}.${process.pid}.new`;
  const socket = openSocket();
  try {
    fs.rmSync(temporaryPath, { force: true });
    withAddress(temporaryPath, (address, length) => systemCall('bind', socket, address, length));
    fs.chmodSync(temporaryPath, 0o600);
    systemCall('listen', socket, options.backlog);
    fs.renameSync(temporaryPath, socketPath);
    return socket;
  } catch (error) {
    closeDescriptor(socket);
    fs.rmSync(temporaryPath, { force: true });
    throw storeErrorOf(error, `cannot listen at ${socketPath}`);
  }
}

/** Connects, or throws a StoreError `unavailable` when nobody listens or the queue is full. */
export function connect(socketPath: string): number {
  const socket = openSocket();
  try {
    withAddress(socketPath, (address, length) => systemCall('connect', socket, address, length));
    return socket;
  } catch (error) {
    closeDescriptor(socket);
    throw new StoreError('unavailable', `nobody answers at ${socketPath}`, { cause: error });
  }
}

/** The next connection, or null when there is none. */
export function accept(listener: number): number | null {
  return unlessNotReady(() => systemCall('accept4', listener, 0, 0, closeOnExec | nonBlocking));
}

/** Sends one message; false when the receiver's queue is full. Throws a SystemError when the other side is gone. */
export function send(socket: number, message: Message): boolean {
  assert(message.bytes.length > 0 && message.bytes.length <= maximumMessageBytes, 'a message has 1 byte to 64 KiB');
  assert(message.descriptors.length <= maximumDescriptors, 'a message carries at most 64 descriptors');
  const payload = new Structure(message.bytes.length);
  payload.bytes.set(message.bytes);
  const control = controlOf(message.descriptors);
  const header = new MessageHeader(payload, control);
  return unlessNotReady(() => systemCall('sendmsg', socket, header.address, doNotWait | noSignal)) !== null;
}

/** One message, 'nothing' when none waits, or 'closed' when the other side is gone. */
export function receive(socket: number): Message | 'nothing' | 'closed' {
  const payload = new Structure(maximumMessageBytes);
  const control = new Structure(controlHeaderBytes + 4 * maximumDescriptors);
  const header = new MessageHeader(payload, control);
  let length: number | null;
  try {
    length = unlessNotReady(() => systemCall('recvmsg', socket, header.address, doNotWait | receiveCloseOnExec));
  } catch (error) {
    if (isSystemError(error, 'ECONNRESET', 'EPIPE')) return 'closed';
    throw error;
  }
  if (length === null) return 'nothing';
  const descriptors = descriptorsIn(control, header.controlBytes);
  if ((header.flags & (truncated | controlTruncated)) !== 0) {
    for (const descriptor of descriptors) closeDescriptor(descriptor);
    throw new StoreError('failed-precondition', 'a message on a unix socket was longer than the protocol allows');
  }
  if (length === 0) return 'closed';
  return { bytes: payload.bytes.subarray(0, length), descriptors };
}

/** struct msghdr with one piece of payload; what it points to is reachable through it. */
class MessageHeader {
  readonly #header = new Structure(56);
  readonly #vector = new Structure(16);
  readonly #parts: readonly (Structure | null)[];

  constructor(payload: Structure, control: Structure | null) {
    this.#parts = [payload, control];
    this.#vector.view.setBigUint64(0, BigInt(payload.address), true);
    this.#vector.view.setBigUint64(8, BigInt(payload.bytes.length), true);
    this.#header.view.setBigUint64(16, BigInt(this.#vector.address), true);
    this.#header.view.setBigUint64(24, 1n, true);
    this.#header.view.setBigUint64(32, BigInt(control?.address ?? 0), true);
    this.#header.view.setBigUint64(40, BigInt(control?.bytes.length ?? 0), true);
  }

  get address(): number {
    assert(this.#parts.length === 2, 'a header has payload and control');
    return this.#header.address;
  }

  /** After a receive: how much of the control memory is in use. */
  get controlBytes(): number {
    return Number(this.#header.view.getBigUint64(40, true));
  }

  get flags(): number {
    return this.#header.view.getInt32(48, true);
  }
}

function controlOf(descriptors: readonly number[]): Structure | null {
  if (descriptors.length === 0) return null;
  const length = controlHeaderBytes + 4 * descriptors.length;
  const control = new Structure(Math.ceil(length / 8) * 8);
  control.view.setBigUint64(0, BigInt(length), true);
  control.view.setInt32(8, socketLevel, true);
  control.view.setInt32(12, rights, true);
  for (const [index, descriptor] of descriptors.entries()) control.view.setInt32(controlHeaderBytes + 4 * index, descriptor, true);
  return control;
}

function descriptorsIn(control: Structure, controlBytes: number): number[] {
  if (controlBytes < controlHeaderBytes) return [];
  const isRights = control.view.getInt32(8, true) === socketLevel && control.view.getInt32(12, true) === rights;
  assert(isRights, 'only descriptors come as control messages, because nothing else was asked for');
  const count = (Number(control.view.getBigUint64(0, true)) - controlHeaderBytes) / 4;
  return Array.from({ length: count }, (_, index) => control.view.getInt32(controlHeaderBytes + 4 * index, true));
}

function openSocket(): number {
  return systemCall('socket', unixFamily, sequencedPackets | closeOnExec | nonBlocking, 0);
}

/** A socket address holds 107 bytes of path; going through the folder's descriptor lifts that limit for the folder. */
function withAddress(socketPath: string, use: (address: number, lengthBytes: number) => void): void {
  const folder = fs.openSync(path.dirname(socketPath), pathOnly | fs.constants.O_DIRECTORY);
  try {
    const name = Buffer.from(`/proc/self/fd/${folder}/${path.basename(socketPath)}`);
    if (name.length > maximumPathBytes)
      throw new StoreError('invalid-argument', `the socket's name is too long: ${path.basename(socketPath)}`);
    const address = new Structure(2 + name.length + 1);
    address.view.setUint16(0, unixFamily, true);
    address.bytes.set(name, 2);
    use(address.address, address.bytes.length);
  } finally {
    closeDescriptor(folder);
  }
}

function unlessNotReady(call: () => number): number | null {
  try {
    return call();
  } catch (error) {
    if (isSystemError(error, 'EAGAIN', 'EWOULDBLOCK')) return null;
    throw error;
  }
}

const unixFamily = 1; // AF_UNIX
const sequencedPackets = 5; // SOCK_SEQPACKET
const closeOnExec = 0o2000000; // SOCK_CLOEXEC
const nonBlocking = 0o4000; // SOCK_NONBLOCK
const doNotWait = 0x40; // MSG_DONTWAIT
const noSignal = 0x4000; // MSG_NOSIGNAL
const receiveCloseOnExec = 0x40000000; // MSG_CMSG_CLOEXEC
const truncated = 0x20; // MSG_TRUNC
const controlTruncated = 0x8; // MSG_CTRUNC
const socketLevel = 1; // SOL_SOCKET
const rights = 1; // SCM_RIGHTS
const controlHeaderBytes = 16;
const maximumPathBytes = 107;
const pathOnly = 0o10000000; // O_PATH
