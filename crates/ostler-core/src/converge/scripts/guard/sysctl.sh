#!/bin/sh
# Guard of the kernel settings that can cut a connection, such as rp_filter: those of each interface, and whether packets are sent on.
set -u
verb=$1 saved=$2 mode=${3-live}
. ./files

values() { grep -rs . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf; }

# What Ostler writes; other packages leave files there too.
files() {
  printf '%s\n' /etc/sysctl.conf /etc/sysctl.d/90-ostler.conf /var/lib/ostler/sysctl.before
  find /etc/sysctl.d -type f -name '*.conf' ! -name 90-ostler.conf 2>/dev/null
}

# Sets those that differ from what was saved. A change of `all` or `ip_forward` changes others, so it takes two rounds.
restore_values() {
  [ -s "$saved/values" ] || return 0
  values | grep -Fxv -f - "$saved/values" | while IFS= read -r line; do
    file=${line%%:*}
    [ ! -w "$file" ] || { echo "${line#*:}" >"$file"; } 2>/dev/null || echo "$file can't be set"
  done
}

case $verb in
save)
  IFS=$newline
  save_paths $(files) || exit
  values >"$saved/values"
  exit 0
  ;;
restore)
  restore_paths || exit
  [ "$mode" = files ] || { restore_values; restore_values; }
  ;;
esac
