/**
 * The command line and the environment, made into one frozen Config, once. Every flag can also be given as
 * CHUNKSTORE_<NAME>, upper case with underscores; the command line wins. What is wrong is a UsageError with one clear
 * line.
 */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { COMMANDS, type CommandName, type Flag } from './commands.ts';
import { LOG_LEVELS, type LogLevel } from './util/log.ts';

export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Values of the flags that were given or have a default, by name; a repeatable flag is a list. */
export interface Config {
  readonly command: CommandName;
  readonly positionals: readonly string[];
  readonly logLevel: LogLevel;
  readonly flags: Flags;
}

/** Typed access to the flags of a command; asking for one that it does not declare is our bug. */
export class Flags {
  readonly #values: ReadonlyMap<string, readonly string[]>;
  readonly #declared: ReadonlySet<string>;

  constructor(values: ReadonlyMap<string, readonly string[]>, declared: ReadonlySet<string>) {
    this.#values = values;
    this.#declared = declared;
  }

  has(name: string): boolean {
    return this.#list(name).length > 0;
  }

  text(name: string): string {
    const value = this.optionalText(name);
    if (value === null) throw new UsageError(`--${name} is missing`);
    return value;
  }

  optionalText(name: string): string | null {
    return this.#list(name).at(-1) ?? null;
  }

  list(name: string): readonly string[] {
    return this.#list(name);
  }

  sizeBytes(name: string): number {
    return parseSize(this.text(name), `--${name}`);
  }

  optionalSizeBytes(name: string): number | null {
    const text = this.optionalText(name);
    return text === null ? null : parseSize(text, `--${name}`);
  }

  /** Milliseconds; null for `off`. */
  optionalDurationMs(name: string): number | null {
    return parseDuration(this.text(name), `--${name}`);
  }

  number(name: string): number {
    const value = Number(this.text(name));
    if (!Number.isFinite(value) || value <= 0)
      throw new UsageError(`--${name} must be a positive number, not ${JSON.stringify(this.text(name))}`);
    return value;
  }

  #list(name: string): readonly string[] {
    if (!this.#declared.has(name)) throw new Error(`flag ${name} is not declared`);
    return this.#values.get(name) ?? [];
  }
}

/** The Config of these arguments; a string is a help text that was asked for. */
export function parseCommandLine(argv: readonly string[], environment: NodeJS.ProcessEnv): Config | string {
  const [name, ...rest] = argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    const about = rest[0];
    return name === 'help' && about !== undefined ? commandHelp(commandNamed(about)) : generalHelp();
  }
  const command = commandNamed(name);
  const flags = [...COMMANDS[command].flags, HELP, LOG_LEVEL];
  const { values, positionals } = parse(rest, flags);
  if (values['help'] === true) return commandHelp(command);
  const given = new Map<string, readonly string[]>();
  for (const flag of flags) {
    const list = valuesOf(flag, values[flag.name], environment);
    for (const value of list) checkChoice(flag, value);
    if (list.length > 0) given.set(flag.name, list);
    else if (flag.required === true) throw new UsageError(`${command}: --${flag.name} is missing (${flag.help})`);
  }
  checkPositionals(command, positionals);
  const declared = new Set(flags.map((flag) => flag.name));
  const logLevel = (given.get('log-level')?.at(-1) ?? 'info') as LogLevel;
  return Object.freeze({ command, positionals: Object.freeze(positionals), logLevel, flags: new Flags(given, declared) });
}

const HELP: Flag = { name: 'help', switch: true, help: 'this text' };
const LOG_LEVEL: Flag = {
  name: 'log-level',
  value: 'LEVEL',
  choices: LOG_LEVELS,
  initial: 'info',
  help: `one of ${LOG_LEVELS.join(', ')}`,
};

function commandNamed(name: string): CommandName {
  if (Object.hasOwn(COMMANDS, name)) return name as CommandName;
  throw new UsageError(`there is no command ${JSON.stringify(name)}; "chunkstore --help" lists them`);
}

function parse(
  args: readonly string[],
  flags: readonly Flag[],
): { values: Record<string, string | boolean | (string | boolean)[] | undefined>; positionals: string[] } {
  const options = Object.fromEntries(
    flags.map((flag) => [
      flag.name,
      { type: flag.switch === true ? ('boolean' as const) : ('string' as const), multiple: flag.repeatable === true },
    ]),
  );
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (error) {
    // Node's own sentence names the flag; what follows its first full stop is advice about `--`.
    throw new UsageError(((error as Error).message.split('. ')[0] ?? 'wrong flags').replace(/\.$/, ''));
  }
}

function valuesOf(
  flag: Flag,
  given: string | boolean | (string | boolean)[] | undefined,
  environment: NodeJS.ProcessEnv,
): readonly string[] {
  if (given !== undefined) return [given].flat().map(String);
  if (flag.name === 'help') return [];
  const fromEnvironment = environment[environmentName(flag)];
  if (fromEnvironment !== undefined && fromEnvironment !== '')
    return flag.repeatable === true ? fromEnvironment.split(',') : [fromEnvironment];
  if (flag.initial === undefined) return [];
  return [typeof flag.initial === 'function' ? flag.initial() : flag.initial];
}

function environmentName(flag: Flag): string {
  return `CHUNKSTORE_${flag.name.toUpperCase().replaceAll('-', '_')}`;
}

function checkChoice(flag: Flag, value: string): void {
  if (flag.choices !== undefined && !flag.choices.includes(value)) {
    throw new UsageError(`--${flag.name} must be one of ${flag.choices.join(', ')}, not ${JSON.stringify(value)}`);
  }
}

function checkPositionals(command: CommandName, positionals: readonly string[]): void {
  const wanted = COMMANDS[command].positionals ?? [];
  if (positionals.length < wanted.length) throw new UsageError(`${command}: ${wanted[positionals.length]} is missing`);
  if (positionals.length > wanted.length)
    throw new UsageError(`${command}: ${JSON.stringify(positionals[wanted.length])} is one word too many`);
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** Bytes of, for instance, "8GiB", "64KiB", "1.5Gi" or "4096". Units are powers of 1,024. */
export function parseSize(text: string, what: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text);
  const unit = match === null ? undefined : UNITS[match[2] ?? ''];
  const bytes = match === null || unit === undefined ? Number.NaN : Number(match[1]) * unit;
  if (!Number.isSafeInteger(bytes) || bytes <= 0)
    throw new UsageError(`${what} must be a size like 8GiB or 64KiB, not ${JSON.stringify(text)}`);
  return bytes;
}

const TIME_UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SHORTEST_PERIOD_MS = 60_000;

/** Milliseconds of, for instance, "7d", "36h" or "90m"; null for "off" and "0". A minute at least. */
export function parseDuration(text: string, what: string): number | null {
  if (text === 'off' || text === '0') return null;
  const match = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text);
  const durationMs = match === null ? Number.NaN : Math.round(Number(match[1]) * (TIME_UNITS_MS[match[2] ?? ''] ?? Number.NaN));
  if (!Number.isSafeInteger(durationMs) || durationMs < SHORTEST_PERIOD_MS)
    throw new UsageError(`${what} must be off, or a time of a minute or more like 7d, 36h or 90m, not ${JSON.stringify(text)}`);
  return durationMs;
}

/** The path of a `unix://` target, or a plain path. */
export function socketPathOf(target: string): string {
  const file = target.startsWith('unix://')
    ? target.slice('unix://'.length)
    : target.startsWith('unix:')
      ? target.slice('unix:'.length)
      : target;
  if (!path.isAbsolute(file))
    throw new UsageError(`${target} must be a unix socket with an absolute path, like unix:///run/chunkstore/csi.sock`);
  return file;
}

function generalHelp(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const section = (kind: 'role' | 'operator'): string =>
    Object.entries(COMMANDS)
      .filter(([, command]) => command.kind === kind)
      .map(([name, command]) => `  ${name.padEnd(width)}  ${command.help}`)
      .join('\n');
  return [
    'usage: chunkstore COMMAND [FLAGS]',
    '',
    'Roles:',
    section('role'),
    '',
    'Operator commands, against a running store (--state DIR or --endpoint unix:///…/store.sock):',
    section('operator'),
    '',
    '"chunkstore COMMAND --help" tells its flags. Each flag can also be given as CHUNKSTORE_<FLAG>.',
  ].join('\n');
}

function commandHelp(name: CommandName): string {
  const command = COMMANDS[name];
  const flags = [...command.flags, LOG_LEVEL, HELP];
  const shown = flags.map((flag) => (flag.switch === true ? `--${flag.name}` : `--${flag.name} ${flag.value ?? 'VALUE'}`));
  const width = Math.max(...shown.map((text) => text.length));
  const lines = flags.map((flag, index) => {
    const notes = [
      flag.required === true ? 'required' : '',
      typeof flag.initial === 'string' ? `default ${flag.initial}` : '',
      flag.repeatable === true ? 'repeatable' : '',
    ];
    const note = notes.filter((text) => text !== '').join(', ');
    return `  ${(shown[index] ?? '').padEnd(width)}  ${flag.help}${note === '' ? '' : ` (${note})`}`;
  });
  const words = (command.positionals ?? []).map((word) => ` ${word}`).join('');
  return [
    `usage: chunkstore ${name}${words} [FLAGS]`,
    '',
    command.help,
    ...(command.more === undefined ? [] : ['', command.more]),
    '',
    'Flags:',
    ...lines,
  ].join('\n');
}
