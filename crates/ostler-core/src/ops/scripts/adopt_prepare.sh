# Run as root on a server that was there before Ostler: refuses what Ostler does not manage, and installs what Ansible and the
# target user need and a bare Debian lacks.
set -u
. /etc/os-release
if [ "${ID-}" != debian ] || [ "${VERSION_ID-}" != 13 ]; then
  echo "it runs ${PRETTY_NAME-an unknown system}, and Ostler manages Debian 13 (trixie) servers only" >&2
  exit 1
fi
if [ ! -d /run/systemd/system ]; then
  echo "it does not run systemd" >&2
  exit 1
fi
command -v python3 >/dev/null && command -v sudo >/dev/null && exit 0

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
log=$(mktemp)
# `update` does not wait for others by itself.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  apt-get -q -o Acquire::Languages=none update >"$log" 2>&1 && break
  grep -q 'Could not get lock' "$log" || break
  sleep 6
done
apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 install python3 sudo >>"$log" 2>&1
status=$?
[ $status = 0 ] || grep -E '^(E|W|Err):' "$log" | tail -n 10 >&2
rm -f "$log"
exit $status
