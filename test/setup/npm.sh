#!/bin/sh
# Installs the npm packages exactly as package-lock.json names them, once for each change of it (the Makefile keeps the
# marker). Any npm from 10 on will do; the Node that runs the project comes with the packages.
set -eu
cd "$(dirname "$0")/../.."

fail() {
  echo "setup: $1" >&2
  exit 1
}

command -v npm >/dev/null || fail "npm is missing. Install Node.js 18 or newer with npm (Debian: apt-get install npm), then try again."

# npm ci refuses a lock file without the packages of other platforms, which npm leaves out where the registry lacks
# them. With --no-save, npm install takes the same versions and checksums, and leaves the lock file alone.
node -e '
  const [wanted, { packages }] = ["./package.json", "./package-lock.json"].map((file) => JSON.parse(require("fs").readFileSync(file, "utf8")));
  for (const kind of ["dependencies", "devDependencies"])
    if (JSON.stringify(wanted[kind]) !== JSON.stringify(packages[""][kind])) process.exit(1);
' || fail "package.json and package-lock.json name different packages. Run npm install and commit both files."

echo "setup: installing npm packages"
npm install --no-save --no-audit --no-fund --loglevel=error </dev/null

own_node=node_modules/node/bin/node
[ -x "$own_node" ] || fail "the npm package 'node' came without its binary, so its install script did not run.
If npm is told not to run install scripts (npm config get ignore-scripts), run: npm rebuild node --ignore-scripts=false"
"$own_node" --version >/dev/null || fail "$PWD/$own_node does not run on this machine (it needs glibc on x86-64 or arm64)."
