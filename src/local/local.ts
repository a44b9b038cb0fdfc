/**
 * `chunkstore local`: all roles on one machine as one process tree. This process serves the CSI socket and passes calls
 * on; each role is a process of its own and is started again when it dies. It never opens a volume itself.
 *
 * The end: SIGTERM takes nothing away from anybody. What is attached and not mounted is detached; while something is
 * mounted its holders are named and everything goes on being served; when that lasts (30 s by default), this process stays.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { csiService, loadCsiPackage } from '../csi/proto.ts';
import { setIoFlusher } from '../linux/process.ts';
import type { Logger } from '../util/log.ts';
import { socketPathOf, type Config } from '../config.ts';
import { checkSocketPath, closeServer, listenOnSocket } from '../roles/process/listen.ts';
import { programOf } from '../roles/process/program.ts';
import { Proxy } from './proxy.ts';
import { RoleProcess } from './role-process.ts';
import { statePaths } from './state-paths.ts';

/** How long a call waits for a role that is being started again. */
const ROLE_WAIT_MS = 10_000;
const DRAIN_LIMIT_MS = 30_000;
const DRAIN_POLL_MS = 1_000;
const STOP_LIMIT_MS = 20_000;
/** The kernel's calls that may block run there: libuv has four threads unless told otherwise. */
const THREAD_POOL_SIZE = '16';

type RoleName = 'keeper' | 'store' | 'controller' | 'node';
const START_ORDER: readonly RoleName[] = ['keeper', 'store', 'controller', 'node'];

export async function runLocal(config: Config, log: Logger): Promise<void> {
  process.title = 'chunkstore local';
  const local = new Local(config, log);
  const stop = (): void => void local.stop();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop);
  process.on('SIGHUP', () => {});
  await local.start();
}

class Local {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #roles: Readonly<Record<RoleName, RoleProcess>>;
  readonly #proxy: Proxy;
  readonly #socketPath: string;
  #phase: 'starting' | 'serving' | 'stopping' = 'starting';

  constructor(config: Config, log: Logger) {
    this.#config = config;
    this.#log = log;
    this.#socketPath = socketPathOf(config.flags.text('endpoint'));
    checkNumbers(config);
    const paths = statePaths(config.flags.text('state'));
    for (const socket of [this.#socketPath, paths.storeSocket, paths.keeperSocket, paths.controllerSocket, paths.nodeSocket])
      checkSocketPath(socket);
    this.#roles = makeRoles(config, log);
    const definition = loadCsiPackage();
    const controller = backendOf(this.#roles.controller, paths.controllerSocket);
    const node = backendOf(this.#roles.node, paths.nodeSocket);
    this.#proxy = new Proxy(
      [
        { service: csiService(definition, 'Identity'), backend: controller },
        { service: csiService(definition, 'Controller'), backend: controller },
        { service: csiService(definition, 'Node'), backend: node },
      ],
      { waitMs: ROLE_WAIT_MS },
    );
  }

  async start(): Promise<void> {
    try {
      warnWithoutIoFlusher(this.#log);
      for (const name of START_ORDER) {
        await this.#roles[name].start();
        // SIGTERM came meanwhile: whoever ends the roles must not find new ones.
        if (this.#isStopping()) return;
      }
      await listenOnSocket(this.#proxy.server, this.#socketPath);
    } catch (error) {
      if (this.#isStopping()) return;
      await this.#endRoles();
      throw error;
    }
    if (this.#isStopping()) return;
    this.#phase = 'serving';
    process.stdout.write(`ready ${this.#config.flags.text('endpoint')}\n`);
  }

  /** See the head of this file. A second signal while it waits changes nothing. */
  async stop(): Promise<void> {
    const before = this.#phase;
    if (before === 'stopping') return;
    this.#phase = 'stopping';
    try {
      if (before === 'serving' && !(await this.#drain())) {
        this.#phase = 'serving';
        return;
      }
      await this.#end();
      process.exit(0);
    } catch (error) {
      this.#log.fatal({ err: error }, 'did not stop in order');
      process.exit(1);
    }
  }

  #isStopping(): boolean {
    return this.#phase === 'stopping';
  }

  /** True when nothing is attached any more. */
  async #drain(): Promise<boolean> {
    const deadline = performance.now() + this.#config.flags.number('stop-wait') * 1000;
    let shown = '';
    for (;;) {
      const holders = await this.#holders();
      if (holders.length === 0) return true;
      const words = holders.join('; ');
      if (words !== shown) process.stderr.write(`chunkstore local: still in use: ${words}\n`);
      shown = words;
      if (performance.now() >= deadline) break;
      await delay(DRAIN_POLL_MS);
    }
    process.stderr.write(`chunkstore local: not stopped, because of what is still in use; unmount it and ask again\n`);
    this.#log.warn({ holders: shown }, 'asked to stop, but volumes are in use: staying');
    return false;
  }

  async #holders(): Promise<readonly string[]> {
    try {
      return await this.#roles.node.drain({ timeoutMs: DRAIN_LIMIT_MS });
    } catch (error) {
      return [`unknown, because the node role does not answer (${error instanceof Error ? error.message : String(error)})`];
    }
  }

  async #end(): Promise<void> {
    this.#proxy.refuse('the driver is stopping');
    await closeServer(this.#proxy.server, { timeoutMs: STOP_LIMIT_MS });
    // What a call under way has attached since.
    if (this.#roles.node.isReady) {
      const holders = await this.#holders();
      if (holders.length > 0) this.#log.error({ holders }, 'came into use while stopping');
    }
    this.#proxy.close();
    await this.#endRoles();
    this.#log.info('stopped');
  }

  /** In the order of dependency: whoever uses another ends first. */
  async #endRoles(): Promise<void> {
    for (const name of START_ORDER.toReversed()) await this.#roles[name].stop({ timeoutMs: STOP_LIMIT_MS });
  }
}

/** Numbers that only a role would look at otherwise, when half of the tree is up. */
function checkNumbers({ flags }: Config): void {
  flags.optionalSizeBytes('size');
  for (const name of ['overprovisioning', 'full-pool-wait', 'stop-wait']) flags.number(name);
  flags.sizeBytes('scrub-rate');
  flags.optionalDurationMs('scrub-every');
}

function backendOf(role: RoleProcess, socketPath: string): ConstructorParameters<typeof Proxy>[0][number]['backend'] {
  return {
    name: role.name,
    target: `unix://${socketPath}`,
    get life() {
      return role.life;
    },
    whenReady: (options) => role.whenReady(options),
  };
}

function makeRoles(config: Config, log: Logger): Record<RoleName, RoleProcess> {
  const { flags } = config;
  const paths = statePaths(flags.text('state'));
  const node = flags.text('node');
  const store = `unix://${paths.storeSocket}`;
  const optional = (name: string): string[] => (flags.has(name) ? [`--${name}`, flags.text(name)] : []);
  const keeper = ['--keeper', paths.keeperSocket];
  const role = (name: RoleName, args: readonly string[], options: { readonly servesIo?: boolean } = {}): RoleProcess =>
    new RoleProcess({
      name,
      command: [...programOf(name), ...args, '--log-level', config.logLevel],
      ...(options.servesIo === true ? { around: (spawnIt) => asIoFlusher(spawnIt, log) } : {}),
      environment: { UV_THREADPOOL_SIZE: THREAD_POOL_SIZE },
      log,
    });
  return {
    keeper: role('keeper', ['--socket', paths.keeperSocket], { servesIo: true }),
    store: role(
      'store',
      [
        '--pool',
        paths.pool,
        '--endpoint',
        store,
        '--node',
        node,
        ...keeper,
        ...optional('chunk-size'),
        ...optional('overprovisioning'),
        ...optional('full-pool-wait'),
        ...optional('prewrite'),
        ...optional('scrub-every'),
        ...optional('scrub-rate'),
        ...optional('size'),
      ],
      { servesIo: true },
    ),
    controller: role('controller', ['--endpoint', `unix://${paths.controllerSocket}`, '--store', `${node}=${store}`]),
    node: role('node', ['--endpoint', `unix://${paths.nodeSocket}`, '--node', node, '--store', store, ...keeper]),
  };
}

/** Said once: the tree runs without. */
function warnWithoutIoFlusher(log: Logger): void {
  const refusal = setIoFlusher({ enabled: true });
  if (refusal === null) setIoFlusher({ enabled: false });
  else
    log.warn(
      { reason: refusal.message },
      'the store cannot be marked as serving I/O (it takes CAP_SYS_RESOURCE): when memory is short it may stall',
    );
}

/** The child's memory allocations must not wait for I/O that it serves; it inherits the mark from the thread that forks. */
function asIoFlusher<Result>(spawnIt: () => Result, log: Logger): Result {
  const refusal = setIoFlusher({ enabled: true });
  if (refusal !== null) log.debug({ reason: refusal.message }, 'keeper and store are not marked as serving I/O');
  try {
    return spawnIt();
  } finally {
    if (refusal === null) setIoFlusher({ enabled: false });
  }
}
