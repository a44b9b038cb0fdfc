import { expect, test } from '@jest/globals';
import { describeIf, hasHelm } from '../support/capabilities.ts';
import { template } from './chart.ts';

interface Mistake {
  readonly what: string;
  readonly set: readonly string[];
  readonly says: string;
}

const mistakes: readonly Mistake[] = [
  { what: 'a word that is misspelt', set: ['pool.sise=1GiB'], says: "at '/pool': additional properties 'sise' not allowed" },
  { what: 'a chunk size that does not exist', set: ['pool.chunkSize=4KiB'], says: "must be one of '16KiB', '32KiB', '64KiB'" },
  { what: 'a size that is none', set: ['pool.size=10 gigs'], says: 'pool.size is "10 gigs": it must be a size like 500GiB or 2TiB' },
  { what: 'a number as a size', set: ['pool.size=10'], says: "at '/pool/size': got number, want string" },
  { what: 'a folder outside the root', set: ['pool.folder=../etc'], says: 'pool.folder is "../etc": it must be a path below pool.root' },
  { what: 'a root that is no path', set: ['pool.root=pools'], says: 'pool.root is "pools": it must be an absolute path' },
  { what: 'a kubelet folder with a slash at its end', set: ['kubeletFolder=/var/lib/kubelet/'], says: 'without a slash at its end' },
  { what: 'a node that cannot be', set: ['pool.nodes.Node_1.size=1GiB'], says: '"Node_1" is not the name of a node' },
  { what: "a node's size that is none", set: ['pool.nodes.n1.size=big'], says: 'pool.nodes.n1.size is "big"' },
  {
    what: 'an unknown setting of a node',
    set: ['pool.nodes.n1.disk=a'],
    says: "at '/pool/nodes/n1': additional properties 'disk' not allowed",
  },
  {
    what: 'a file system that is not ours',
    set: ['storageClasses[0].name=a', 'storageClasses[0].fsType=zfs'],
    says: "'ext4', 'xfs', 'btrfs'",
  },
  {
    what: 'a parameter that the driver would refuse',
    set: ['storageClasses[0].name=a', 'storageClasses[0].parameters.replicas=2'],
    says: "additional properties 'replicas' not allowed",
  },
  { what: 'a class without a name', set: ['storageClasses[0].fsType=xfs'], says: "at '/storageClasses/0': missing property 'name'" },
  {
    what: 'two classes of one name',
    set: ['storageClasses[0].name=a', 'storageClasses[1].name=a'],
    says: 'storageClasses has two classes of the name a',
  },
  {
    what: 'two default classes',
    set: ['storageClasses[0].name=a', 'storageClasses[0].default=true', 'storageClasses[1].name=b', 'storageClasses[1].default=true'],
    says: 'storageClasses has more than one default class: a, b',
  },
  {
    what: 'a memory limit of the keeper',
    set: ['keeper.resources.limits.memory=1Gi'],
    says: "at '/keeper': additional properties 'resources'",
  },
  { what: 'a time that is none', set: ['scrub.every=weekly'], says: "at '/scrub/every': 'weekly' does not match pattern" },
  { what: 'a switch for a time', set: ['scrub.every=true'], says: "at '/scrub/every': 'not' failed" },
  { what: 'a rate that is none', set: ['scrub.rate=fast'], says: "at '/scrub/rate': 'fast' does not match pattern" },
  { what: 'no replica', set: ['controller.replicas=0'], says: "at '/controller/replicas': minimum: got 0, want 1" },
  { what: 'a port of the system', set: ['ports.store=80'], says: "at '/ports/store': minimum: got 80, want 1,024" },
];

describeIf(hasHelm())('values that are wrong', () => {
  for (const { what, set, says } of mistakes) {
    test(`${what} is refused with a reason`, async () => {
      const { status, output } = await template('--set', 'pool.size=1GiB', ...set.flatMap((value) => ['--set', value]));
      expect({ status, output }).toEqual({ status: 1, output: expect.stringContaining(says) });
    });
  }

  test('a missing size of the pool is asked for, with an example', async () => {
    const { status, output } = await template();
    expect({ status, output }).toEqual({ status: 1, output: expect.stringContaining('pool.size is missing') });
    expect(output).toContain('--set pool.size=100GiB');
  });
});
