/**
 * csi-sanity against the whole driver, once with mounted and once with raw block volumes. Each of its specs is a test of
 * its own here. A spec may be skipped only for what the driver does not offer.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { runCommand } from '../../src/util/exec.ts';
import { canMount, canUseFuse, canUseLoop, csiSanityPath, describeIf, hasCommand, hasCsiSanity } from '../support/capabilities.ts';
import { LocalDriver } from '../support/local-driver.ts';

interface Spec {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeText: string;
  readonly LeafNodeType: string;
  /** passed, skipped, pending, failed, panicked, … */
  readonly State: string;
  readonly Failure?: { readonly Message: string };
}

/** What the driver does not offer, by design or not yet, in the words of a skipped spec's reason or name. */
const mayBeSkipped = [
  /Controller Publish, UnpublishVolume not supported/,
  /ControllerPublishVolume|ControllerUnpublishVolume/,
  /modify ?volume/i,
  /GroupSnapshot|Group Snapshot|GroupController|VolumeGroup/,
  /VolumeHealth|StorageHealth|volume health/i,
  /snapshot accessibility|SNAPSHOT_ACCESSIBILITY/i,
  /attach limit|AttachLimit/i,
];

const SANITY_LIMIT_MS = 300_000;
const VOLUME_BYTES = 1024 ** 3;

async function runSanity(accessType: 'mount' | 'block'): Promise<Spec[]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-sanity-'));
  const driver = await LocalDriver.start({ folder, size: '4GiB' });
  const report = path.join(os.tmpdir(), `${path.basename(folder)}.json`);
  try {
    const { output, errorOutput } = await runCommand(
      csiSanityPath,
      [
        '--csi.endpoint',
        path.join(folder, 'csi.sock'),
        '--csi.mountdir',
        path.join(folder, 'target'),
        '--csi.stagingdir',
        path.join(folder, 'staging'),
        '--csi.testvolumesize',
        String(VOLUME_BYTES),
        '--csi.testvolumeexpandsize',
        String(2 * VOLUME_BYTES),
        '--csi.testvolumeaccesstype',
        accessType,
        '--ginkgo.json-report',
        report,
        '--ginkgo.no-color',
      ],
      { timeoutMs: SANITY_LIMIT_MS, expectedStatuses: [0, 1] },
    );
    if (!fs.existsSync(report)) throw new Error(`csi-sanity left no report:\n${output}\n${errorOutput}`);
    const suites = JSON.parse(fs.readFileSync(report, 'utf8')) as { SpecReports: Spec[] }[];
    return suites.flatMap((suite) => suite.SpecReports).filter((spec) => spec.LeafNodeType === 'It');
  } finally {
    fs.rmSync(report, { force: true });
    leftBehind.push(...(await driver.stop()));
  }
}

const leftBehind: string[] = [];
const needs = [hasCommand(), hasCsiSanity(), canUseFuse(), canUseLoop(), canMount()];
const able = needs.every((need) => need.lack === undefined);
// The specs are known only after the run, and tests must be registered while the file loads.
const results = able ? { mount: await runSanity('mount'), block: await runSanity('block') } : { mount: [], block: [] };

describe.each(['mount', 'block'] as const)('csi-sanity with %s volumes', (accessType) => {
  describeIf(...needs)('against the local driver', () => {
    const specs = results[accessType];
    test('runs the specs of identity, controller and node', () => {
      expect(specs.filter((spec) => spec.State === 'passed').length).toBeGreaterThan(60);
    });
    for (const [index, spec] of specs.entries()) {
      const name = [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(' › ');
      const excused = mayBeSkipped.some((words) => words.test(`${name} ${spec.Failure?.Message ?? ''}`));
      // A pending spec is one that the suite itself does not run.
      if (spec.State === 'pending' || (spec.State === 'skipped' && excused)) continue;
      test(`${index + 1}: ${name}`, () => {
        expect({ state: spec.State, message: spec.Failure?.Message }).toEqual({ state: 'passed', message: undefined });
      });
    }
  });
});

describeIf(...needs)('after csi-sanity', () => {
  test('the driver stops in order and leaves nothing behind', () => {
    expect(leftBehind).toEqual([]);
  });
});
