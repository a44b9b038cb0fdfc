/** The test bed itself: what it says when something is wrong, and that a node can be cut off and come back. */
import { expect, test } from '@jest/globals';
import { describeOnCluster } from './support/suite.ts';

const emptyDisk = {
  spec: { volumes: [{ name: 'scratch', emptyDir: {} }] },
  container: { volumeMounts: [{ name: 'scratch', mountPath: '/data' }] },
};

describeOnCluster('the test bed', {}, ({ inSpace, kube }) => {
  test(
    'finds a byte that is wrong in known data',
    inSpace(async (space) => {
      const data = { path: '/data/known', seed: 'bed', sizeBytes: 3 * 1024 * 1024 + 17 };
      await space.pod({ name: 'pod', ...emptyDisk });
      await space.write('pod', data);
      await space.verify('pod', data);
      await space.exec('pod', ['sh', '-c', 'printf x | dd of=/data/known bs=1 seek=1048577 conv=notrunc status=none']);
      await expect(space.verify('pod', data)).rejects.toThrow(/\/data\/known in pod pod does not hold the data of seed "bed"/);
    }),
  );

  test(
    'tells the events, states and logs of a namespace where something does not come about',
    inSpace(async (space) => {
      await space.startPod({ name: 'talker', command: ['sh', '-c', 'echo these are my last words; sleep infinity'] });
      await space.podReady('talker');
      await space.startPod({ name: 'lost', node: 'nowhere' });
      const error = await space.podReady('lost', { timeoutMs: 3000 }).then(
        () => new Error('it came about'),
        (reason: Error) => reason,
      );
      expect(error.message).toMatch(/did not come about within 3000 ms: Pod .*lost is ready/);
      expect(error.message).toMatch(/pod lost on no node \(.*didn't match Pod's node affinity/);
      expect(error.message).toMatch(/event .* Pod lost: FailedScheduling/);
      expect(error.message).toMatch(/log talker\/main: these are my last words/);
    }),
  );

  test('runs commands in pods with input, and tells how they ended', async () => {
    const { status, errorOutput } = await kube.kubectlAny(['get', 'pod', 'not-there']);
    expect(status).toBe(1);
    expect(errorOutput).toContain('not found');
  });
});
