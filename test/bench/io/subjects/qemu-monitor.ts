/** A connection to the monitor of one of qemu's programs: a line of JSON for each command and each answer (QMP; qemu's
 * docs/interop/qmp-spec.txt). */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

interface Answer {
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly QMP?: unknown;
}

interface Waiting {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

export class QemuMonitor {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    createInterface({ input: socket }).on('line', (line) => {
      const answer = JSON.parse(line) as Answer;
      // Events may come at any time, and the greeting answers nothing.
      if (answer.event === undefined && answer.QMP === undefined) this.#waiting.shift()?.resolve(answer);
    });
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the monitor went away')));
  }

  static async open(socketPath: string, options: { readonly timeoutMs: number }): Promise<QemuMonitor> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = connect(socketPath, resolve);
    socket.once('error', reject);
    await promise;
    const monitor = new QemuMonitor(socket);
    await monitor.run('qmp_capabilities', {}, options);
    return monitor;
  }

  /** Commands are carried out one after another. Fails with qemu's words. */
  async run(command: string, parameters: Readonly<Record<string, unknown>>, options: { readonly timeoutMs: number }): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#waiting.push({ resolve, reject });
    const timer = setTimeout(() => reject(new Error(`${command} did not end within ${options.timeoutMs / 1000} s`)), options.timeoutMs);
    try {
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: parameters })}\n`);
      const { error } = await promise;
      if (error !== undefined) throw new Error(`${command}: ${error.desc}`);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #end(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
