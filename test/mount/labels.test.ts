import { expect, test } from '@jest/globals';
import { missingLabels } from '../../src/mount/labels.ts';
import { joinOptions, parseMountFlags } from '../../src/mount/mount-flags.ts';

/** As the kubelet sends it. */
const CONTEXT = 'context="system_u:object_r:container_file_t:s0:c15,c25"';

test('a label of the kubelet reaches mount(8) in one piece', () => {
  expect(joinOptions(['nouuid', ...parseMountFlags(['noatime', CONTEXT])], { readOnly: false })).toBe(`rw,nouuid,noatime,${CONTEXT}`);
});

test('a label that the mount lacks is missed, whatever its value looks like in the mount table', () => {
  expect(missingLabels(['noatime', CONTEXT], ['rw', 'noatime'])).toEqual([CONTEXT]);
  // The table's line is cut at each comma.
  expect(missingLabels(['noatime', CONTEXT], ['rw', 'context="system_u:object_r:container_file_t:s0:c15', 'c25"'])).toEqual([]);
  expect(missingLabels([CONTEXT], ['rw', 'seclabel', 'rootcontext=x'])).toEqual([CONTEXT]);
  expect(missingLabels(['noatime', 'discard'], [])).toEqual([]);
});
