# Run as root on the server after a run of Ansible that did not end well: ends Ansible's interpreters whose connection is
# gone, lets apt and dpkg finish ($1: for so many seconds), and repairs an interrupted dpkg. Prints a line for each thing that it
# found.
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

# The locks are fcntl locks, so only a process can ask for them; python3 is there because Ansible needs it. F_GETLK says who holds
# one (fcntl(2)); the words are apt's own.
python3 - "${1-300}" <<'EOF_PY' || exit 1
import fcntl, struct, sys, time
deadline = time.monotonic() + float(sys.argv[1])
waited = False
for name in ("dpkg/lock-frontend", "dpkg/lock", "apt/lists/lock"):
    path = "/var/lib/" + name
    with open(path, "a") as lock:
        while True:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                waited = True
            if time.monotonic() > deadline:
                asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
                pid = struct.unpack("hhqqi4x", fcntl.fcntl(lock, fcntl.F_GETLK, asked))[4]
                try:
                    with open(f"/proc/{pid}/comm") as comm:
                        process = f"{pid} ({comm.read().strip()})"
                except OSError:
                    process = str(pid)
                sys.exit(f"Could not get lock {path}. It is held by process {process}")
            time.sleep(0.2)
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
