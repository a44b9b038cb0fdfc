# The programs that are built here. Each Go module has a folder in the cache, named by a checksum of the module's files:
# a change of a module builds that one again and no other, and two checkouts share what they have in common.

modules='kube sidecars provisioner pause'

# Folder of what a module gives.
module_folder() {
  local checksum
  checksum=$(cd "$here/$1" && for file in go.mod go.sum *.go; do [ ! -e "$file" ] || sha256sum "$file"; done | sha256sum)
  echo "$cache/$1-${checksum:0:12}"
}

# Path of a program, built or not.
program() {
  local module
  case $1 in
    kube-apiserver | kube-controller-manager | kube-scheduler | kubelet) module=kube ;;
    helm | csi-snapshotter | csi-resizer | csi-sanity | snapshot-controller) module=sidecars ;;
    csi-provisioner) module=provisioner ;;
    pause) module=pause ;;
    *) fail "no module here gives $1" ;;
  esac
  echo "$(module_folder "$module")/$1"
}

unbuilt_modules() {
  local module
  for module in $modules; do
    [ -d "$(module_folder "$module")" ] || echo "$module"
  done
}

# The version of Go that all modules can be built with.
needed_go() { sed -n 's/^go //p' "$here"/*/go.mod | sort -V | tail -n 1; }

build() {
  local module folder partial
  mkdir -p "$cache"
  # One build at a time: two would compile the same for twice as long.
  exec 9>"$cache/.lock"
  flock -n 9 || { say "waiting for another build" && flock 9; }
  for module in $(unbuilt_modules); do
    folder=$(module_folder "$module")
    partial=$(mktemp -d "$folder.partial.XXXX")
    say "building $module (minutes, once)"
    (cd "$here/$module" && export GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 && "build_$module" "$partial") ||
      { rm -rf "$partial" && fail "$module could not be built; the lines above say why"; }
    mv -T "$partial" "$folder"
    # What older versions of the module left, but the last two: other checkouts may use them.
    find "$cache" -maxdepth 1 -name "$module-*" -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d ' ' -f 2- | xargs -r rm -rf
  done
  exec 9>&-
}

build_kube() {
  local version name
  version=$(sed -n 's/^\tk8s.io\/kubernetes v//p' go.mod)
  local package=k8s.io/component-base/version
  go build -trimpath -o "$1/kube" -ldflags "-s -w -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*} -X $package.gitMinor=$(cut -d . -f 2 <<<"$version")" .
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet; do ln -s kube "$1/$name"; done
}

build_sidecars() { go build -trimpath -ldflags '-s -w' -o "$1/" tool; }

build_provisioner() { go build -trimpath -ldflags '-s -w' -o "$1/" tool; }

build_pause() { go build -trimpath -ldflags '-s -w' -o "$1/pause" .; }
