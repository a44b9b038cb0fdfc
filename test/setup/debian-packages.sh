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

. "$(dirname "$0")/lib-packages.sh"
install_missing "" "what needs them is skipped or fails by name"
