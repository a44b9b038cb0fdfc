/** The requests of a walk on the devices of volumes and snapshots, with the model told of each. */
import { Operation } from '../../src/block/ports.ts';
import type { ModelObject } from './model-object.ts';
import { granuleBytes } from './stamped-content.ts';
import { Violation } from './violation.ts';
import type { Action } from './walk-actions.ts';
import type { WalkContext } from './walk-context.ts';
import { windowsOf } from './walk-windows.ts';

export const ioErrno = 5;
const noSpaceErrno = 28;

/** Each method returns false when the request is not possible now. */
export class WalkRequests {
  readonly #walk: WalkContext;

  constructor(walk: WalkContext) {
    this.#walk = walk;
  }

  change(action: Action & { readonly do: 'write' | 'zero' }): boolean {
    const object = this.#walk.usable(action.on, 'volume');
    if (!object || !this.#walk.attach(object)) return false;
    const { at, count } = action;
    if (at + count > object.sizeBytes / granuleBytes || !this.#walk.world.frontEnd.canSubmit) return false;
    if (!action.overlap && this.#walk.overlaps(object.id, at, count)) return false;
    const range = this.#walk.enter(object.id, at, count, action.do);
    const windows = windowsOf(object.sizeBytes, this.#walk.options.chunkSizeBytes);
    const { payload, token } =
      action.do === 'write'
        ? this.#walk.model.beginWrite(object.id, at, count)
        : { payload: undefined, token: this.#walk.model.beginZero(object.id, at, count, windows) };
    this.#walk.world.call(() =>
      this.#walk.world.frontEnd.submit(
        {
          operation: action.do === 'write' ? Operation.write : Operation.zero,
          deviceId: object.id,
          offsetBytes: at * granuleBytes,
          lengthBytes: count * granuleBytes,
          ...(payload ? { payload } : {}),
        },
        (errno) => {
          this.#walk.ranges.delete(range);
          if (errno !== 0 && !(errno === noSpaceErrno && this.#walk.options.mayBeFull) && !this.#mayFail(errno, action.do))
            throw new Violation(`a ${action.do} of ${action.on} at ${at} failed with error ${errno}`);
          this.#walk.model.answerChange(token, errno);
        },
      ),
    );
    return true;
  }

  read(name: string, at: number, count: number): boolean {
    const object = this.#walk.usable(name);
    if (!object || !this.#walk.attach(object) || !this.#walk.world.frontEnd.canSubmit) return false;
    if (at + count > object.sizeBytes / granuleBytes) return false;
    this.submitRead(object, at, count);
    return true;
  }

  submitRead(object: ModelObject, at: number, count: number): void {
    const range = this.#walk.enter(object.id, at, count, 'read');
    const token = this.#walk.model.beginRead(object.id, at, count);
    const request = { operation: Operation.read, deviceId: object.id, offsetBytes: at * granuleBytes, lengthBytes: count * granuleBytes };
    this.#walk.world.call(() =>
      this.#walk.world.frontEnd.submit(request, (errno, bytes) => {
        this.#walk.ranges.delete(range);
        if (this.#mayFail(errno, 'read')) this.#walk.model.failRead(token);
        else this.#walk.model.answerRead(token, errno, bytes);
      }),
    );
  }

  flush(name: string): boolean {
    const object = this.#walk.usable(name, 'volume');
    if (!object || !this.#walk.attach(object) || !this.#walk.world.frontEnd.canSubmit) return false;
    const range = this.#walk.enter(object.id, 0, 0, 'flush');
    const token = this.#walk.model.beginFlush(object.id);
    this.#walk.world.call(() =>
      this.#walk.world.frontEnd.submit({ operation: Operation.flush, deviceId: object.id, offsetBytes: 0, lengthBytes: 0 }, (errno) => {
        this.#walk.ranges.delete(range);
        const stopped = errno === ioErrno && this.#walk.mayBreak;
        if (stopped) this.#walk.refused = `a flush of ${name} failed`;
        else if (errno !== 0) throw new Violation(`a flush of ${name} failed with error ${errno}`);
        this.#walk.model.answerFlush(token, errno);
      }),
    );
    return true;
  }

  /** An error that was injected, or that of an engine that has stopped, which must say so. */
  #mayFail(errno: number, what: string): boolean {
    if (errno !== ioErrno) return false;
    if (!this.#walk.mayFail && this.#walk.mayBreak) this.#walk.refused = `a ${what} failed`;
    return this.#walk.mayFail || this.#walk.mayBreak;
  }
}
