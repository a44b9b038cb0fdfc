/**
 * What this machine allows. A suite that needs more than there is gets skipped loudly: its name carries the reason, which
 * test/setup/run-tests.ts repeats at the end of a run. Nothing is skipped for any other reason.
 */
import { describe } from '@jest/globals';
import type { Capability } from './machine.ts';

// Suites find both here; what is in machine.ts also works outside jest.
export {
  canMount,
  canUseFuse,
  canUseLoop,
  commandPath,
  csiSanityPath,
  hasCommand,
  hasCsiSanity,
  hasDeviceMapperTarget,
  hasFileSystem,
  hasHelm,
  hasPrograms,
  hasPublishedSnapshotCrds,
} from './machine.ts';
export type { Capability } from './machine.ts';

/** `describe` where every capability is there, else a skipped suite whose name says what is missing. */
export function describeIf(...needs: readonly Capability[]): (name: string, body: () => void) => void {
  const lacks = needs.map(({ lack }) => lack).filter((lack) => lack !== undefined);
  if (lacks.length === 0) return describe;
  // oxlint-disable-next-line jest/no-disabled-tests, jest/valid-describe-callback -- the one place that may skip, and it says why
  return (name, body) => describe.skip(`${name} [skipped: ${lacks.join('; ')}]`, body);
}
