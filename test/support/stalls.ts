/** How long a file system made its users wait, as stall-probe.ts saw it. */
import { startChild, type Child } from './child.ts';

export class Stalls {
  readonly #probe: Child;

  private constructor(probe: Child) {
    this.#probe = probe;
  }

  /** Changes files of the file system until `longestMs` is asked for. */
  static async watch(folder: string): Promise<Stalls> {
    return new Stalls(await startChild('stall-probe.ts', { parameters: [folder], readyLine: 'ready' }));
  }

  /** Of what took a second or more; what waits still is not among them. */
  get seenMs(): readonly number[] {
    return this.#probe.lines.filter((line) => line.startsWith('stalled ')).map((line) => Number(line.split(' ')[1]));
  }

  /** Ends it; waits for the change under way. */
  async longestMs(): Promise<number> {
    await this.#probe.end();
    const line = this.#probe.lines.find((each) => each.startsWith('longest '));
    if (line === undefined) throw new Error(`the probe ended: ${this.#probe.lines.join('\n')}`);
    return Number(line.split(' ')[1]);
  }

  async kill(): Promise<void> {
    await this.#probe.kill();
  }
}
