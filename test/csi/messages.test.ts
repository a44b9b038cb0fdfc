import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { GENERATED_PATH, generateTypes } from '../../proto/generate-types.ts';
import { csiService, loadCsiPackage } from '../../src/csi/proto.ts';

describe('the types of proto/csi.proto', () => {
  test('are current: else run `node proto/generate-types.ts`', async () => {
    expect(readFileSync(GENERATED_PATH, 'utf8')).toBe(await generateTypes(loadCsiPackage()));
  });

  test('describe what the loader delivers', () => {
    const { CreateVolume } = csiService(loadCsiPackage(), 'Controller');
    const request = {
      name: 'x',
      capacityRange: { requiredBytes: 2 ** 40 },
      volumeCapabilities: [{ mount: { fsType: 'xfs' }, accessMode: { mode: 'SINGLE_NODE_WRITER' } }],
    };
    expect(CreateVolume!.requestDeserialize(CreateVolume!.requestSerialize(request))).toEqual({
      name: 'x',
      capacityRange: { requiredBytes: '1099511627776', limitBytes: '0' },
      volumeCapabilities: [
        { mount: { fsType: 'xfs', mountFlags: [], volumeMountGroup: '' }, accessType: 'mount', accessMode: { mode: 'SINGLE_NODE_WRITER' } },
      ],
      parameters: {},
      secrets: {},
      volumeContentSource: null,
      accessibilityRequirements: null,
      mutableParameters: {},
    });
  });
});
