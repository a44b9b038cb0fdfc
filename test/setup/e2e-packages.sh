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

. "$(dirname "$0")/lib-packages.sh"
install_missing "e2e" "the tests on Kubernetes say what is missing and are skipped"
