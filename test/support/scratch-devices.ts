/**
 * Real loop devices over sparse files, and folders to mount them on, all in one scratch folder. `cleanUp` takes off
 * whatever a test left mounted or set up, also after a failure, and touches nothing that is not its own.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ScratchDevice {
  readonly path: string;
  readonly file: string;
}

export class ScratchDevices {
  readonly folder = mkdtempSync(join(tmpdir(), 'chunkstore-mount-'));
  #devices: ScratchDevice[] = [];
  #files = 0;

  /** An empty device with 4 KiB sectors, as volumes have them. */
  create(options: { readonly sizeMebibytes: number }): ScratchDevice {
    const file = this.#newFile();
    writeFileSync(file, '');
    truncateSync(file, options.sizeMebibytes * 1024 * 1024);
    return this.#attach(file, []);
  }

  /** What a snapshot cut at this moment holds, without a sync of anything: as after a power cut with nothing lost. */
  copy(source: ScratchDevice, options: { readonly readOnly?: boolean } = {}): ScratchDevice {
    const file = this.#newFile();
    execFileSync('cp', ['--sparse=always', source.file, file]);
    return this.#attach(file, options.readOnly === true ? ['--read-only'] : []);
  }

  /** A device over a file that stands elsewhere, or over the part of it behind an offset. */
  over(file: string, options: { readonly offsetMebibytes?: number } = {}): ScratchDevice {
    return this.#attach(file, ['--offset', String((options.offsetMebibytes ?? 0) * 1024 * 1024)]);
  }

  grow(device: ScratchDevice, options: { readonly sizeMebibytes: number }): void {
    truncateSync(device.file, options.sizeMebibytes * 1024 * 1024);
    run('losetup', '--set-capacity', device.path);
  }

  /** Takes an unmounted device down before its time. */
  detach(device: ScratchDevice): void {
    run('losetup', '--detach', device.path);
    this.#devices = this.#devices.filter((other) => other !== device);
  }

  /** A path in the scratch folder; nothing is made. */
  place(name: string): string {
    return join(this.folder, name);
  }

  cleanUp(): void {
    // A device may lie over a file on a mount over another device, so one kind cannot go before the other.
    let problems: unknown[] = [];
    for (let round = 0; round < 4; round += 1) {
      problems = [];
      const attempt = (action: () => void): boolean => {
        try {
          action();
          return true;
        } catch (error) {
          problems.push(error);
          return false;
        }
      };
      for (const target of this.#mounts().reverse()) attempt(() => run('umount', target));
      this.#devices = this.#devices.filter((device) => !attempt(() => run('losetup', '--detach', device.path)));
      if (this.#mounts().length === 0) attempt(() => rmSync(this.folder, { recursive: true, force: true }));
      if (problems.length === 0 && !existsSync(this.folder)) return;
    }
    throw new AggregateError(problems, `the scratch devices in ${this.folder} could not be cleaned up`);
  }

  #newFile(): string {
    this.#files += 1;
    return join(this.folder, `device-${this.#files}.img`);
  }

  #attach(file: string, options: readonly string[]): ScratchDevice {
    const path = run('losetup', '--find', '--show', '--sector-size', '4096', ...options, file).trim();
    const device = { path, file };
    this.#devices.push(device);
    return device;
  }

  /** Everything mounted in the scratch folder, bottom first. */
  #mounts(): string[] {
    const targets = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '');
    return targets
      .filter((target) => target.startsWith(`${this.folder}/`))
      .map((target) => target.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8))));
  }
}

/** Runs a program to its end and gives back what it printed; fails with what it said. */
export function run(program: string, ...parameters: readonly string[]): string {
  return execFileSync(program, parameters, { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'pipe'], env: environment });
}

/** The same, for a program whose failure is part of the test: its exit status. */
export function statusOf(program: string, ...parameters: readonly string[]): number {
  try {
    run(program, ...parameters);
    return 0;
  } catch (error) {
    return (error as { status: number | null }).status ?? -1;
  }
}

const environment = { ...process.env, LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
