#!/bin/sh
# Builds the Go programs that tests run, once for each version of the module that pins them:
#   .tools/csi-sanity      from test/sanity/tool
#   .tools/helm            from the module of the test cluster, and with the same flags, so that `cluster build` finds it
#                          compiled already
#   .tools/snapshot-crds   the snapshot API's definitions as its project publishes them, in the version pinned there
# Without a Go that is new enough, the tests that need them are skipped, loudly; no toolchain is downloaded.
set -eu
cd "$(dirname "$0")/../.."
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly

skip() {
  rm -rf ".tools/$1"
  echo "setup: SKIPPING $1: $2" >&2
}

# Whether Go can build the module; says why not.
can_build() {
  needed=$(sed -n 's/^go //p' "$2/go.mod")
  command -v go >/dev/null || { skip "$1" "Go is not installed (it needs $needed or newer)" && return 1; }
  found=$(go env GOVERSION | sed 's/^go//')
  oldest=$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)
  [ "$oldest" = "$needed" ] || { skip "$1" "Go $found is too old (it needs $needed or newer)" && return 1; }
}

# provide NAME MODULE MAKE: .tools/NAME, which MAKE makes at the path that it is given, in the module's folder.
provide() {
  name=$1 module=$2 make=$3
  version=$(cat "$module/go.mod" "$module/go.sum" | cksum | cut -d ' ' -f 1)
  if [ ! -e ".tools/$name-$version" ]; then
    can_build "$name" "$module" || return 0
    echo "setup: building $name (minutes, once)"
    partial=$PWD/.tools/$name-$version.partial
    rm -rf "$partial"
    if ! (cd "$module" && "$make" "$partial"); then
      rm -rf "$partial"
      skip "$name" "it could not be built; the lines above say why"
      return 0
    fi
    mv -T "$partial" ".tools/$name-$version"
  fi
  ln -sfn "$name-$version" ".tools/$name"
}

csi_sanity() {
  go build -trimpath -o "$1" github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity && "$1" --version >/dev/null
}

helm() {
  CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$1" helm.sh/helm/v3/cmd/helm && "$1" version >/dev/null
}

snapshot_crds() {
  client=github.com/kubernetes-csi/external-snapshotter/client/v8
  go mod download "$client" && mkdir "$1" && cp "$(go list -m -f '{{.Dir}}' "$client")"/config/crd/snapshot.storage.k8s.io_*.yaml "$1/"
}

# One at a time in a checkout: two would take each other's halves away.
mkdir -p .tools
exec 9>.tools/.lock
flock 9
provide csi-sanity test/sanity/tool csi_sanity
provide helm test/e2e/cluster/sidecars helm
provide snapshot-crds test/e2e/cluster/sidecars snapshot_crds
