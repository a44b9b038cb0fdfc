#!/bin/sh
# Installs the Debian packages that only the benchmark needs: the stores and databases that it measures beside ours and
# on ours. As root on Debian or Ubuntu; anywhere else it says which are missing, and the benchmark skips what needs them.
set -eu
# Debian keeps PostgreSQL's programs out of the way, by version.
PATH=$PATH:/usr/sbin:/sbin:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')

# program:package
programs='
qemu-storage-daemon:qemu-system-common
qemu-img:qemu-utils
dmsetup:dmsetup
cc:gcc
/usr/include/liburing.h:liburing-dev
initdb:postgresql
pgbench:postgresql
'

. "$(dirname "$0")/lib-packages.sh"
install_missing "the benchmark" "the benchmark skips what needs them, and says so"
