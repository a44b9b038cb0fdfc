import { expect, test } from '@jest/globals';
import { Admission } from '../../../src/store/succession/admission.ts';

class Calls {
  readonly #gates: PromiseWithResolvers<string>[] = [];

  wait(): Promise<string> {
    const gate = Promise.withResolvers<string>();
    this.#gates.push(gate);
    return gate.promise;
  }

  release(): void {
    for (const { resolve } of this.#gates.splice(0)) resolve('answer');
  }
}

test('calls pass while it is open, and what was let in can be waited for', async () => {
  const admission = new Admission();
  const calls = new Calls();
  const gated = admission.admit(calls);
  const running = gated.wait();
  admission.close();
  await expect(gated.wait()).rejects.toMatchObject({ code: 'unavailable' });
  expect(await admission.idle({ timeoutMs: 1 })).toBe(false);
  const idle = admission.idle({ timeoutMs: 60_000 });
  calls.release();
  expect(await running).toBe('answer');
  expect(await idle).toBe(true);
  admission.open();
  const next = gated.wait();
  calls.release();
  expect(await next).toBe('answer');
});

test('a call that fails counts as over', async () => {
  const admission = new Admission();
  await expect(admission.pass(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  admission.close();
  expect(await admission.idle({ timeoutMs: 1 })).toBe(true);
});
