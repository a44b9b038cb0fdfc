import net from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { parseListenAddress, startHttp, type HttpOptions, type RunningHttp } from '../../../src/roles/process/http.ts';
import { StoreError } from '../../../src/util/errors.ts';
import { silentLogger } from '../../../src/util/log.ts';

let server: RunningHttp | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

async function serve(options: Partial<HttpOptions> = {}): Promise<RunningHttp> {
  const well = () => Promise.resolve();
  server = await startHttp({ listen: '127.0.0.1:0', live: well, ready: well, log: silentLogger(), ...options });
  return server;
}

async function get(path: string, init: RequestInit = {}): Promise<{ status: number; text: string; type: string | null }> {
  const response = await fetch(`http://127.0.0.1:${server!.port}${path}`, init);
  return { status: response.status, text: await response.text(), type: response.headers.get('content-type') };
}

describe('probes', () => {
  test('are 200 when all is well', async () => {
    await serve();
    expect(await get('/livez')).toMatchObject({ status: 200, text: 'ok\n' });
    expect(await get('/readyz?verbose=1')).toMatchObject({ status: 200, text: 'ok\n' });
  });

  test('say in one line what is wrong, each for itself', async () => {
    await serve({ ready: () => Promise.reject(new StoreError('unavailable', 'the store is away\nand a second line')) });
    expect(await get('/readyz')).toMatchObject({ status: 503, text: 'the store is away\n' });
    expect(await get('/livez')).toMatchObject({ status: 200 });
  });

  test('tell nothing of our bugs', async () => {
    await serve({ live: () => Promise.reject(new Error('secret at /etc/key')) });
    expect(await get('/livez')).toMatchObject({ status: 503, text: 'internal error; the log has it\n' });
  });

  test('do not wait for ever, and do not pile up', async () => {
    let asked = 0;
    const answer = Promise.withResolvers<void>();
    await serve({ timeoutMs: 50, ready: () => ((asked += 1), answer.promise) });
    const answers = await Promise.all([get('/readyz'), get('/readyz'), get('/readyz')]);
    expect(answers.map(({ status }) => status)).toEqual([503, 503, 503]);
    expect(answers[0]?.text).toContain('did not answer');
    expect(asked).toBeLessThan(3);
    answer.resolve();
  });
});

describe('metrics', () => {
  test('are told with their content type', async () => {
    await serve({ metrics: () => Promise.resolve({ contentType: 'text/plain; version=0.0.4', body: 'a 1\n' }) });
    expect(await get('/metrics')).toEqual({ status: 200, text: 'a 1\n', type: 'text/plain; version=0.0.4' });
  });

  test('that cannot be read are an error without details', async () => {
    await serve({ metrics: () => Promise.reject(new Error('secret')) });
    const { status, text } = await get('/metrics');
    expect(status).toBe(500);
    expect(text).not.toContain('secret');
  });
});

test('nothing else is served', async () => {
  await serve();
  expect((await get('/')).status).toBe(404);
  expect((await get('/metrics')).status).toBe(404);
  expect((await get('/livez/../livez/x')).status).toBe(404);
  expect((await get('/livez', { method: 'POST', body: 'x' })).status).toBe(405);
  expect(await get('/livez', { method: 'HEAD' })).toMatchObject({ status: 200, text: '' });
});

test('a connection that says nothing does not keep the server from ending', async () => {
  await serve();
  const silent = net.connect(server!.port, '127.0.0.1');
  const closed = new Promise((resolve) => silent.on('close', resolve));
  await new Promise((resolve) => silent.on('connect', resolve));
  await server!.stop();
  server = null;
  await closed;
});

test('a port that is taken is a clear error', async () => {
  await serve();
  const again = startHttp({
    listen: `127.0.0.1:${server!.port}`,
    live: () => Promise.resolve(),
    ready: () => Promise.resolve(),
    log: silentLogger(),
  });
  await expect(again).rejects.toThrow(/cannot listen on 127\.0\.0\.1:\d+/);
});

test('addresses', () => {
  expect(parseListenAddress('0.0.0.0:9808', '--http')).toEqual({ host: '0.0.0.0', port: 9808 });
  expect(parseListenAddress(':9808', '--http')).toEqual({ host: null, port: 9808 });
  expect(parseListenAddress('[::]:9808', '--http')).toEqual({ host: '::', port: 9808 });
  for (const wrong of ['9808', 'host', 'host:', 'host:99999', '::1:80', '[host]:1', 'a b:1'])
    expect(() => parseListenAddress(wrong, '--http')).toThrow(/--http must be HOST:PORT/);
});
