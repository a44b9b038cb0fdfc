/**
 * A process that serves FUSE connections from a plain file: the data loop over a FileTarget. Its parent (data-thread-host)
 * hands over the descriptors and the shared memory, so that it can be killed and started again.
 *
 * Its one argument is JSON (ChildSetup). It prints `ready` once it serves. Commands come as JSON lines on a pipe.
 */
import fs from 'node:fs';
import { arenaBytes } from '../../src/block/arena.ts';
import { DataLoop } from '../../src/block/data-loop.ts';
import { openDirect } from '../../src/linux/files.ts';
import { SharedMemory } from '../../src/linux/memory.ts';
import { FileTarget } from './file-target.ts';

export interface ChildSetup {
  readonly file: string;
  readonly deviceBytes: number;
  readonly memoryDescriptor: number;
  readonly wakeDescriptor: number;
  readonly commandDescriptor: number;
  readonly devices: readonly {
    readonly connection: number;
    readonly incarnation: number;
    readonly fuseDescriptor: number;
    readonly readOnly: boolean;
  }[];
  readonly spinRounds?: number;
  readonly readsPerTurn?: number;
}
export type ChildCommand =
  | { readonly kind: 'stop' }
  | { readonly kind: 'remove'; readonly connection: number }
  | { readonly kind: 'resize'; readonly connection: number; readonly sizeBytes: number }
  | { readonly kind: 'report' };

/** The shared memory: the arena, then a piece of zeros. */
export const arenaCounts = { activeSlots: 64, parkingSlots: 16, devices: 32 };
export const zerosBytes = 1 << 20;
export const memoryBytes = arenaBytes(arenaCounts) + zerosBytes;

function serve(setup: ChildSetup): void {
  const memory = SharedMemory.map(setup.memoryDescriptor);
  const zerosOffset = arenaBytes(arenaCounts);
  const say = (message: object): void => void fs.writeSync(1, `${JSON.stringify(message)}\n`);
  const command = (text: string): void => {
    const message = JSON.parse(text) as ChildCommand;
    if (message.kind === 'stop') loop.stop();
    else if (message.kind === 'remove') loop.removeDevice(message.connection, () => say({ removed: message.connection }));
    else if (message.kind === 'resize') loop.setDeviceSize(message.connection, message.sizeBytes);
    else {
      const open = setup.devices.filter(({ connection }) => loop.isOpen(connection)).map(({ connection }) => connection);
      say({ report: { rounds: loop.rounds, blocks: loop.blocks, waits: loop.waits, open, heap: process.memoryUsage().heapUsed } });
    }
  };
  const buffer = Buffer.alloc(65536);
  const loop: DataLoop = new DataLoop({
    memory,
    arena: { ...arenaCounts, offsetBytes: 0, lengthBytes: zerosOffset },
    disks: 1,
    wakeDescriptor: setup.wakeDescriptor,
    onWake: () => {
      const length = fs.readSync(setup.commandDescriptor, buffer);
      for (const line of buffer.toString('utf8', 0, length).split('\n')) if (line !== '') command(line);
    },
    onTick: () => {},
    background: () => false,
    isBackgroundUrgent: () => false,
    diskCompleted: (tag, result) => target.diskCompleted(tag, result),
    ...(setup.spinRounds === undefined ? {} : { spinRounds: setup.spinRounds }),
    ...(setup.readsPerTurn === undefined ? {} : { readsPerTurn: setup.readsPerTurn }),
  });
  const disk = loop.openDisk({ descriptor: openDirect(setup.file, { readOnly: false }), sizeBytes: fs.statSync(setup.file).size });
  const target: FileTarget = new FileTarget({
    disk,
    listener: loop.listener,
    maximumRequests: loop.maximumRequests,
    deviceBytes: setup.deviceBytes,
    zerosOffset,
    zerosBytes,
  });
  loop.setTarget(target);
  setup.devices.forEach((device, index) => loop.addDevice({ ...device, device: index, sizeBytes: setup.deviceBytes }));
  const recovered = loop.recover();
  say({ ready: true, recovered, warnings: loop.warnings });
  loop.run();
  loop.close();
  say({ stopped: true });
}

if (process.argv[1] === import.meta.filename) serve(JSON.parse(process.argv[2]!) as ChildSetup);
