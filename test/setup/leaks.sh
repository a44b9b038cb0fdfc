#!/bin/sh
# Finds what a run left behind on the machine: loop devices, mounts, FUSE connections, network namespaces, temporary
# folders, processes of this checkout and of the test cluster.
#   leaks.sh list            what is there now, one a line
#   leaks.sh compare FILE    waits up to 10 s until nothing is there that FILE (an earlier list) has not; else names it,
#                            with status 1. It only looks: what it finds is evidence of a clean-up that is broken.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd -P)

list() {
  # A loop device is in use while its backing_file exists; "/" there is a file in an unlisted FUSE mount.
  for backing in /sys/block/loop*/loop/backing_file; do
    [ -e "$backing" ] || continue
    device=${backing#/sys/block/}
    echo "loop device /dev/${device%%/*} on $(cat "$backing" 2>/dev/null || true)"
  done
  awk '$1 ~ /^\/dev\/loop/ || $3 ~ /^fuse/ || $1 $2 ~ /chunkstore/ { print "mount " $2 " (" $3 " from " $1 ")" }' /proc/self/mounts
  for connection in /sys/fs/fuse/connections/*; do
    [ -d "$connection" ] && echo "FUSE connection ${connection##*/}"
  done
  for namespace in /run/netns/*; do
    [ -e "$namespace" ] && echo "network namespace ${namespace##*/}"
  done
  for folder in "${TMPDIR:-/tmp}"/chunkstore*; do
    [ -e "$folder" ] && echo "temporary folder $folder"
  done
  for process in /proc/[0-9]*; do
    program=$(readlink "$process/exe" 2>/dev/null) || continue
    # The test cluster's programs all name its folder.
    case ${program% (deleted)} in "$root"/node_modules/*/node | */containerd* | */etcd | */kube | */kubectl) ;; *) continue ;; esac
    command=$(tr '\0' ' ' <"$process/cmdline" 2>/dev/null) || continue
    case $command in chunkstore* | *"${CLUSTER_DIR:-/var/lib/chunkstore-e2e}"/* | *"$root"/dist/* | *"$root"/src/*) echo "process ${process#/proc/}: $command" ;; esac
  done
  return 0
}

case ${1-} in
  list) list | sort ;;
  compare)
    tries=0
    while :; do
      left=$(list | sort | comm -13 "$2" -)
      [ -n "$left" ] || exit 0
      [ "$tries" -lt 10 ] || break
      tries=$((tries + 1))
      sleep 1
    done
    printf 'left behind:\n%s\n' "$left" >&2
    exit 1
    ;;
  *)
    echo "usage: leaks.sh list | leaks.sh compare FILE" >&2
    exit 2
    ;;
esac
