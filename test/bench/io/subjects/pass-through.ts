/**
 * No store, but what FUSE under a loop device leaves for one: a server in C (pass-through.c) that does nothing with a
 * request but to do it at the same place of a plain file. What ours has less than this is what Node and the engine cost;
 * what this has less than the loop device is the price of the way itself.
 */
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { runCommand } from '../../../../src/util/exec.ts';
import { canUseFuse, canUseLoop, hasPrograms } from '../../../support/machine.ts';
import { fill } from '../../fio.ts';
import { ServedVolume, ServedVolumes } from './served-volumes.ts';
import type { SubjectKind } from './subject.ts';

const compileLimitMs = 60_000;
const source = path.join(import.meta.dirname, 'pass-through.c');
const header = '/usr/include/liburing.h';

export const passThrough: SubjectKind = {
  name: 'pass-through',
  abilities: new Set(),
  stateless: true,
  lack() {
    const lack = [canUseFuse(), canUseLoop(), hasPrograms('cc')].find((capability) => capability.lack !== undefined)?.lack;
    return lack ?? (fs.existsSync(header) ? undefined : `not installed: ${header} (liburing-dev)`);
  },
  async make(options) {
    const program = path.join(options.folder, 'pass-through');
    await runCommand('cc', ['-O2', '-o', program, source, '-luring'], { timeoutMs: compileLimitMs });
    const { signal } = options;
    return new ServedVolumes(options, (folder) => new PassThroughVolume(folder, { program, signal }));
  },
};

class PassThroughVolume extends ServedVolume {
  readonly #program: string;
  readonly #signal: AbortSignal;
  override readonly snapshot = cannot;
  override readonly deleteSnapshot = cannot;
  override readonly revert = cannot;
  override readonly clone = cannot;

  constructor(folder: string, options: { readonly program: string; readonly signal: AbortSignal }) {
    super(folder);
    this.#program = options.program;
    this.#signal = options.signal;
  }

  override async create(sizeBytes: number): Promise<void> {
    await fill(this.image, { sizeBytes, order: 'sequential', signal: this.#signal });
    await this.serve([this.#program, this.image, this.exported], async (server, signal) => {
      await once(server.stdout!, 'data', { signal });
    });
  }
}

function cannot(): Promise<never> {
  return Promise.reject(new Error('what passes requests on has no snapshots'));
}
