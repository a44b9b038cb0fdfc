/**
 * One io_uring, driven by one thread. Nothing is allocated after construction: offsets, addresses and user data are
 * 32-bit words, so that no number needs a box on V8's heap.
 *
 * Invariants. Only the thread that made the ring touches it. Every operation names its file by an index in the table of
 * registered files. A full submission ring is handed to the kernel, never overrun. A completion is seen once.
 * Numbers are from linux/io_uring.h.
 */
import koffi from 'koffi';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { closeDescriptor } from './files.ts';
import { rawSystemCall, systemCall, systemCallNumber } from './libc.ts';
import { Structure } from './structure.ts';
import { SystemError, errnoName } from './system-error.ts';

export interface RingOptions {
  /** Operations that can be prepared before the kernel must be called; a power of two. */
  readonly entries: number;
  /** Completions that fit before the kernel keeps them on a slower list; a power of two. */
  readonly completions: number;
  /** Size of the table of registered files. */
  readonly files: number;
  /** How long `enterPatiently` waits at most. */
  readonly patienceMicroseconds: number;
}

/** Places in a vector, at most. */
export const VECTOR_ENTRIES = 256;
/** Memory for what is read and not wanted: so many places of so many bytes. */
export const NOWHERE_PLACES = 512;
export const NOWHERE_PLACE_BYTES = 8 * 1024;

/** Places in memory that one operation fills in this order: struct iovec, in 32-bit words. */
export class Vector {
  readonly words = new Int32Array(VECTOR_ENTRIES * 4);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  clear(): void {
    this.#count = 0;
  }

  push(addressLow: number, addressHigh: number, length: number): void {
    assert(this.#count < VECTOR_ENTRIES, 'a vector is not overrun');
    const at = this.#count++ * 4;
    this.words[at] = addressLow;
    this.words[at + 1] = addressHigh;
    this.words[at + 2] = length;
  }
}

/** An address as an element of an array that holds more than numbers: there V8 keeps it boxed, and passing it on
 * allocates nothing. */
interface KernelArgument {
  readonly address: readonly (number | null)[];
  readonly sizeBytes: number;
}

export class Ring {
  /** What the operation whose completion `next` took was given, and its result: what the system call would have
   * returned, or a negative errno. */
  userData = 0;
  result = 0;
  /** Where the places for what is not wanted lie, one behind another. A place belongs to one operation as long as that is in
   * flight, like any memory that is read into: a file system that checks what the disk brings looks for it there, and one
   * with two copies would repair the sound one from what another operation has put there. */
  readonly nowhereAddress: number;

  readonly #enterNumber = systemCallNumber('io_uring_enter');
  readonly #descriptor: number;
  /** Descriptor or registered index for io_uring_enter, and the flag that says which. */
  readonly #handle: number;
  readonly #handleFlag: number;
  readonly #entries: number;
  readonly #mappings: readonly Mapping[];
  #control: Int32Array;
  #submissions: Int32Array;
  readonly #submissionTail: number;
  /** The vector of each submission, free again when the kernel has taken it (IORING_FEAT_SUBMIT_STABLE, since 5.5). */
  readonly #vectors: Mapping;
  #vectorWords: Int32Array;
  readonly #completionHead: number;
  readonly #completionTail: number;
  readonly #completionMask: number;
  readonly #completions: number;
  readonly #files: number;
  readonly #waitArgument = new Structure(40);
  readonly #patience: KernelArgument;
  readonly #noPatience: KernelArgument = { address: [null, 0], sizeBytes: 0 };
  #tail: number;
  #pending = 0;
  #head: number;
  #end: number;

  constructor(options: RingOptions) {
    const parameters = new Structure(120);
    this.#descriptor = setUp(options, parameters);
    const submissionField = (at: number): number => parameters.view.getUint32(40 + at, true);
    const completionField = (at: number): number => parameters.view.getUint32(80 + at, true);
    this.#entries = parameters.view.getUint32(0, true);
    const completions = parameters.view.getUint32(4, true);
    const ringBytes = Math.max(submissionField(24) + this.#entries * 4, completionField(20) + completions * 16);
    const rings = map(this.#descriptor, ringBytes, offsetRings);
    const submissions = map(this.#descriptor, this.#entries * 64, offsetSubmissions);
    this.#vectors = mapOwn(this.#entries * VECTOR_ENTRIES * 16);
    const nowhere = mapOwn(NOWHERE_PLACES * NOWHERE_PLACE_BYTES);
    this.nowhereAddress = nowhere.address;
    this.#mappings = [rings, submissions, this.#vectors, nowhere];
    this.#vectorWords = new Int32Array(this.#vectors.buffer);
    this.#control = new Int32Array(rings.buffer, 0, ringBytes >> 2);
    this.#submissions = new Int32Array(submissions.buffer);
    this.#submissionTail = submissionField(4) >> 2;
    this.#completionHead = completionField(0) >> 2;
    this.#completionTail = completionField(4) >> 2;
    this.#completions = completionField(20) >> 2;
    this.#completionMask = completions - 1;
    for (let index = 0; index < this.#entries; index++) this.#control[(submissionField(24) >> 2) + index] = index;
    this.#tail = this.#control[this.#submissionTail]!;
    this.#head = this.#control[this.#completionHead]!;
    this.#end = this.#head;
    this.#files = options.files;
    this.#registerFiles(options.files);
    // struct io_uring_getevents_arg, and behind it the timespec that it points to.
    this.#waitArgument.view.setBigUint64(16, BigInt(this.#waitArgument.address + 24), true);
    this.#waitArgument.view.setBigUint64(32, BigInt(options.patienceMicroseconds * 1000), true);
    this.#patience = { address: [null, this.#waitArgument.address], sizeBytes: 24 };
    const index = this.#registerRing();
    this.#handle = index ?? this.#descriptor;
    this.#handleFlag = index === null ? 0 : enterRegistered;
  }

  /** Puts a descriptor at `index` of the table, or takes it out with -1. The table holds the open file itself. */
  setFile(index: number, descriptor: number): void {
    assert(index >= 0 && index < this.#files, `ring: no file index ${index}`);
    const descriptors = new Structure(8);
    descriptors.view.setInt32(0, descriptor, true);
    const update = new Structure(16);
    update.view.setUint32(0, index, true);
    update.view.setBigUint64(8, BigInt(descriptors.address), true);
    systemCall('io_uring_register', this.#descriptor, registerFilesUpdate, update.address, 1);
  }

  /** Pins a range of memory as buffer 0 for the `fixed` operations; at most 1 GiB. Answers null, or the errno's name when
   * the kernel refuses; then plain operations must be used. */
  registerBuffer(address: number, lengthBytes: number): string | null {
    const vector = new Structure(16);
    vector.view.setBigUint64(0, BigInt(address), true);
    vector.view.setBigUint64(8, BigInt(lengthBytes), true);
    const number = systemCallNumber('io_uring_register');
    const result = rawSystemCall(number, this.#descriptor, registerBuffers, vector.address, 1, 0, 0);
    return result === 0 ? null : errnoName(-result);
  }

  read(
    file: number,
    offsetLow: number,
    offsetHigh: number,
    addressLow: number,
    addressHigh: number,
    length: number,
    userData: number,
  ): void {
    this.#prepare(opcodeRead, file, offsetLow, offsetHigh, addressLow, addressHigh, length, 0, userData);
  }

  write(
    file: number,
    offsetLow: number,
    offsetHigh: number,
    addressLow: number,
    addressHigh: number,
    length: number,
    userData: number,
  ): void {
    this.#prepare(opcodeWrite, file, offsetLow, offsetHigh, addressLow, addressHigh, length, 0, userData);
  }

  /** The memory must lie in the registered buffer. */
  readFixed(
    file: number,
    offsetLow: number,
    offsetHigh: number,
    addressLow: number,
    addressHigh: number,
    length: number,
    userData: number,
  ): void {
    this.#prepare(opcodeReadFixed, file, offsetLow, offsetHigh, addressLow, addressHigh, length, 0, userData);
  }

  /** The memory must lie in the registered buffer. */
  writeFixed(
    file: number,
    offsetLow: number,
    offsetHigh: number,
    addressLow: number,
    addressHigh: number,
    length: number,
    userData: number,
  ): void {
    this.#prepare(opcodeWriteFixed, file, offsetLow, offsetHigh, addressLow, addressHigh, length, 0, userData);
  }

  /** Reads what follows each other in the file into places that need not. The vector is the caller's again at once. */
  readVector(file: number, offsetLow: number, offsetHigh: number, vector: Vector, userData: number): void {
    this.#makeRoom();
    const { words, count } = vector;
    const place = (this.#tail & (this.#entries - 1)) * VECTOR_ENTRIES * 4;
    for (let at = 0; at < count * 4; at++) this.#vectorWords[place + at] = words[at]!;
    const address = this.#vectors.address + place * 4;
    this.#prepare(opcodeReadVector, file, offsetLow, offsetHigh, address | 0, Math.floor(address / 4294967296), count, 0, userData);
  }

  /** Completes once, when the file is readable or broken. */
  pollReadable(file: number, userData: number): void {
    this.#prepare(opcodePollAdd, file, 0, 0, 0, 0, 0, pollIn, userData);
  }

  /** Makes the poll that carries `target` complete with ECANCELED. */
  cancelPoll(target: number, userData: number): void {
    this.#prepare(opcodePollRemove, -1, 0, 0, target, 0, 0, 0, userData);
  }

  /** fdatasync. */
  syncData(file: number, userData: number): void {
    this.#prepare(opcodeSync, file, 0, 0, 0, 0, 0, syncDataOnly, userData);
  }

  /** Completes with ETIME after the time at the address: two 64-bit words, seconds and nanoseconds, which must stay. */
  timeout(addressLow: number, addressHigh: number, userData: number): void {
    this.#prepare(opcodeTimeout, -1, 0, 0, addressLow, addressHigh, 1, 0, userData);
  }

  /** Submits what is prepared and waits until at least `waitCount` completions are there; 0 does not wait. */
  enter(waitCount: number): void {
    this.#call(waitCount, enterGetEvents, this.#noPatience);
    this.#end = Atomics.load(this.#control, this.#completionTail);
  }

  /** Submits what is prepared and waits until `waitCount` completions are there or `patienceMicroseconds` are over, which
   * spares wake-ups and doorbells where many operations are in flight. */
  enterPatiently(waitCount: number): void {
    this.#call(waitCount, enterGetEvents | enterExtended, this.#patience);
    this.#end = Atomics.load(this.#control, this.#completionTail);
  }

  /** Takes the next completion of those that the last `enter` found. */
  next(): boolean {
    const head = this.#head;
    if (head === this.#end) return false;
    const at = this.#completions + (head & this.#completionMask) * 4;
    this.userData = this.#control[at]!;
    this.result = this.#control[at + 2]!;
    this.#head = (head + 1) | 0;
    this.#control[this.#completionHead] = this.#head;
    return true;
  }

  /** Operations prepared and not submitted. */
  get pending(): number {
    return this.#pending;
  }

  /** No read into a place that nobody wants is in flight. Ends what else is as the kernel sees fit, and lets go of files and
   * memory, soon after: a mapping would keep the ring, and with it every registered file. The ring must not be used
   * afterwards. */
  close(): void {
    this.#control = new Int32Array(0);
    this.#submissions = new Int32Array(0);
    this.#vectorWords = new Int32Array(0);
    for (const { address, lengthBytes } of this.#mappings) systemCall('munmap', address, lengthBytes);
    closeDescriptor(this.#descriptor);
  }

  #call(waitCount: number, flags: number, patience: KernelArgument): void {
    this.#control[this.#submissionTail] = this.#tail;
    const { address, sizeBytes } = patience;
    const result = rawSystemCall(
      this.#enterNumber,
      this.#handle,
      this.#pending,
      waitCount,
      flags | this.#handleFlag,
      address[1] as number,
      sizeBytes,
    );
    if (result >= 0) this.#pending -= result;
    // ETIME: the time is over; EBUSY and EAGAIN: completions must be taken first, or memory is short; EINTR: a signal.
    else if (result !== -timeIsOver && result !== -interrupted && result !== -busy && result !== -again)
      throw new SystemError('io_uring_enter', -result);
  }

  #prepare(
    opcode: number,
    file: number,
    offsetLow: number,
    offsetHigh: number,
    addressLow: number,
    addressHigh: number,
    length: number,
    flags: number,
    userData: number,
  ): void {
    this.#makeRoom();
    const words = this.#submissions;
    const at = (this.#tail & (this.#entries - 1)) << 4;
    words[at] = file < 0 ? opcode : opcode | fixedFile;
    words[at + 1] = file;
    words[at + 2] = offsetLow;
    words[at + 3] = offsetHigh;
    words[at + 4] = addressLow;
    words[at + 5] = addressHigh;
    words[at + 6] = length;
    words[at + 7] = flags;
    words[at + 8] = userData;
    words[at + 9] = 0;
    words[at + 10] = 0;
    words[at + 11] = 0;
    words[at + 12] = 0;
    words[at + 13] = 0;
    words[at + 14] = 0;
    words[at + 15] = 0;
    this.#tail = (this.#tail + 1) | 0;
    this.#pending++;
  }

  /** For another submission. */
  #makeRoom(): void {
    while (this.#pending === this.#entries) this.#call(0, 0, this.#noPatience);
  }

  #registerFiles(count: number): void {
    const descriptors = new Structure(count * 4);
    new Int32Array(descriptors.bytes.buffer, descriptors.bytes.byteOffset, count).fill(-1);
    systemCall('io_uring_register', this.#descriptor, registerFiles, descriptors.address, count);
  }

  /** Spares io_uring_enter the look-up of the descriptor; kernels before 5.18 cannot. */
  #registerRing(): number | null {
    const update = new Structure(16);
    update.view.setUint32(0, 0xffffffff, true);
    update.view.setBigUint64(8, BigInt(this.#descriptor), true);
    const number = systemCallNumber('io_uring_register');
    const result = rawSystemCall(number, this.#descriptor, registerRingDescriptor, update.address, 1, 0, 0);
    return result === 1 ? update.view.getUint32(0, true) : null;
  }
}

/** Tries the fastest way of working first; older kernels know fewer flags. */
function setUp(options: RingOptions, parameters: Structure): number {
  let result = 0;
  for (const flags of [singleIssuer | deferTaskRun, cooperativeTaskRun, 0]) {
    parameters.bytes.fill(0);
    parameters.view.setUint32(4, options.completions, true);
    parameters.view.setUint32(8, flags | completionSize, true);
    result = rawSystemCall(systemCallNumber('io_uring_setup'), options.entries, parameters.address, 0, 0, 0, 0);
    if (result !== -invalidArgument) break;
  }
  if (result >= 0) return result;
  if (result === -outOfMemory || result === -again || result === -tooManyFiles)
    throw new StoreError(
      'unavailable',
      `no io_uring at the moment (${errnoName(-result)}): the kernel is short of memory or of open files`,
    );
  const message = `io_uring cannot be used here (${errnoName(-result)}): allow it in the container's seccomp profile and in the sysctl kernel.io_uring_disabled`;
  throw new StoreError('failed-precondition', message);
}

interface Mapping {
  readonly address: number;
  readonly lengthBytes: number;
  readonly buffer: ArrayBuffer;
}

function map(descriptor: number, lengthBytes: number, offsetBytes: number): Mapping {
  const address = systemCall('mmap', 0, lengthBytes, readable | writable, shared | populate, descriptor, offsetBytes);
  return { address, lengthBytes, buffer: koffi.view(BigInt(address), lengthBytes) };
}

/** Memory of this process, all of it present. */
function mapOwn(lengthBytes: number): Mapping {
  const address = systemCall('mmap', 0, lengthBytes, readable | writable, own | anonymous | populate, -1, 0);
  return { address, lengthBytes, buffer: koffi.view(BigInt(address), lengthBytes) };
}

const opcodeReadVector = 1; // IORING_OP_READV
const opcodePollAdd = 6;
const opcodePollRemove = 7;
const opcodeReadFixed = 4;
const opcodeWriteFixed = 5;
const opcodeSync = 3;
const opcodeTimeout = 11;
const opcodeRead = 22;
const opcodeWrite = 23;
const fixedFile = 1 << 8; // IOSQE_FIXED_FILE, in the second byte
const syncDataOnly = 1; // IORING_FSYNC_DATASYNC
const pollIn = 1; // POLLIN; POLLERR and POLLHUP always count
const completionSize = 1 << 3; // IORING_SETUP_CQSIZE
const cooperativeTaskRun = 1 << 8; // IORING_SETUP_COOP_TASKRUN
const singleIssuer = 1 << 12; // IORING_SETUP_SINGLE_ISSUER
const deferTaskRun = 1 << 13; // IORING_SETUP_DEFER_TASKRUN
const enterGetEvents = 1; // IORING_ENTER_GETEVENTS
const enterExtended = 8; // IORING_ENTER_EXT_ARG
const enterRegistered = 16; // IORING_ENTER_REGISTERED_RING
const registerBuffers = 0; // IORING_REGISTER_BUFFERS
const registerFiles = 2; // IORING_REGISTER_FILES
const registerFilesUpdate = 6; // IORING_REGISTER_FILES_UPDATE
const registerRingDescriptor = 20; // IORING_REGISTER_RING_FDS
const offsetRings = 0; // IORING_OFF_SQ_RING; one mapping holds both since 5.4
const offsetSubmissions = 0x10000000; // IORING_OFF_SQES
const readable = 1; // PROT_READ
const writable = 2; // PROT_WRITE
const shared = 1; // MAP_SHARED
const own = 2; // MAP_PRIVATE
const anonymous = 0x20; // MAP_ANONYMOUS
const populate = 0x8000; // MAP_POPULATE
const interrupted = 4; // EINTR
const again = 11; // EAGAIN
const outOfMemory = 12; // ENOMEM
const tooManyFiles = 23; // ENFILE
const busy = 16; // EBUSY
const invalidArgument = 22; // EINVAL
const timeIsOver = 62; // ETIME
