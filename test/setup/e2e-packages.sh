#!/bin/sh
# Installs the Debian packages that the cluster of the e2e tests and its images need, as root on Debian or Ubuntu.
# Anywhere else, and where one cannot be had, nothing fails: the tests say what is missing and are skipped.
set -eu
PATH=$PATH:/usr/sbin:/sbin

# program:package
programs='
etcd:etcd-server
containerd:containerd
runc:runc
/usr/lib/cni/bridge:containernetworking-plugins
openssl:openssl
ip:iproute2
curl:curl
buildah:buildah
debootstrap:debootstrap
git:git
'

missing_packages() {
  for line in $programs; do
    command -v "${line%%:*}" >/dev/null || echo "${line##*:}"
  done | sort -u | tr '\n' ' '
}

packages=$(missing_packages)
[ -n "$packages" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "setup: MISSING packages for e2e (Debian names): $packages" >&2
  exit 0
fi

echo "setup: installing Debian packages: $packages"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq -o DPkg::Lock::Timeout=120 </dev/null || echo "setup: apt-get update failed; trying with what is known" >&2
# shellcheck disable=SC2086 # a list of names
apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 $packages </dev/null >/dev/null ||
  echo "setup: apt-get install failed" >&2
packages=$(missing_packages)
[ -z "$packages" ] || echo "setup: STILL MISSING: $packages" >&2
