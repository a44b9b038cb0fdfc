import { describe, expect, test } from '@jest/globals';
import { NodeUpkeep, type NodeUpkeepOptions } from '../../src/roles/node-upkeep.ts';
import type { Clock } from '../../src/util/clock.ts';
import { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import { eventually } from '../support/eventually.ts';

/** Timers that fire when the test says so. */
function handClock(): { clock: Clock; fire: () => void } {
  const timers = new Set<() => void>();
  return {
    clock: {
      nowMs: () => 0,
      after: (_delayMs, action) => {
        timers.add(action);
        return () => void timers.delete(action);
      },
    },
    fire: () => {
      const due = [...timers];
      timers.clear();
      for (const action of due) action();
    },
  };
}

interface World {
  readonly asked: string[];
  storeIsThere: boolean;
  frozen: Map<string, string>;
}

async function start(world: World, clock: Clock): Promise<NodeUpkeep> {
  const objects = (attached: boolean) => [{ id: attached ? 'p.open' : 'p.shut', attached }] as never[];
  const options: NodeUpkeepOptions = {
    notes: {
      undo: () => {
        world.asked.push('undo');
        return Promise.resolve(world.frozen);
      },
    },
    devices: {
      clearLeftovers: async (pool, attachedIds) => {
        world.asked.push(`clear ${pool} but ${[...(await attachedIds())].join()}`);
        return { cleared: [], inUse: [] };
      },
    },
    store: {
      getPool: () => (world.storeIsThere ? Promise.resolve({ id: 'p' } as never) : Promise.reject(new StoreError('unavailable', 'away'))),
      listVolumes: () => Promise.resolve(objects(true)),
      listSnapshots: () => Promise.resolve(objects(false)),
    },
    log: silentLogger(),
    clock,
  };
  return NodeUpkeep.start(options);
}

describe('the upkeep of a node', () => {
  test('thaws first, then clears what the store does not have open', async () => {
    const world: World = { asked: [], storeIsThere: true, frozen: new Map() };
    const upkeep = await start(world, handClock().clock);
    expect(world.asked[0]).toBe('undo');
    expect(world.asked).toContain('clear p but p.open');
    await upkeep.stop();
  });

  test('does not wait for a store that is away, and comes back to it', async () => {
    const world: World = { asked: [], storeIsThere: false, frozen: new Map() };
    const { clock, fire } = handClock();
    const upkeep = await start(world, clock);
    expect(world.asked.join()).not.toContain('clear');
    world.storeIsThere = true;
    await eventually('it clears', () => {
      fire();
      return world.asked.includes('clear p but p.open');
    });
    await upkeep.stop();
  });

  test('looks again when the store was lost', async () => {
    const world: World = { asked: [], storeIsThere: true, frozen: new Map() };
    const upkeep = await start(world, handClock().clock);
    const clears = () => world.asked.filter((word) => word.startsWith('clear')).length;
    expect(clears()).toBe(1);
    upkeep.storeLost();
    await eventually('it clears again', () => clears() === 2);
    await upkeep.stop();
  });

  test('thaws until nothing is left', async () => {
    const world: World = { asked: [], storeIsThere: true, frozen: new Map([['p.open', 'not gone yet']]) };
    const { clock, fire } = handClock();
    const upkeep = await start(world, clock);
    const before = world.asked.filter((word) => word === 'undo').length;
    await eventually('it tries again', () => {
      fire();
      return world.asked.filter((word) => word === 'undo').length > before;
    });
    await upkeep.stop();
  });
});
