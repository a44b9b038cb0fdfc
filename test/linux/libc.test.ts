import { afterEach, expect, test } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createEventDescriptor, signalEvent, takeEvents } from '../../src/linux/eventfd.ts';
import {
  Allocation,
  allocate,
  closeDescriptor,
  fileStatus,
  isOpen,
  lock,
  openDevice,
  syncData,
  thaw,
  tryLock,
} from '../../src/linux/files.ts';
import { rawSystemCall, systemCall, systemCallAsync, systemCallNumber } from '../../src/linux/libc.ts';
import { Structure } from '../../src/linux/structure.ts';
import { SystemError, errnoName, storeErrorOf } from '../../src/linux/system-error.ts';
import { eventually } from '../support/eventually.ts';

const limit = { timeoutMs: 1000 };
const opened: number[] = [];
const folders: string[] = [];

afterEach(() => {
  for (const descriptor of opened.splice(0)) closeDescriptor(descriptor);
  for (const folder of folders.splice(0)) fs.rmSync(folder, { recursive: true });
});

function temporaryFile(): { name: string; descriptor: number } {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'libc-'));
  folders.push(folder);
  const name = path.join(folder, 'file');
  const descriptor = fs.openSync(name, 'w+');
  opened.push(descriptor);
  return { name, descriptor };
}

/** An eventfd that blocks its reader until it is signalled: a call that hangs, as one to a dead device does. */
function hangingCall(options: { timeoutMs: number; late?: (result: number) => void }): { event: number; call: Promise<number> } {
  const event = createEventDescriptor({ blocking: true });
  const memory = new Structure(8);
  const call = systemCallAsync('read', [event, memory.address, 8], { purpose: 'hang', memory, descriptors: [event], ...options });
  return { event, call };
}

test('a failed call says its errno by name, in all three forms', async () => {
  expect(rawSystemCall(systemCallNumber('fdatasync'), 9999, 0, 0, 0, 0, 0)).toBe(-9);
  expect(() => systemCall('fdatasync', 9999)).toThrow(expect.objectContaining({ code: 'EBADF', errno: 9 }));
  await expect(syncData(9999, limit)).rejects.toMatchObject({ code: 'EBADF' });
  await expect(openDevice('/dev/nothing', { ...limit, readOnly: true })).rejects.toMatchObject({ code: 'ENOENT' });
  expect(errnoName(16)).toBe('EBUSY');
  expect(errnoName(4000)).toBe('errno 4000');
});

test('a StoreError names the thing and keeps the cause', () => {
  const error = storeErrorOf(new SystemError('ioctl', 28), 'pool p');
  expect(error).toMatchObject({ code: 'no-space', message: 'pool p: ioctl: ENOSPC', cause: { code: 'ENOSPC' } });
  expect(storeErrorOf(error, 'again')).toBe(error);
});

test('calls at once have their own errno', async () => {
  const { descriptor } = temporaryFile();
  const calls = Array.from({ length: 16 }, (_, index) => (index % 2 === 0 ? syncData(9999, limit) : thaw(descriptor, limit)));
  const codes = (await Promise.allSettled(calls)).map((result) =>
    result.status === 'rejected' ? (result.reason as SystemError).code : 'none',
  );
  expect(codes).toEqual(Array.from({ length: 16 }, (_, index) => (index % 2 === 0 ? 'EBADF' : 'EINVAL')));
});

test('a call that hangs is given up, keeps its descriptor, and is undone when it ends late', async () => {
  const lateResults: number[] = [];
  const { event, call } = hangingCall({ timeoutMs: 30, late: (result) => lateResults.push(result) });
  await expect(call).rejects.toMatchObject({ code: 'unavailable', message: 'hang: read did not end within 30 ms' });
  closeDescriptor(event);
  expect(isOpen(event)).toBe(true);
  signalEvent(event);
  await eventually('the call ends', () => lateResults.length === 1);
  expect(lateResults).toEqual([8]);
  await eventually('the descriptor is closed', () => !isOpen(event));
});

test('when two calls hang, others are refused until one ends', async () => {
  const hanging = [hangingCall({ timeoutMs: 10 }), hangingCall({ timeoutMs: 10 })];
  for (const { call } of hanging) await expect(call).rejects.toMatchObject({ code: 'unavailable' });
  const { descriptor } = temporaryFile();
  await expect(syncData(descriptor, limit)).rejects.toMatchObject({ code: 'unavailable' });
  for (const { event } of hanging) signalEvent(event);
  await eventually(
    'calls are taken again',
    async () => (await Promise.allSettled([syncData(descriptor, limit)]))[0]?.status === 'fulfilled',
  );
  for (const { event } of hanging) closeDescriptor(event);
});

test('signals of an event are counted and taken', () => {
  const event = createEventDescriptor({ blocking: false });
  opened.push(event);
  expect(takeEvents(event)).toBe(0);
  signalEvent(event);
  signalEvent(event);
  expect(takeEvents(event)).toBe(2);
  expect(takeEvents(event)).toBe(0);
});

test('a lock is exclusive, and can be waited for within a limit', async () => {
  const { name, descriptor } = temporaryFile();
  const other = fs.openSync(name, 'r');
  opened.push(other);
  expect(tryLock(descriptor)).toBe(true);
  expect(tryLock(other)).toBe(false);
  expect(await lock(other, { timeoutMs: 30 })).toBe(false);
  const waiting = lock(other, { timeoutMs: 2000 });
  closeDescriptor(descriptor);
  opened.splice(opened.indexOf(descriptor), 1);
  expect(await waiting).toBe(true);
});

test('space is allocated and the status of a file is told', async () => {
  const { descriptor } = temporaryFile();
  await allocate(descriptor, { ...limit, offsetBytes: 0, lengthBytes: 1 << 20, mode: Allocation.preallocate });
  const status = await fileStatus(descriptor, { ...limit, fresh: true });
  expect(status.sizeBytes).toBe(1 << 20);
  const { dev } = fs.fstatSync(descriptor);
  expect(status.fileSystemDevice).toBe(dev);
});
