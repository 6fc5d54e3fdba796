# Run as root on the server after a run of Ansible that did not end well: ends Ansible's interpreters whose connection is
# gone, lets apt and dpkg finish, and repairs an interrupted dpkg. Prints a line for each thing that it found.
# dpkg itself is never killed.
set -u

# Mitogen's interpreters call themselves `/usr/bin/python3(mitogen:...)`, stock Ansible's run a file of theirs.
old=$(pgrep -f '^[^ ]*python[^ ]*\(mitogen:|^[^ ]*python[^ ]* .*(/\.ansible/tmp/|AnsiballZ_)' || true)
if [ -n "$old" ]; then
  echo "ended what was left of an interrupted run"
  kill $old 2>/dev/null
  for i in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 $old 2>/dev/null || break
    sleep 0.2
  done
  kill -9 $old 2>/dev/null
fi

command -v dpkg >/dev/null || exit 0

# The locks are fcntl locks, so only a process can ask for them; python3 is there because Ansible needs it.
python3 - <<'EOF_PY' || { echo "dpkg is still locked after 10 minutes" >&2; exit 1; }
import fcntl, sys, time
waited = False
for name in ("dpkg/lock-frontend", "dpkg/lock", "apt/lists/lock"):
    with open("/var/lib/" + name, "a") as lock:
        for attempt in range(3000):
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                waited = True
                time.sleep(0.2)
        else:
            sys.exit(1)
if waited:
    print("awaited apt or dpkg of an interrupted run", flush=True)
EOF_PY

if [ -n "$(dpkg --audit)" ] || [ -n "$(ls -A /var/lib/dpkg/updates)" ]; then
  echo "repaired an interrupted dpkg"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  dpkg --configure -a --force-confdef --force-confold >"$log" 2>&1 &&
    apt-get -y -f -o Dpkg::Options::=--force-confold install >>"$log" 2>&1
  status=$?
  [ $status = 0 ] || tail -n 20 "$log" >&2
  rm -f "$log"
  exit $status
fi
