# Run as root on a server that was there before Ostler: refuses what Ostler does not manage, and installs what Ansible and the
# target user need and a bare Debian lacks. Other package managers are waited for ($1: for so many seconds), and meanwhile
# /run/ostler-waiting says for whom. What people should know comes on standard output.
set -u
limit=${1-300}
. /etc/os-release
if [ "${ID-}" != debian ] || [ "${VERSION_ID-}" != 13 ]; then
  echo "it runs ${PRETTY_NAME-an unknown system}, and Ostler manages Debian 13 (trixie) servers only" >&2
  exit 1
fi
if [ ! -d /run/systemd/system ]; then
  echo "it does not run systemd" >&2
  exit 1
fi
# Debian's sudo looks that up each time.
timeout 2 getent hosts "$(hostname)" >/dev/null
if [ $? = 124 ]; then
  echo "each sudo on the server is slow, because its DNS does not know $(hostname): add \`127.0.1.1 $(hostname)\` to its /etc/hosts"
fi
# Debian's own Python, wherever others lie.
[ -x /usr/bin/python3 ] && [ -x /usr/bin/sudo ] && exit 0

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
log=$(mktemp)
deadline=$(($(date +%s) + limit))

# apt-get with these arguments. Names who holds a lock, waits, and finishes a dpkg run that was cut off.
get() {
  while :; do
    apt-get -q -y "$@" </dev/null >"$log" 2>&1 && return 0
    if grep -q 'dpkg was interrupted' "$log"; then
      dpkg --configure -a --force-confdef --force-confold </dev/null >"$log" 2>&1 && continue
      grep -q 'frontend lock' "$log" || return 1
      words='it holds the lock of dpkg'
    else
      words=$(sed -n 's/.*ould not get lock \([^ ]*[^. ]\)\.* It is held by \(process [0-9]* *([^)]*)\).*/\2 holds \1/p' "$log" | head -n 1)
      [ -n "$words" ] || grep -q 'ould not get lock' "$log" || return 1
    fi
    [ "$(date +%s)" -lt "$deadline" ] || return 1
    echo "$$ ${words:-it holds a lock of apt or dpkg}" >/run/ostler-waiting
    sleep 0.3
  done
}

# One repository that can't be refreshed may not matter.
get -o Acquire::Languages=none update || errors=$(grep '^E:' "$log")
get --no-install-recommends install python3 sudo
status=$?
if [ $status != 0 ]; then
  printf '%s\n' "${errors-}" | sed '/^$/d' >&2
  grep -E '^(E|W|Err|dpkg: error):?' "$log" | tail -n 10 >&2
elif [ -n "${errors-}" ]; then
  printf '%s\n' "$errors" | sed 's/^E: /the package index could not be refreshed as a whole: /' | head -n 5
fi
rm -f "$log" /run/ostler-waiting
exit $status
