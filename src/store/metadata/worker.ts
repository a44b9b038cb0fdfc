/**
 * The metadata worker: LMDB on a thread of its own, because commits flush twice and cold pages fault. It answers each
 * message of the data thread in turn and then signals that thread's eventfd. Whatever goes wrong becomes an error of the
 * answer; the engine decides what it means.
 */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { signalEvent } from '../../linux/eventfd.ts';
import { assert } from '../../util/assert.ts';
import { MetadataEnvironment, type MetadataSpace } from './environment.ts';
import { packRows, unpackRows, type MetadataReply, type MetadataRequest } from './messages.ts';

export interface MetadataWorkerData {
  readonly folder: string;
  readonly port: MessagePort;
  /** Added to after each answer; -1 for none. */
  readonly wakeDescriptor: number;
}

const { folder, port, wakeDescriptor } = workerData as MetadataWorkerData;
let environment: MetadataEnvironment | null = null;

port.on('message', (request: MetadataRequest) => {
  void answer(request).then(({ reply, transfer }) => {
    port.postMessage(reply, transfer);
    if (wakeDescriptor >= 0) signalEvent(wakeDescriptor);
    if (request.kind === 'close') port.close();
  });
});

interface Answer {
  readonly reply: MetadataReply;
  readonly transfer: ArrayBuffer[];
}

async function answer(request: MetadataRequest): Promise<Answer> {
  try {
    return await serve(request);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { reply: { id: request.id, error: `metadata in ${folder}: ${request.kind}: ${reason}` }, transfer: [] };
  }
}

async function serve(request: MetadataRequest): Promise<Answer> {
  const { id } = request;
  if (request.kind === 'load') {
    environment ??= new MetadataEnvironment(folder);
    const objects = packRows(environment.readAll('objects'));
    const seals = packRows(environment.readAll('seals'));
    const erasures = packRows(environment.readAll('erasures'));
    const reply = { id, error: null, pool: environment.read('pool', 0), objects, seals, erasures };
    return { reply, transfer: [objects.bytes.buffer, seals.bytes.buffer, erasures.bytes.buffer] };
  }
  if (request.kind === 'close') {
    await environment?.close();
    environment = null;
    return { reply: { id, error: null }, transfer: [] };
  }
  assert(environment !== null, 'metadata is loaded before it is read or written');
  if (request.kind === 'read') {
    const rows = environment.readPacked(request.table, request.keys, request.memory);
    return { reply: { id, error: null, rows }, transfer: [rows.bytes.buffer] };
  }
  if (request.kind === 'space') return { reply: { id, error: null, space: environment.reserve() }, transfer: [] };
  const rows = unpackRows(request.rows);
  const space = reserveIfPossible(environment, request.rows.bytes.length);
  environment.commit(rows.map((row, index) => ({ ...row, table: request.tables[index]! })));
  return { reply: { id, error: null, space }, transfer: [] };
}

/** Whatever goes wrong with it: the commit shows whether there is room. */
function reserveIfPossible(opened: MetadataEnvironment, nextBytes: number): MetadataSpace | null {
  try {
    return opened.reserve(nextBytes);
  } catch {
    return null;
  }
}

// Whoever started it may go on: what takes long is loaded.
parentPort?.postMessage('loaded');
