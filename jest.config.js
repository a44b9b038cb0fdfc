/**
 * One jest project a layer of tests. `make test` runs the layers one after another by test/setup/run-tests.ts;
 * `npx jest --selectProjects unit` runs one by hand (with NODE_OPTIONS=--experimental-vm-modules, as npm test sets it).
 */
const common = {
  rootDir: import.meta.dirname,
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2024' }, module: { type: 'es6' }, sourceMaps: 'inline' },
    ],
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/.tools/'],
  injectGlobals: false,
};

/** Folders of test/ that need the built command and the machine to themselves; everything else there is the unit layer. */
const layersWithFolders = ['system', 'sanity', 'crash', 'e2e'];

const onCluster = {
  ...common,
  // Brings the cluster up, and down again: once for both projects.
  globalSetup: '<rootDir>/test/e2e/support/global-setup.ts',
  globalTeardown: '<rootDir>/test/e2e/support/global-teardown.ts',
};

export default {
  projects: [
    {
      ...common,
      displayName: 'unit',
      testMatch: ['<rootDir>/test/**/*.test.ts'],
      testPathIgnorePatterns: layersWithFolders.map((layer) => `<rootDir>/test/${layer}/`),
    },
    ...layersWithFolders
      .filter((layer) => layer !== 'e2e' && layer !== 'system')
      .map((layer) => ({ ...common, displayName: layer, testMatch: [`<rootDir>/test/${layer}/**/*.test.ts`] })),
    // Those whose limits or subjects are the whole machine's come one by one.
    { ...common, displayName: 'system', testMatch: ['<rootDir>/test/system/*.test.ts'] },
    {
      ...common,
      displayName: 'system-alone',
      testMatch: ['<rootDir>/test/system/alone/*.test.ts'],
      runner: '<rootDir>/test/setup/serial-runner.js',
    },
    // First those that use nothing but a namespace of their own, beside each other; then, one by one, those that would be
    // in each other's way.
    { ...onCluster, displayName: 'e2e', testMatch: ['<rootDir>/test/e2e/*.test.ts'] },
    {
      ...onCluster,
      displayName: 'e2e-alone',
      testMatch: ['<rootDir>/test/e2e/alone/*.test.ts'],
      runner: '<rootDir>/test/setup/serial-runner.js',
    },
  ],
};
