/** The control calls of a walk: right ones that the model follows, repeated ones, and wrong ones. */
import { ERASE_ATTRIBUTE, type ControlRequest, type ObjectAnswer } from '../../src/engine/control.ts';
import { Violation } from './violation.ts';
import { makeId, type Action, type WrongCall } from './walk-actions.ts';
import type { WalkContext } from './walk-context.ts';

/** Each method but the last returns false when the call is not possible now. */
export class WalkCalls {
  readonly #walk: WalkContext;

  constructor(walk: WalkContext) {
    this.#walk = walk;
  }

  create(action: Action & { readonly do: 'create' }): boolean {
    if (!this.#walk.isFree(action.on)) return false;
    this.#walk.callFor([action.on], {
      kind: 'create',
      id: makeId(action.on, action.n),
      name: action.on,
      sizeBytes: action.size,
      attributes: attributesOf(action.n),
    });
    return true;
  }

  share(action: Action & { readonly do: 'snapshot' | 'clone' }): boolean {
    const source = this.#walk.usable(action.from);
    if (!source || !this.#walk.isFree(action.on) || (action.do === 'snapshot' && source.kind !== 'volume')) return false;
    const common = { id: makeId(action.on, action.n), name: action.on, sourceId: source.id, attributes: attributesOf(action.n) };
    if (action.do === 'snapshot') this.#walk.callFor([action.on, action.from], { kind: 'snapshot', ...common });
    else
      this.#walk.callFor([action.on, action.from], {
        kind: 'clone',
        sizeBytes: action.grow > 0 ? source.sizeBytes + action.grow : 0,
        ...common,
      });
    return true;
  }

  revert(action: Action & { readonly do: 'revert' }): boolean {
    const volume = this.#walk.usable(action.on, 'volume');
    const snapshot = this.#walk.usable(action.to, 'snapshot');
    if (!volume || !snapshot || snapshot.sourceId !== volume.id || volume.revert) return false;
    if (action.safety && !this.#walk.isFree(action.safety)) return false;
    if (!this.#walk.detachObject(volume, action.abort === true)) return false;
    if (!this.#walk.world.alive) return true;
    const safety = action.safety ? { id: makeId(action.safety, action.n), name: action.safety, attributes: attributesOf(action.n) } : null;
    this.#walk.callFor([action.on, action.to, ...(action.safety ? [action.safety] : [])], {
      kind: 'revert',
      id: volume.id,
      snapshotId: snapshot.id,
      safety,
    });
    return true;
  }

  delete(action: Action & { readonly do: 'delete' }): boolean {
    const object = this.#walk.usable(action.on);
    if (!object || !this.#walk.detachObject(object, action.abort === true)) return false;
    if (!this.#walk.world.alive) return true;
    this.#walk.callFor([action.on], { kind: 'delete', id: object.id });
    return true;
  }

  resize(action: Action & { readonly do: 'resize' }): boolean {
    const object = this.#walk.usable(action.on, 'volume');
    if (!object || action.size < object.sizeBytes) return false;
    this.#walk.callFor([action.on], { kind: 'resize', id: object.id, sizeBytes: action.size });
    return true;
  }

  retry(name: string): boolean {
    const request = this.#walk.unsure.get(name);
    if (!request || this.#walk.isBusy(name)) return false;
    if (request.kind === 'snapshot' || request.kind === 'clone') {
      const source = this.#walk.model.objects.get(request.sourceId);
      if (!source?.present || source.existence === 'going' || this.#walk.isBusy(source.name)) return false;
      if (request.kind === 'clone' && request.sizeBytes > 0 && request.sizeBytes < source.sizeBytes) return false;
    }
    const names = [name];
    if (request.kind === 'revert') {
      const snapshot = this.#walk.model.objects.get(request.snapshotId);
      const volume = this.#walk.model.objects.get(request.id);
      if (!volume?.present || volume.revert || !snapshot?.present || snapshot.existence === 'going' || this.#walk.isBusy(snapshot.name))
        return false;
      const { safety } = request;
      if (
        safety &&
        (this.#walk.isBusy(safety.name) ||
          this.#walk.model.visible().some((object) => object.name === safety.name && object.id !== safety.id))
      )
        return false;
      if (!this.#walk.detachObject(volume, true)) return false;
      if (!this.#walk.world.alive) return true;
      names.push(snapshot.name, ...(request.safety ? [request.safety.name] : []));
    }
    if (request.kind === 'create' || request.kind === 'snapshot' || request.kind === 'clone') {
      const taken = this.#walk.model.visible().some((object) => object.name === name && object.id !== request.id);
      if (taken) return false;
    }
    const target = 'id' in request && request.id !== null ? this.#walk.model.objects.get(request.id) : undefined;
    if (request.kind === 'resize' && (!target?.present || target.sizeBytes > request.sizeBytes)) return false;
    if (request.kind === 'delete' && target?.present && !this.#walk.detachObject(target, true)) return false;
    if (!this.#walk.world.alive) return true;
    this.#walk.callFor(names, request);
    return true;
  }

  wrong(name: string, how: WrongCall, n: number): boolean {
    const object = this.#walk.usable(name);
    if (!object) return false;
    const id = makeId('z', n);
    const refused = (request: ControlRequest, codes: readonly string[]): void => {
      this.#walk.call(request, [name], (error) => {
        if (!error || !codes.includes(error.code))
          throw new Violation(
            `${request.kind} (${how}) was answered with ${error ? error.code : 'success'}, expected ${codes.join(' or ')}`,
          );
      });
    };
    if (how === 'sameName') {
      if (object.kind !== 'volume') return false;
      this.#walk.call({ kind: 'create', id, name, sizeBytes: 262_144, attributes: {} }, [name], (error, answer) => {
        const existing = answer as ObjectAnswer;
        if (error || !existing.existed || existing.object.id !== object.id)
          throw new Violation(`creating ${name} again: ${error?.message ?? 'not told that it exists'}`);
      });
    } else if (how === 'unknownSource')
      refused({ kind: 'snapshot', id, name: 'z', sourceId: makeId('y', n), attributes: {} }, ['not-found']);
    else if (how === 'shrink' && object.kind === 'volume' && object.sizeBytes > 65_536)
      refused({ kind: 'resize', id: object.id, sizeBytes: object.sizeBytes - 65_536 }, ['out-of-range']);
    else if (how === 'smallClone' && object.sizeBytes > 65_536)
      refused({ kind: 'clone', id, name: 'z', sourceId: object.id, sizeBytes: object.sizeBytes - 65_536, attributes: {} }, [
        'out-of-range',
      ]);
    else if (how === 'attached' && this.#walk.world.frontEnd.isAttached(object.id))
      refused({ kind: 'delete', id: object.id }, ['failed-precondition', 'in-use']);
    else if (how === 'unknownDelete') {
      this.#walk.call({ kind: 'delete', id }, [], (error) => {
        if (error) throw new Violation(`deleting what never was: ${error.message}`);
      });
    } else return false;
    return true;
  }

  /** A call whose object vanished need not be repeated under the same id; one that is still in doubt may be. */
  dropSettledCall(name: string): void {
    const request = this.#walk.unsure.get(name)!;
    if (request.kind === 'delete' && !this.#walk.model.objects.has(request.id)) this.#walk.unsure.delete(name);
    if ((request.kind === 'resize' || request.kind === 'revert') && !this.#walk.model.objects.has(request.id))
      this.#walk.unsure.delete(name);
    if (request.kind === 'snapshot' || request.kind === 'clone') {
      if (!this.#walk.model.objects.has(request.sourceId) && !this.#walk.model.objects.has(request.id)) this.#walk.unsure.delete(name);
    }
  }
}

/** Some of the objects erase what they leave. */
function attributesOf(n: number): Readonly<Record<string, string>> {
  return { made: String(n), ...(n % 3 === 0 ? { [ERASE_ATTRIBUTE]: 'true' } : {}) };
}
