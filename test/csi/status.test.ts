import { describe, expect, test } from '@jest/globals';
import { codeName, toStatus } from '../../src/csi/status.ts';
import { StoreError, type ErrorCode } from '../../src/util/errors.ts';

const call = { method: 'CreateVolume', requestId: 'r1' };

function codeOf(code: ErrorCode, method = 'CreateVolume'): string {
  return codeName(toStatus(new StoreError(code, 'words'), { method, requestId: 'r1' }).code);
}

describe('statuses', () => {
  test.each([
    ['invalid-argument', 'INVALID_ARGUMENT'],
    ['not-found', 'NOT_FOUND'],
    ['already-exists', 'ALREADY_EXISTS'],
    ['in-use', 'FAILED_PRECONDITION'],
    ['busy', 'ABORTED'],
    ['out-of-range', 'OUT_OF_RANGE'],
    ['no-space', 'RESOURCE_EXHAUSTED'],
    ['failed-precondition', 'FAILED_PRECONDITION'],
    ['unavailable', 'UNAVAILABLE'],
    ['data-loss', 'DATA_LOSS'],
  ] as const)('%s is %s', (code, expected) => {
    expect(codeOf(code)).toBe(expected);
  });

  test('a full pool is final for CreateSnapshot, so that the snapshot object can be deleted', () => {
    expect(codeOf('no-space', 'CreateSnapshot')).toBe('FAILED_PRECONDITION');
  });

  test('a full pool is final for ControllerExpandVolume, so that the claim can ask for less again', () => {
    expect(codeOf('no-space', 'ControllerExpandVolume')).toBe('OUT_OF_RANGE');
  });

  test('what is not a StoreError is INTERNAL, and says only where to look', () => {
    const { code, details } = toStatus(new Error('ENOENT: /secret/path'), call);
    expect(codeName(code)).toBe('INTERNAL');
    expect(details).toContain('r1');
    expect(details).not.toContain('secret');
    expect(toStatus(undefined, call).code).toBe(code);
  });

  test('a message is one line of limited length', () => {
    const { details } = toStatus(new StoreError('unavailable', `mkfs failed\n    at somewhere.ts:1:1\n`), call);
    expect(details).toBe('mkfs failed');
    expect(toStatus(new StoreError('unavailable', 'x'.repeat(5_000)), call).details).toHaveLength(1_024);
  });
});
