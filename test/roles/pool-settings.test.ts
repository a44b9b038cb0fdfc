import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { poolSettings, type PoolFlags, type PoolSettings } from '../../src/roles/pool-settings.ts';

const GIB = 2 ** 30;

let folder: string;
let root: string;
let settingsFolder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-settings-'));
  root = path.join(folder, 'pools');
  settingsFolder = path.join(folder, 'settings');
  fs.mkdirSync(root);
  fs.mkdirSync(settingsFolder);
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const settings = (flags: Partial<PoolFlags> = {}): PoolSettings =>
  poolSettings({ pool: 'pool', size: '10GiB', chunkSize: null, root, settingsFolder, node: 'node-1.example', ...flags });

function write(content: unknown, node = 'node-1.example'): void {
  fs.writeFileSync(path.join(settingsFolder, node), typeof content === 'string' ? content : JSON.stringify(content));
}

describe('the settings of a pool', () => {
  test('are those of the flags where the node has none of its own', () => {
    write({ size: '1TiB' }, 'another-node');
    expect(settings()).toEqual({ folder: path.join(root, 'pool'), sizeBytes: 10 * GIB, chunkSizeBytes: null });
    expect(settings({ settingsFolder: null, chunkSize: '16KiB', size: null })).toEqual({
      folder: path.join(root, 'pool'),
      sizeBytes: null,
      chunkSizeBytes: 16384,
    });
  });

  test('are those of the node, field by field', () => {
    write({ size: '500GiB' });
    expect(settings()).toEqual({ folder: path.join(root, 'pool'), sizeBytes: 500 * GIB, chunkSizeBytes: null });
    write({ folder: 'fast/pool', chunkSize: '32KiB' });
    expect(settings()).toEqual({ folder: path.join(root, 'fast/pool'), sizeBytes: 10 * GIB, chunkSizeBytes: 32768 });
    write({});
    expect(settings().folder).toBe(path.join(root, 'pool'));
  });

  test('are read through the links of a mounted ConfigMap', () => {
    fs.mkdirSync(path.join(settingsFolder, '..2026_data'));
    fs.writeFileSync(path.join(settingsFolder, '..2026_data', 'node-1.example'), '{"size":"2GiB"}');
    fs.symlinkSync('..2026_data', path.join(settingsFolder, '..data'));
    fs.symlinkSync('..data/node-1.example', path.join(settingsFolder, 'node-1.example'));
    expect(settings().sizeBytes).toBe(2 * GIB);
  });

  test('without a root, --pool may be anywhere', () => {
    expect(settings({ root: null, pool: '/data/pool', settingsFolder: null }).folder).toBe('/data/pool');
    expect(settings({ pool: path.join(root, 'deep/pool') }).folder).toBe(path.join(root, 'deep/pool'));
  });

  test.each<[string, unknown, string[]]>([
    ['no JSON', 'size: 5GiB', ['node-1.example', 'no JSON document']],
    ['no object', [1], ['JSON object']],
    ['an unknown field', { sise: '5GiB' }, ['"sise"', 'folder, size, chunkSize']],
    ['a number for a size', { size: 5 }, ['size in', 'quotes']],
    ['a size that is none', { size: 'much' }, ['size in', '"much"']],
    ['a chunk size that is not offered', { chunkSize: '128KiB' }, ['chunkSize in', '16KiB, 32KiB, 64KiB']],
    ['an empty folder', { folder: '' }, ['folder in']],
    ['the root itself', { folder: '.' }, ['not a folder inside']],
    ['a way out', { folder: '../elsewhere' }, ['not a folder inside']],
    ['a long way out', { folder: 'pool/../../elsewhere' }, ['not a folder inside']],
    ['an absolute folder', { folder: '/etc' }, ['relative']],
    ['a zero byte', { folder: 'pool\0' }, ['folder in']],
  ])('%s is an error that names file and remedy', (_, content, words) => {
    write(content);
    for (const word of words) {
      expect(() => settings()).toThrow(expect.objectContaining({ code: 'invalid-argument', message: expect.stringContaining(word) }));
    }
  });

  test('a name that begins like the way out stays inside', () => {
    write({ folder: '..pool' });
    expect(settings().folder).toBe(path.join(root, '..pool'));
  });

  test('a link in the root does not lead out of it', () => {
    fs.symlinkSync('/etc', path.join(root, 'link'));
    write({ folder: 'link/pool' });
    expect(() => settings()).toThrow('not a folder inside');
    fs.symlinkSync(path.join(root, 'real'), path.join(root, 'inside'));
    fs.mkdirSync(path.join(root, 'real'));
    write({ folder: 'inside/pool' });
    expect(settings().folder).toBe(path.join(root, 'inside/pool'));
  });

  test('a root that is itself reached by a link is fine', () => {
    const link = path.join(folder, 'link');
    fs.symlinkSync(root, link);
    expect(settings({ root: link }).folder).toBe(path.join(link, 'pool'));
  });

  test.each(['../../etc/passwd', '..', '', 'Node_1', 'a/b'])('a node named %j is no file name', (node) => {
    expect(() => settings({ node })).toThrow('must be the name of a Kubernetes node');
  });

  test('a folder of settings that is not there is a mistake, and so is a file that cannot be one', () => {
    expect(() => settings({ settingsFolder: path.join(folder, 'missing') })).toThrow('cannot read');
    fs.mkdirSync(path.join(settingsFolder, 'node-1.example'));
    expect(() => settings()).toThrow('cannot read');
    fs.rmdirSync(path.join(settingsFolder, 'node-1.example'));
    write(`{"size":"${'9'.repeat(70_000)}"}`);
    expect(() => settings()).toThrow('more than');
  });

  test('a folder of the node needs a root, and a root needs an absolute path', () => {
    write({ folder: 'fast' });
    expect(() => settings({ root: null })).toThrow('--pool-root');
    expect(() => settings({ root: 'pools' })).toThrow('absolute');
  });

  test('--pool outside the root is refused', () => {
    expect(() => settings({ pool: '/elsewhere/pool' })).toThrow('not a folder inside');
  });
});
