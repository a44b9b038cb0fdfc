/**
 * The command `chunkstore`: every role and operator command. Each loads only what it needs, so that the keeper stays
 * small. Status 0: done; 1: it failed, one line on standard error says why; 2: wrong words or flags.
 */
import { parseCommandLine, UsageError, type Config } from './config.ts';
import type { RoleProcessControl, RunningRole } from './roles/process/lifecycle.ts';
import { createLogger, type Logger } from './util/log.ts';
import { StoreError } from './util/errors.ts';

async function main(): Promise<void> {
  const config = parseCommandLine(process.argv.slice(2), process.env);
  if (typeof config === 'string') {
    process.stdout.write(`${config}\n`);
    return;
  }
  await run(config);
}

async function run(config: Config): Promise<void> {
  const { command } = config;
  const log = createLogger({ role: command, level: config.logLevel });
  switch (command) {
    case 'local': {
      const { runLocal } = await import('./local/local.ts');
      return runLocal(config, log);
    }
    case 'controller':
    case 'node':
    case 'store':
    case 'keeper': {
      const { runRole } = await import('./roles/process/lifecycle.ts');
      const servesIo = command === 'store' || command === 'keeper';
      return runRole({ name: command, log, servesIo, start: async (control) => (await roleOf(command))(config, log, control) });
    }
    case 'freezer': {
      const { runFreezer } = await import('./mount/freezer.ts');
      return runFreezer();
    }
    case 'uninstall-check': {
      const { runUninstallCheck } = await import('./roles/uninstall-check.ts');
      return runUninstallCheck(config);
    }
    case 'await-snapshot-kinds': {
      const { awaitSnapshotKinds } = await import('./roles/snapshot-kinds.ts');
      return awaitSnapshotKinds(config);
    }
    default: {
      if (command === 'check' && config.flags.has('pool')) {
        const { runOfflineCheck } = await import('./operator/offline-check.ts');
        return runOfflineCheck(config, log);
      }
      if (command === 'scrub' && config.flags.has('pool')) {
        const { runOfflineScrub } = await import('./operator/offline-scrub.ts');
        return runOfflineScrub(config, log);
      }
      const { runOperatorCommand } = await import('./operator/commands.ts');
      return runOperatorCommand(config, createLogger({ role: command, level: 'warn' }));
    }
  }
}

type RoleStart = (config: Config, log: Logger, control: RoleProcessControl) => Promise<RunningRole>;

async function roleOf(name: 'controller' | 'node' | 'store' | 'keeper'): Promise<RoleStart> {
  switch (name) {
    case 'controller':
      return (await import('./roles/controller.ts')).startController;
    case 'node':
      return (await import('./roles/node.ts')).startNode;
    case 'store':
      return (await import('./roles/store.ts')).startStore;
    case 'keeper':
      return (await import('./roles/keeper.ts')).startKeeper;
  }
}

try {
  await main();
} catch (error) {
  const usage = error instanceof UsageError;
  const known = usage || error instanceof StoreError;
  const message = error instanceof Error ? (known ? error.message : (error.stack ?? error.message)) : String(error);
  process.stderr.write(`chunkstore: ${message}\n`);
  process.exit(usage ? 2 : 1);
}
