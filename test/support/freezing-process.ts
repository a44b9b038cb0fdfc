/** Freezes the file system at argument 1 with notes in folder argument 2, for the device argument 3, and stays. */
import { join } from 'node:path';
import { freezeFileSystem } from '../../src/mount/freeze.ts';
import { FreezeNotes } from '../../src/mount/freeze-notes.ts';

const [, , target = '', folder = '', devicePath = ''] = process.argv;
const note = await new FreezeNotes({ folder }).write({ volumeId: 'pool.volume', devicePath });
await freezeFileSystem(target, { helper: [process.execPath, join(import.meta.dirname, 'freezer-process.ts'), '60000'], note });
process.stdout.write('frozen\n');
setInterval(() => {}, 1000);
