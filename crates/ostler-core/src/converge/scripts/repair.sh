# Run as root on the server after a run of Ansible that did not end well: ends what is left of our own runs ($2: the mark that they
# carry), lets apt and dpkg finish ($1: for so many seconds), and repairs a dpkg that was cut off. Prints a line for each thing that it
# found. While it waits, /run/ostler-waiting says for whom. dpkg itself is never killed.
set -u
# Without it no Ansible was here.
[ -x /usr/bin/python3 ] || exit 0
limit=${1-300}

LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive /usr/bin/python3 -I - "$limit" "${2-}" <<'EOF_PY'
import fcntl, os, re, signal, struct, subprocess, sys, time

limit, mark = float(sys.argv[1]), sys.argv[2]
WAITING, UPDATES = "/run/ostler-waiting", "/var/lib/dpkg/updates"
deadline = time.monotonic() + limit


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace").split("\0")
    except OSError:
        return []


def namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def is_ours(pid):
    """Mitogen's interpreters carry the mark in the name that they give themselves, those of stock Ansible in their environment.
    Programs that a task has started inherit that, and are no interpreters of ours. Containers have runs of their own."""
    arguments = read(f"/proc/{pid}/cmdline")
    if not re.match(r"\S*python", arguments[0] if arguments else "") or namespace(pid) != namespace("self"):
        return False
    named = f"(mitogen:{mark})" in arguments[0]
    module = arguments[1:] in ([], [""]) or re.search(r"/ansible-tmp-|AnsiballZ_", "".join(arguments[1:2]))
    return named or (bool(module) and f"OSTLER_MARK={mark}" in read(f"/proc/{pid}/environ"))


def ours():
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid != os.getpid() and is_ours(pid)]


def end_ours():
    """Each is looked at again before it is ended: its number may be another's by then."""
    if not mark or not ours():
        return
    print("ended what was left of an interrupted run", flush=True)
    for number, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 5)):
        for pid in ours():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        until = time.monotonic() + patience
        while ours() and time.monotonic() < until:
            time.sleep(0.1)


def holder(lock):
    """Who holds it; F_GETLK takes nothing itself, and the words are apt's (struct flock in fcntl(2))."""
    asked = fcntl.fcntl(lock, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
    pid = struct.unpack("hhqqi4x", asked)[4]
    return f"{pid} ({' '.join(read(f'/proc/{pid}/comm')).strip()})"


def taken(path):
    """The lock, once it is ours."""
    lock, waited = open(path, "a"), False
    while True:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            words = holder(lock)
        if time.monotonic() > deadline:
            sys.exit(f"Could not get lock {path}. It is held by process {words}")
        with open(WAITING + ".new", "w") as file:
            file.write(f"{os.getpid()} process {words} holds {path}\n")
        os.replace(WAITING + ".new", WAITING)
        waited = True
        time.sleep(0.2)
    if waited:
        os.unlink(WAITING)
        print("awaited another apt or dpkg", flush=True)
    return lock


end_ours()
if not os.path.isdir(UPDATES):
    sys.exit()
taken("/var/lib/apt/lists/lock").close()
# While we have the first one nobody else begins; a dpkg whose apt was killed still has the second.
frontend = taken("/var/lib/dpkg/lock-frontend")
taken("/var/lib/dpkg/lock").close()
audit = subprocess.run(["dpkg", "--audit"], capture_output=True)
if not audit.stdout and not os.listdir(UPDATES):
    sys.exit()
print("repaired an interrupted dpkg", flush=True)
os.environ["DPKG_FRONTEND_LOCKED"] = "1"
command = ["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"]
done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
frontend.close()
del os.environ["DPKG_FRONTEND_LOCKED"]
if done.returncode == 0:
    command = ["apt-get", "-q", "-y", "-f", "-o", f"DPkg::Lock::Timeout={limit:.0f}", "-o", "Dpkg::Options::=--force-confold", "install"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
if done.returncode != 0:
    sys.exit("\n".join(done.stdout.decode(errors="replace").splitlines()[-20:]))
EOF_PY
