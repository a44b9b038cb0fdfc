#!/bin/sh
# Builds csi-sanity from the Go module in test/sanity/tool to .tools/csi-sanity, once for each version of that module.
# Without a Go that is new enough the suite is skipped, loudly; no toolchain is downloaded.
set -eu
cd "$(dirname "$0")/../.."
module=test/sanity/tool
program=.tools/csi-sanity

version=$(cat "$module/go.mod" "$module/go.sum" | cksum | cut -d ' ' -f 1)
use() {
  ln -sf "$(basename "$program-$version")" "$program"
  exit 0
}

skip() {
  rm -f "$program"
  echo "setup: SKIPPING csi-sanity: $1" >&2
  exit 0
}

[ -x "$program-$version" ] && use

needed=$(sed -n 's/^go //p' "$module/go.mod")
command -v go >/dev/null || skip "Go is not installed (it needs $needed or newer)"
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly
found=$(go env GOVERSION | sed 's/^go//')
oldest=$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)
[ "$oldest" = "$needed" ] || skip "Go $found is too old (it needs $needed or newer)"

echo "setup: building csi-sanity (a minute, once)"
mkdir -p .tools
(cd "$module" && go build -trimpath -o "../../../$program-$version.partial" github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity) ||
  skip "it could not be built; the lines above say why"
"$program-$version.partial" --version >/dev/null
mv "$program-$version.partial" "$program-$version"
use
