#!/bin/sh
# Sees to it that the programs which tests, demo and benchmark call are there. As root on Debian or Ubuntu it installs
# the packages that are missing; anywhere else it says which. Tests that need a missing one are skipped, and say so.
set -eu
PATH=$PATH:/usr/sbin:/sbin

# program:package
programs='
fio:fio
mkfs.ext4:e2fsprogs
e2fsck:e2fsprogs
resize2fs:e2fsprogs
mkfs.xfs:xfsprogs
xfs_repair:xfsprogs
xfs_growfs:xfsprogs
mkfs.btrfs:btrfs-progs
btrfstune:btrfs-progs
losetup:mount
mount:mount
blkdiscard:util-linux
blkid:util-linux
findmnt:util-linux
fsfreeze:util-linux
'

missing_packages() {
  for line in $programs; do
    command -v "${line%%:*}" >/dev/null || echo "${line##*:}"
  done | sort -u | tr '\n' ' '
}

packages=$(missing_packages)
[ -n "$packages" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "setup: MISSING packages (Debian names): $packages" >&2
  echo "setup: install them, or run make as root on Debian; what needs them is skipped or fails by name" >&2
  exit 0
fi

echo "setup: installing Debian packages: $packages"
export DEBIAN_FRONTEND=noninteractive
install_packages() {
  # shellcheck disable=SC2086 # a list of names
  apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 $packages </dev/null >/dev/null
}
apt-get update -qq -o DPkg::Lock::Timeout=120 </dev/null || echo "setup: apt-get update failed; trying with what is known" >&2
install_packages || echo "setup: apt-get install failed" >&2

packages=$(missing_packages)
[ -z "$packages" ] || echo "setup: STILL MISSING: $packages(what needs them is skipped or fails by name)" >&2
