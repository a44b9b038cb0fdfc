/** What lies where in the folder that `--state` names. */
import path from 'node:path';

export interface StatePaths {
  readonly pool: string;
  readonly keeperSocket: string;
  readonly storeSocket: string;
  readonly controllerSocket: string;
  readonly nodeSocket: string;
}

export function statePaths(state: string): StatePaths {
  const folder = path.resolve(state);
  const socket = (name: string): string => path.join(folder, 'run', `${name}.sock`);
  return {
    pool: path.join(folder, 'pool'),
    keeperSocket: socket('keeper'),
    storeSocket: socket('store'),
    controllerSocket: socket('controller'),
    nodeSocket: socket('node'),
  };
}
