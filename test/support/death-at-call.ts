/**
 * Loaded into a store's process by NODE_OPTIONS=--import: on each of its worker threads it wraps the methods that an order
 * names (death-points.ts), counts their calls, and ends the process by SIGKILL at the one it was told. The process cannot
 * run another instruction of JavaScript after that, on any thread.
 */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { DEATH_ORDER_VARIABLE, DEATH_POINTS, type DeathOrder, type DeathPoint } from './death-points.ts';

type Method = (this: unknown, ...parameters: unknown[]) => unknown;
type Prototype = Record<string, Method>;

const text = process.env[DEATH_ORDER_VARIABLE];
if (!isMainThread && text !== undefined) await prepare(JSON.parse(text) as DeathOrder);

async function prepare(order: DeathOrder): Promise<void> {
  const load = async (module: string, className: string): Promise<Prototype> => {
    const file = path.join(path.dirname(order.main), `${module}${path.extname(order.main)}`);
    const classes = (await import(pathToFileURL(file).href)) as Record<string, { readonly prototype: Prototype } | undefined>;
    const found = classes[className];
    if (found === undefined) throw new Error(`${file} has no class ${className}: correct death-points.ts`);
    return found.prototype;
  };
  const point = DEATH_POINTS[order.point];
  if (point !== undefined) await arm(point, order, load);
  if (order.checkpointTicks > 0) {
    let ticks = 0;
    const engine = await load('engine/engine', 'Engine');
    wrap(engine, 'tick', (original, self) => {
      original();
      ticks++;
      if (ticks % order.checkpointTicks === 0) wantCheckpoint(self as CheckpointTaker);
    });
  }
}

interface CheckpointTaker {
  control(request: { readonly kind: 'checkpoint' }, done: () => void): void;
}

function wantCheckpoint(engine: CheckpointTaker): void {
  try {
    engine.control({ kind: 'checkpoint' }, () => {});
  } catch {
    // It has not started yet, and takes no calls.
  }
}

async function arm(point: DeathPoint, order: DeathOrder, load: (module: string, className: string) => Promise<Prototype>): Promise<void> {
  let calls = 0;
  let roundsLeft = -1;
  const reached = (): void => {
    if (order.round === 0) die();
    else roundsLeft = order.round;
  };
  wrap(await load(point.module, point.className), point.method, (original, _self, parameters) => {
    const counts = point.change === undefined || (parameters[0] as { readonly change?: string }).change === point.change;
    const isIt = counts && ++calls === order.call;
    if (isIt && point.when === 'before') reached();
    const answer = original();
    if (isIt && point.when === 'after') reached();
    return answer;
  });
  if (point.rounds !== undefined) {
    wrap(await load('block/sessions', 'Sessions'), 'readRequests', (original) => {
      if (roundsLeft > 0 && --roundsLeft === 0) die();
      return original();
    });
  }
}

function wrap(
  prototype: Prototype,
  method: string,
  around: (original: () => unknown, self: unknown, parameters: unknown[]) => unknown,
): void {
  const original = prototype[method];
  if (original === undefined) throw new Error(`there is no method ${method}: correct death-points.ts`);
  prototype[method] = function (...parameters) {
    return around(() => original.apply(this, parameters), this, parameters);
  };
}

function die(): void {
  process.kill(process.pid, 'SIGKILL');
}
