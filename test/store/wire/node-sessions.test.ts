import { expect, test } from '@jest/globals';
import type { NodeRequestMessage } from '../../../src/store/wire/messages.ts';
import { NodeSessions } from '../../../src/store/wire/node-sessions.ts';
import { silentLogger } from '../../../src/util/log.ts';

/** A node that does at once what it is asked. */
function connect(sessions: NodeSessions): NodeRequestMessage[] {
  const asked: NodeRequestMessage[] = [];
  sessions.opened({
    send: (request) => {
      asked.push(request);
      queueMicrotask(() => sessions.replied({ requestId: request.requestId, error: '', node: 'n1' }));
    },
    end: () => {},
  });
  return asked;
}

test('soon after a start a cut waits for the node that was connected to the predecessor', async () => {
  const sessions = new NodeSessions({ log: silentLogger(), expectedWithinMs: 60_000 });
  let isCut = false;
  const cut = sessions.beforeCut('volume', { freeze: false }, async () => void (isCut = true));
  await new Promise(setImmediate);
  expect(isCut).toBe(false);
  const asked = connect(sessions);
  await cut;
  expect(asked.map(({ action }) => action)).toEqual(['ACTION_SYNC']);
});

test('a node that does not come in time is not waited for any longer', async () => {
  const sessions = new NodeSessions({ log: silentLogger(), expectedWithinMs: 30 });
  expect(await sessions.beforeCut('volume', { freeze: false }, () => Promise.resolve('cut'))).toBe('cut');
  const asked = connect(sessions);
  await sessions.beforeCut('volume', { freeze: false }, () => Promise.resolve());
  expect(asked).toHaveLength(1);
});
