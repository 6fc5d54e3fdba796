#!/bin/sh
# Guard of the module iptables: its files, and its chains as the kernel holds them.
#
# What was loaded is loaded first of all, and what was not goes last, in `verify`: where another firewall is put back, there is no moment
# without rules.
set -u
verb=$1 saved=$2 mode=${3-live}
. ./files
pruned=/etc/ostler-iptables
chains='ostler-(input|ssh|docker|docker-in)'

unit=ostler-iptables.service

changing() { changed=yes; }

ctl() { timeout 40 systemctl -q "$@"; }

each_tool() {
  for tool in iptables ip6tables; do
    ! command -v $tool >/dev/null || "$1" $tool || return
  done
}

save_rules() {
  $1-save -t filter 2>/dev/null | grep -E "^(:|-A )$chains |^-A (INPUT|DOCKER-USER) -j $chains\$" >"$saved/rules-$1" || : >"$saved/rules-$1"
}

was_loaded() { grep -q '^:ostler-input ' "$saved/rules-$1" 2>/dev/null; }

# As one transaction, with the jumps that are missing.
load() {
  {
    echo '*filter'
    "$1" -w 10 -n -L DOCKER-USER >/dev/null 2>&1 || echo '-N DOCKER-USER'
    grep -E "^(:|-A )$chains " "$saved/rules-$1"
    grep -E '^-A (INPUT|DOCKER-USER) ' "$saved/rules-$1" | while read -r _ chain _ to; do
      how=-I
      [ "$to" != ostler-input ] || how=-A
      "$1" -w 10 -C "$chain" -j "$to" 2>/dev/null || echo "$how $chain -j $to"
    done
    echo COMMIT
  } | "$1-restore" -w 10 --noflush
}

unload() {
  for jump in 'INPUT -j ostler-ssh' 'INPUT -j ostler-input' 'DOCKER-USER -j ostler-docker'; do
    while "$1" -w 10 -D $jump; do :; done
  done
  for action in -F -X; do
    for chain in ostler-input ostler-ssh ostler-docker ostler-docker-in; do "$1" -w 10 $action $chain; done
  done
  # Fails where somebody uses it.
  "$1" -w 10 -X DOCKER-USER
  return 0
} 2>/dev/null

# If all else fails, SSH is let in.
open() {
  for port in $(cut -d' ' -f2 "$saved/../ssh/reached" 2>/dev/null | sort -u); do
    "$1" -w 10 -C INPUT -p tcp --dport "$port" -j ACCEPT 2>/dev/null || "$1" -w 10 -I INPUT -p tcp --dport "$port" -j ACCEPT
  done
}

restore_rules() { ! was_loaded "$1" || load "$1" || open "$1"; }

unload_new() { was_loaded "$1" || unload "$1"; }

case $verb in
save)
  if ctl is-active $unit; then echo >"$saved/active"; fi
  save_paths /etc/ostler-iptables /etc/systemd/system/ostler-iptables.service \
    /etc/systemd/system/multi-user.target.wants/ostler-iptables.service /var/lib/ostler/iptables.json || exit
  each_tool save_rules
  ;;
restore)
  # At boot, too: the unit may not be among what systemd starts.
  each_tool restore_rules
  restore_paths || exit
  if [ "$mode" = live ] && [ -n "${changed-}" ]; then
    ctl daemon-reload
    [ ! -e "$saved/active" ] || ctl start $unit
  fi
  ;;
verify) each_tool unload_new ;;
esac
