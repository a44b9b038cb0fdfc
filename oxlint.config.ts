/**
 * Lint rules. The table of allowed edges between the folders of src/ is the architecture; whoever changes it changes
 * docs/architecture.md too. test/setup/lint-rules.test.ts plants a violation of each rule that matters and expects it to be found.
 */
import { defineConfig } from 'oxlint';

/** What a folder of src/ may import beside itself. src/main.ts and src/commands.ts may import all. The folders that wire
 * processes together read the configuration too. */
const allowedImports: Record<string, string[]> = {
  util: [],
  linux: ['util'],
  engine: ['util'],
  mount: ['linux', 'util'],
  block: ['linux', 'util'],
  csi: ['util'],
  k8s: ['util'],
  store: ['engine', 'block', 'linux', 'util'],
  roles: ['csi', 'k8s', 'mount', 'store', 'block', 'linux', 'util', 'config.ts', 'version.ts'],
  local: ['roles', 'csi', 'linux', 'util', 'config.ts'],
  operator: ['local', 'roles', 'store', 'block', 'linux', 'util', 'config.ts'],
};
const foldersWithGrpc = ['csi', 'k8s', 'store', 'roles', 'local'];

const noKoffi = { group: ['koffi', 'koffi/**'], message: 'System calls belong to src/linux; take a port instead.' };
const noGrpc = { group: ['@grpc/**'], message: 'gRPC belongs to src/csi, src/k8s, src/store and the processes that serve them.' };

const boundaries = Object.entries(allowedImports).flatMap(([folder, allowed]) => {
  const packages = [...(folder === 'linux' ? [] : [noKoffi]), ...(foldersWithGrpc.includes(folder) ? [] : [noGrpc])];
  const names = [...allowed.map((name) => `src/${name}`), 'itself'].join(', ');
  const message = `src/${folder} may import only ${names}.`;
  // `up` leads out of the folder, from a file right in it and from one a level deeper.
  return [
    { files: [`src/${folder}/*`], up: '../' },
    { files: [`src/${folder}/*/**`], up: '../../' },
  ].map(({ files, up }) => {
    const group = [`${up}**`, ...allowed.map((name) => (name.endsWith('.ts') ? `!${up}${name}` : `!${up}${name}/**`))];
    return { files, rules: { 'no-restricted-imports': ['error', { patterns: [{ group, message }, ...packages] }] } as const };
  });
});

export default defineConfig({
  plugins: ['typescript', 'unicorn', 'oxc', 'import', 'jest', 'promise', 'node'],
  categories: { correctness: 'error' },
  ignorePatterns: ['node_modules', 'dist', '.tools', 'charts'],
  options: { typeAware: true, denyWarnings: true, reportUnusedDisableDirectives: 'error' },
  rules: {
    'typescript/no-floating-promises': 'error',
    'typescript/no-misused-promises': 'error',
    'typescript/await-thenable': 'error',
    // What was caught and kept is `unknown`, and may be thrown again.
    'typescript/only-throw-error': ['error', { allowThrowingUnknown: true }],
    'typescript/prefer-promise-reject-errors': 'error',
    'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    'typescript/no-explicit-any': 'error',
    'import/no-cycle': ['error', { ignoreTypes: false }],
    'import/no-default-export': 'error',
    // A copy lets the loop's body change what it goes through; this rule calls that useless.
    'unicorn/no-useless-spread': 'off',
    // gRPC handlers answer by a callback.
    'promise/no-callback-in-promise': 'off',
    // A list of a known length is made at once where it is filled by index.
    'unicorn/no-new-array': 'off',
    eqeqeq: 'error',
    'no-var': 'error',
    'prefer-const': 'error',
    'no-restricted-imports': ['error', { patterns: [noKoffi] }],
    // A skipped test says why through test/support/capabilities.ts; a focused one hides all others.
    'jest/no-focused-tests': 'error',
    'jest/no-disabled-tests': 'error',
    // Contract suites and model tests assert in helpers, loops and branches.
    'jest/expect-expect': 'off',
    'jest/no-conditional-expect': 'off',
    'jest/no-standalone-expect': 'off',
    'jest/no-export': 'off',
    'jest/require-to-throw-message': 'off',
  },
  overrides: [
    {
      files: ['src/**'],
      rules: {
        'max-lines': ['error', { max: 500, skipBlankLines: true, skipComments: true }],
        'max-lines-per-function': ['error', { max: 120, skipBlankLines: true, skipComments: true }],
      },
    },
    ...boundaries,
    { files: ['test/linux/**'], rules: { 'no-restricted-imports': 'off' } },
    { files: ['*.config.js', '*.config.ts'], rules: { 'import/no-default-export': 'off' } },
  ],
});
