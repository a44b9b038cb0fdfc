import { describe, expect, test } from '@jest/globals';
import { parseCommandLine, parseDuration, parseSize, socketPathOf, UsageError, type Config } from '../src/config.ts';

function parsed(words: string, environment: NodeJS.ProcessEnv = {}): Config {
  const config = parseCommandLine(words.split(' '), environment);
  if (typeof config === 'string') throw new Error('a help text');
  return config;
}

describe('command line', () => {
  test('flags and words become one frozen Config', () => {
    const config = parsed('local --state /s --size 8GiB --endpoint unix:///c.sock --node n1');
    expect(config).toMatchObject({ command: 'local', positionals: [], logLevel: 'info' });
    expect(config.flags.sizeBytes('size')).toBe(8 * 2 ** 30);
    expect(config.flags.text('overprovisioning')).toBe('10');
    expect(config.flags.optionalText('chunk-size')).toBeNull();
    expect(Object.isFrozen(config)).toBe(true);
  });

  test('the environment gives what the command line does not', () => {
    const environment = { CHUNKSTORE_STATE: '/from-environment', CHUNKSTORE_LOG_LEVEL: 'debug' };
    const config = parsed('list --log-level warn', environment);
    expect(config.flags.text('state')).toBe('/from-environment');
    expect(config.logLevel).toBe('warn');
    expect(parsed('list', environment).logLevel).toBe('debug');
  });

  test('a repeatable flag is a list, from the environment with commas', () => {
    expect(parsed('controller --endpoint unix:///c --store a=unix:///a --store b=unix:///b').flags.list('store')).toHaveLength(2);
    expect(parsed('controller --endpoint unix:///c', { CHUNKSTORE_STORE: 'a=unix:///a,b=unix:///b' }).flags.list('store')).toHaveLength(2);
  });

  test.each([
    ['frobnicate', 'there is no command "frobnicate"'],
    ['list --frobnicate', "Unknown option '--frobnicate'"],
    ['list --output xml', '--output must be one of table, json'],
    ['local --endpoint unix:///c', '--state is missing'],
    ['create --size 1GiB', 'NAME is missing'],
    ['create a b --size 1GiB', '"b" is one word too many'],
    ['local --state /s --endpoint unix:///c --chunk-size 4KiB', '--chunk-size must be one of'],
  ])('%s: a usage error in one line', (words, message) => {
    const attempt = (): Config => parsed(words);
    expect(attempt).toThrow(UsageError);
    expect(attempt).toThrow(message);
    try {
      attempt();
    } catch (error) {
      expect((error as Error).message).not.toContain('\n');
    }
  });

  test('help tells commands, and of each its flags', () => {
    expect(parseCommandLine([], {})).toContain('usage: chunkstore COMMAND');
    expect(parseCommandLine(['revert', '--help'], {})).toContain('--no-safety-snapshot');
    expect(parseCommandLine(['help', 'clone'], {})).toContain('usage: chunkstore clone VOLUME|SNAPSHOT NAME');
  });
});

describe('sizes', () => {
  test.each([
    ['4096', 4096],
    ['64KiB', 65536],
    ['1.5Gi', 1.5 * 2 ** 30],
    ['2T', 2 * 2 ** 40],
  ])('%s', (text, bytes) => expect(parseSize(text, '--size')).toBe(bytes));

  test.each(['', '0', '-1', '1GB', 'GiB', '1.3', '9999999TiB'])('%j is refused', (text) =>
    expect(() => parseSize(text, '--size')).toThrow(UsageError),
  );
});

describe('times', () => {
  test.each([
    ['7d', 7 * 86_400_000],
    ['36h', 36 * 3_600_000],
    ['1.5h', 90 * 60_000],
    ['90m', 90 * 60_000],
    ['60s', 60_000],
    ['off', null],
    ['0', null],
  ])('%s', (text, durationMs) => expect(parseDuration(text, '--scrub-every')).toBe(durationMs));

  test.each(['', '7', '-1d', '59s', '7 d', 'never', '1w', '9999999999999d'])('%j is refused', (text) =>
    expect(() => parseDuration(text, '--scrub-every')).toThrow(UsageError),
  );
});

test('a socket is an absolute path with or without unix://', () => {
  expect(socketPathOf('unix:///a/b.sock')).toBe('/a/b.sock');
  expect(socketPathOf('/a/b.sock')).toBe('/a/b.sock');
  expect(() => socketPathOf('tcp://1.2.3.4:5')).toThrow(UsageError);
});
