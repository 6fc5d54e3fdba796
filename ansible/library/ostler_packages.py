#!/usr/bin/python3
"""Debian packages in one transaction.

`ansible.builtin.apt` does not serve here. It needs python3-apt on the target, which a minimal Debian lacks, and then even check mode
fails. It opens the whole cache to find out that there is nothing to do. And it takes an empty /var/lib/apt/lists with a recent date for a
fresh index.
"""

import contextlib
import errno
import fcntl
import glob
import os
import re
import shutil
import struct
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_packages
short_description: Make sure that Debian packages are installed
description:
  - Installs what is missing in one transaction, without recommended packages, and keeps the user's configuration files.
  - Refreshes the package index only if something is missing and the index is empty, old, or names files that are gone.
  - A name may be C(a | b), as in Debian's own dependencies. If none of them is installed, the first one is installed.
  - Never removes a package. If the installation would remove one, the task fails.
  - A failed refresh is a warning that names the repository. The task fails only if a package then can't be installed.
  - Waits for other package managers before it relies on dpkg's state, and finishes an interrupted dpkg run.
  - Does not wait for another package manager if nothing is missing.
  - Records the packages that it installed in C(/var/lib/ostler/packages), and returns that record as the fact C(ostler_own_packages).
  - Sets the facts C(ostler_installed_packages) and C(ostler_missing_packages); the latter is empty except in check mode.
  - Does not check a package again that an earlier task of the run has checked, unless C(newest) is set.
options:
  name: {description: Package names., type: list, elements: str, required: true}
  gather_reloads:
    description:
      - Lets systemd reload its units only before a unit is used and at the end, not whenever a package asks for it. A dozen packages with
        services ask 12 times, and each reload costs as much as unpacking a package.
    type: bool
    default: false
  newest:
    description: Also brings what is installed to the newest version that apt's preferences allow. Never goes back to an older one.
    type: bool
    default: false
  index_age: {description: Seconds after which the index is old., type: int, default: 86400}
  lock_timeout:
    description: Seconds to wait for other package managers in total. While it waits, C(/run/ostler-waiting) says for whom.
    type: int
    default: 300
"""

LISTS = "/var/lib/apt/lists"
# The packages that Ostler installed, one name per line. Switching a module off leaves alone what somebody else had installed.
RECORD = "/var/lib/ostler/packages"
# By default apt tries each file three more times, with growing pauses. That takes minutes if names can't be resolved at all.
APT_GET = ["apt-get", "-q", "-y", "--no-remove", "--no-install-recommends", "-o", "Acquire::Retries=1"]
APT_GET += ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]

# What dpkg has changed since it last wrote its status file. Files are here while dpkg runs, and after an interrupted run.
UPDATES = "/var/lib/dpkg/updates"
# A package manager holds the first lock throughout (dpkg(1), DPKG_FRONTEND_LOCKED). A dpkg whose apt was killed holds only the second.
FRONTEND, DPKG = "/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"
LOCKED = re.compile(r"[Cc]ould not get lock|another process")
# How apt names the holder: `Could not get lock FILE. It is held by process PID (NAME)`.
HOLDER = re.compile(r"[Cc]ould not get lock (\S+?)\.? It is held by process (\d+ \([^)]*\)|\d+)")
INTERRUPTED = re.compile(r"dpkg was interrupted")
# Seconds between two checks of a lock. A program that installs one package after the other leaves it free only for a moment.
PAUSE = 0.2
# While reloads are gathered, maintainer scripts find this `systemctl` first (apt's DPkg::Path). Only this transaction uses it. If programs
# can't be executed there, the scripts find the real one.
GATHERING = "/run/ostler-packages"
PENDING = GATHERING + "/reload-pending"
SYSTEMCTL = f"""#!/bin/sh
reload() {{ [ ! -e {PENDING} ] || {{ /usr/bin/systemctl daemon-reload && rm -f {PENDING}; }}; }}
for unit; do :; done
case " $* " in
*" daemon-reload "*) : >{PENDING} && exit 0 ;;
*" is-active "* | *" is-enabled "* | *" enable "* | *" preset "*) ;;
# Whether there is a unit: one that only an init script stands for comes to be by a reload.
*" show "*) [ -e "/usr/lib/systemd/system/$unit" ] || reload ;;
*) reload ;;
esac
exec /usr/bin/systemctl "$@"
"""
# Which process waits, and for what. Ostler reads this file during a run.
WAITING = "/run/ostler-waiting"
# What `apt-get update` says about a repository that it could not refresh. Some of these make it fail, others are only warnings.
NOT_REFRESHED = re.compile(r"^(?:E: (?!Some index files)|W: (?=Failed to fetch|GPG error|OpenPGP|An error occurred during the sig))(.*)", re.MULTILINE)
REMOVALS = re.compile(r"^The following packages will be REMOVED:\n((?: .*\n)+)", re.MULTILINE)
UNMET = re.compile(r"^The following packages have unmet dependencies:\n((?: .*\n)+)", re.MULTILINE)
HELD = re.compile(r"[Hh]eld packages were changed|you have held broken packages")
UNKNOWN = re.compile(r"^E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate)", re.MULTILINE)


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str", "required": True},
            "gather_reloads": {"type": "bool", "default": False},
            "newest": {"type": "bool", "default": False},
            "index_age": {"type": "int", "default": 86400},
            "lock_timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    if not os.path.exists("/usr/bin/dpkg-query"):
        module.fail_json(msg="this server has no dpkg: Ostler manages Debian 13 servers only")
    module.run_command_environ_update = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l", "LC_ALL": "C.UTF-8"}
    try:
        Packages(module).run()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        module.fail_json(msg=f"cannot install packages: {error}")


class Packages:
    def __init__(self, module):
        self.module = module
        self.wanted = [[name.strip() for name in text.split("|")] for text in sorted(set(module.params["name"]))]
        self.refreshed = False
        self.not_refreshed = []
        self.waited, self.said = 0, ""

    def run(self):
        before = self.versions()
        missing = self.missing(before)
        if self.module.params["newest"] and not self.module.check_mode and not self.index_is_fresh():
            self.refresh_index()
        newer = self.newer(before)
        own = self.recorded()
        after, finished = before, False
        if self.module.check_mode:
            finished = interrupted()
            after = {**before, **dict.fromkeys(missing, "(new)"), **newer}
        elif missing or newer or interrupted():
            self.reload_if_pending()
            self.await_prefetch()
            self.await_others()
            finished = self.finish_interrupted()
            # The other package manager may have installed it.
            before = self.versions()
            missing = self.missing(before)
            newer = self.newer(before)
            if missing or newer:
                # Recorded first, because the installation may be interrupted. What could not be installed is removed from the record.
                self.record(sorted({*own, *missing}))
                try:
                    self.install([*missing, *newer])
                finally:
                    own = sorted({*own, *set(missing).intersection(self.versions())})
                    self.record(own)
            after = self.versions()
        # Finishing an interrupted run is a change even if no package is new.
        self.module.exit_json(
            changed=before != after or finished,
            installed=sorted(set(after) - set(before)),
            index_refreshed=self.refreshed,
            diff={"before": listing(before), "after": listing(after)},
            missing=missing if self.module.check_mode else [],
            present=sorted(after),
            own=own,
        )

    def missing(self, installed):
        return sorted({names[0] for names in self.wanted if not any(name in installed for name in names)})

    def newer(self, installed):
        """The installed packages that apt has newer versions of, with these versions."""
        if not self.module.params["newest"] or not installed:
            return {}
        _, out, _ = self.module.run_command(["apt-cache", "policy", *sorted(installed)])
        found = dict(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (\S+)$", out, re.MULTILINE))
        # A candidate is older only where somebody's preferences ask for that.
        compare = ["dpkg", "--compare-versions"]
        is_newer = lambda name: self.module.run_command([*compare, found[name], "gt", installed[name]])[0] == 0
        return {name: found[name] for name in installed if found.get(name, installed[name]) not in (installed[name], "(none)") and is_newer(name)}

    def recorded(self):
        try:
            with open(RECORD, encoding="utf-8") as file:
                return file.read().split()
        except FileNotFoundError:
            return []

    def record(self, names):
        os.makedirs(os.path.dirname(RECORD), mode=0o755, exist_ok=True)
        with open(RECORD + ".new", "w", encoding="utf-8") as file:
            file.write("".join(name + "\n" for name in names))
        os.replace(RECORD + ".new", RECORD)

    def versions(self):
        """The wanted packages that are completely installed."""
        names = sorted({name for names in self.wanted for name in names})
        query = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n", *names]
        # 1: dpkg does not know one of them. 2: it failed, because a file of `updates` disappeared while it read them.
        for _ in range(10):
            code, out, err = self.module.run_command(query)
            if code < 2:
                break
            time.sleep(0.3)
        else:
            self.module.fail_json(msg="cannot read dpkg's state: " + err.strip(), rc=code, stdout=out, stderr=err, cmd=query)
        rows = [line.split() for line in out.splitlines()]
        return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == "installed"}

    def await_prefetch(self):
        """Ostler may already fetch packages and index while Ansible starts. It holds this lock meanwhile."""
        with open("/run/ostler-prefetch.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

    def await_others(self):
        with self.waiting():
            while held := held_lock():
                self.wait(*held)

    def finish_interrupted(self):
        """Lets dpkg finish an interrupted run. Returns whether there was one.

        The check and dpkg's work happen under one lock, so that nobody else can start in between.
        """
        with self.waiting():
            while os.listdir(UPDATES):
                held = held_lock()
                with open(FRONTEND, "a") as frontend:
                    if not held and try_lock(frontend):
                        if not os.listdir(UPDATES):
                            return False
                        if not (held := held_lock(DPKG)):
                            self.configure()
                            return True
                self.wait(*(held or ("it holds a lock of dpkg",)))
        return False

    def configure(self):
        command = ["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"]
        code, out, err = self.module.run_command(command, environ_update={"DPKG_FRONTEND_LOCKED": "1"})
        if code != 0:
            reasons = errors(err)
            msg = ": ".join(["cannot finish an interrupted dpkg run", *reasons[:3]])
            self.module.fail_json(msg=msg, rc=code, stdout=out, stderr=err, cmd=command)

    def install(self, missing):
        if not self.index_is_fresh():
            self.refresh_index()
        try:
            install = [*APT_GET, *self.gathering(), "install", *missing]
            if not self.refreshed:
                # Even a recent index can name versions that the mirror no longer has, or lack a new package.
                if self.locked(install)[0] == 0:
                    return
                self.refresh_index()
            self.command(install, "cannot install " + " ".join(missing))
        finally:
            self.reload_if_pending()

    def gathering(self):
        """apt's options that gather the packages' requests for a reload."""
        if not self.module.params["gather_reloads"] or not os.path.isdir("/run/systemd/system"):
            return []
        os.makedirs(GATHERING, mode=0o755, exist_ok=True)
        with open(GATHERING + "/systemctl", "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o755)
            file.write(SYSTEMCTL)
        return ["-o", f"DPkg::Path={GATHERING}:/usr/sbin:/usr/bin:/sbin:/bin"]

    def reload_if_pending(self):
        """Also cleans up after a task that was killed."""
        if os.path.exists(PENDING):
            self.module.run_command(["/usr/bin/systemctl", "daemon-reload"])
        shutil.rmtree(GATHERING, ignore_errors=True)

    def index_is_fresh(self):
        indexes = glob.glob(LISTS + "/*_Packages*") + glob.glob(LISTS + "/*InRelease")
        stamps = [os.stat(path).st_mtime for path in [LISTS, LISTS + "/partial"] if os.path.exists(path)]
        return bool(indexes) and time.time() - max(stamps) < self.module.params["index_age"]

    def refresh_index(self):
        # Translated descriptions take as long to unpack as the index, and nothing here reads them. The daily update fetches them.
        _, _, err = self.locked([*APT_GET, "-o", "Acquire::Languages=none", "update"])
        # A repository that can't be refreshed does not affect the others, and may not matter.
        self.not_refreshed = [shortened(line) for line in dict.fromkeys(NOT_REFRESHED.findall(err))]
        for line in self.not_refreshed[:5]:
            self.module.warn(f"the package index could not be refreshed as a whole: {line}")
        self.refreshed = True

    def command(self, command, failure):
        code, out, err = self.locked(command)
        if code != 0:
            reasons = self.reasons(out, err) or [*errors(err)[:3], *self.not_refreshed[:1]]
            self.module.fail_json(msg=": ".join([failure, *reasons]), rc=code, stdout=out, stderr=err, cmd=command)

    def reasons(self, out, err):
        """Why the installation failed, if apt takes more than one line to say so."""
        if removals := REMOVALS.search(out):
            gone = " ".join(removals[1].split())
            return [f"that would remove {gone}, which Ostler does not do (remove it yourself, or switch off what needs the new package)"]
        if unknown := [a or b for a, b in UNKNOWN.findall(err)]:
            return ["no repository of this server has " + " or ".join(unknown), *self.not_refreshed[:1]]
        if not HELD.search(err):
            return []
        # apt calls any conflict `held`.
        unmet = UNMET.search(out)
        lines = [" ".join(line.split()) for line in unmet[1].splitlines()] if unmet else []
        if lines and all(" Conflicts: " in line or " Breaks: " in line for line in lines):
            return lines[:3]
        _, holds, _ = self.module.run_command(["apt-mark", "showhold"])
        held = [name for name in holds.split() if re.search(rf"(?<![\w.+-]){re.escape(name)}(?![\w.+-]*\w)", out + err)]
        return ["held packages stand in the way: " + ", ".join(held)] * bool(held) + lines[:3]

    def locked(self, command):
        """Runs apt, and waits for other package managers. apt's own DPkg::Lock::Timeout does not cover the lists that `update` locks."""
        with self.waiting():
            while True:
                code, out, err = self.module.run_command(command)
                if code != 0 and LOCKED.search(err):
                    holder = HOLDER.search(err)
                    words = f"process {holder[2]} holds {holder[1]}" if holder else "it holds a lock of apt or dpkg"
                    self.wait(words, next(line for line in err.splitlines() if LOCKED.search(line)))
                    while holder and (held := held_lock(holder[1])):
                        self.wait(*held)
                # Another dpkg run was interrupted since the last check.
                elif code == 0 or not INTERRUPTED.search(err) or not self.finish_interrupted():
                    return code, out, err

    def wait(self, words, reason=""):
        if self.waited >= self.module.params["lock_timeout"]:
            self.module.fail_json(msg=f"gave up after {self.waited:.0f} s of waiting for another package manager: {reason or words}")
        if words != self.said or not os.path.exists(WAITING):
            self.say_waiting(words)
        time.sleep(PAUSE)
        self.waited += PAUSE

    @contextlib.contextmanager
    def waiting(self):
        try:
            yield
        finally:
            if os.path.exists(WAITING):
                os.remove(WAITING)

    def say_waiting(self, words):
        self.said = words
        with open(WAITING + ".new", "w", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {words}\n")
        os.replace(WAITING + ".new", WAITING)


def interrupted():
    """Whether a dpkg run was interrupted. Takes no lock, so nobody has to wait for it."""
    return bool(os.listdir(UPDATES)) and held_lock() is None and bool(os.listdir(UPDATES))


def held_lock(*paths):
    """Who holds one of dpkg's locks, first in our words, then in apt's. `None` if nobody does. Takes no lock itself."""
    for path in paths or (FRONTEND, DPKG):
        with open(path, "a") as lock:
            asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock, fcntl(2)
            kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(lock, fcntl.F_GETLK, asked))
        if kind == fcntl.F_UNLCK:
            continue
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                holder = f"{pid} ({comm.read().strip()})"
        except OSError:
            holder = str(pid)
        return f"process {holder} holds {path}", f"Could not get lock {path}. It is held by process {holder}"
    return None


def try_lock(file):
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def errors(err):
    return [line for line in err.splitlines() if line.startswith(("E:", "dpkg: error"))]


def shortened(line, most=300):
    return line if len(line) <= most else line[:most] + "..."


def listing(versions):
    return "".join(f"{name} {version}\n" for name, version in sorted(versions.items()))


if __name__ == "__main__":
    main()
