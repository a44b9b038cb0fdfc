# shellcheck shell=sh
# For the scripts that see to Debian packages; they set `programs`, lines of program:package (or of a file's path:package), and call install_missing.

missing_packages() {
  for line in $programs; do
    case $line in
      /*) [ -e "${line%%:*}" ] ;;
      *) command -v "${line%%:*}" >/dev/null ;;
    esac || echo "${line##*:}"
  done | sort -u | tr '\n' ' '
}

# install_missing FOR CONSEQUENCE: as root on Debian or Ubuntu installs what is missing; anywhere else, and where one
# cannot be had, says which packages those are (FOR: what they are for) and what follows. Never fails.
install_missing() {
  packages=$(missing_packages)
  [ -n "$packages" ] || return 0

  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: MISSING packages${1:+ for $1} (Debian names): $packages" >&2
    echo "setup: install them, or run make as root on Debian; $2" >&2
    return 0
  fi

  echo "setup: installing Debian packages: $packages"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq -o DPkg::Lock::Timeout=120 </dev/null || echo "setup: apt-get update failed; trying with what is known" >&2
  # shellcheck disable=SC2086 # a list of names
  apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 $packages </dev/null >/dev/null ||
    echo "setup: apt-get install failed" >&2

  packages=$(missing_packages)
  [ -z "$packages" ] || echo "setup: STILL MISSING: $packages($2)" >&2
}
