#!/bin/sh
# Guard of fail2ban: it changes nothing, but our own probes may have earned us a ban.
set -u
saved=$2
case $1 in
save) echo "${3-}" >"$saved/client" ;;
restore)
  [ "${3-live}" = live ] && command -v fail2ban-client >/dev/null || exit 0
  read -r client <"$saved/client" 2>/dev/null
  [ -z "${client-}" ] || timeout 10 fail2ban-client unban "$client" || true
  ;;
esac
