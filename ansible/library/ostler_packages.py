#!/usr/bin/python3
"""Debian packages in one transaction.

Not `ansible.builtin.apt`, because that needs python3-apt on the target (a minimal Debian has none, and then even check mode fails),
opens the whole cache to learn that nothing is to be done, and takes an empty /var/lib/apt/lists with a fresh date for a fresh index.
"""

import errno
import fcntl
import glob
import os
import re
import shutil
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_packages
short_description: Make sure that Debian packages are installed
description:
  - Installs what is missing in one transaction, without recommended packages, and keeps the user's configuration files.
  - Refreshes the package index only if something is missing and the index is empty, old, or names files that are gone.
  - A name may be C(a | b), as in Debian's own dependencies; where none of them is installed, the first one will be.
  - Never removes a package; where installing would do so, that is an error.
  - Finishes an interrupted dpkg run first.
  - Records what was not there before in C(/var/lib/ostler/packages), and returns that record as the fact C(ostler_own_packages).
  - Sets the facts C(ostler_installed_packages) and C(ostler_missing_packages); the latter is empty except in check mode.
  - What an earlier task of the run has made sure of is not looked at again.
options:
  name: {description: Package names., type: list, elements: str, required: true}
  gather_reloads:
    description:
      - Lets systemd read its units anew before a unit is touched and at the end, not whenever a package asks for it. A dozen packages with
        services ask 12 times, and each time costs as much as unpacking a package.
    type: bool
    default: false
  index_age: {description: Seconds after which the index is old., type: int, default: 86400}
  lock_timeout:
    description: Seconds to wait for other package managers in all. While it waits, C(/run/ostler-waiting) says for whom.
    type: int
    default: 300
"""

LISTS = "/var/lib/apt/lists"
# What was missing when Ostler installed it, one name in a line: switching a module off leaves alone what somebody else had set up.
RECORD = "/var/lib/ostler/packages"
# apt's own three retries, with growing pauses for each file, take minutes where names can't be looked up at all.
APT_GET = ["apt-get", "-q", "-y", "--no-remove", "--no-install-recommends", "-o", "Acquire::Retries=1"]
APT_GET += ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]

LOCKED = re.compile(r"[Cc]ould not get lock|another process")
# apt's words for who it is: `Could not get lock FILE. It is held by process PID (NAME)`.
HOLDER = re.compile(r"[Cc]ould not get lock (\S+?)\.? It is held by process (\d+ \([^)]*\)|\d+)")
# Where maintainer scripts find `systemctl` first (apt's DPkg::Path) while reloads are gathered. Only this transaction knows of it; where
# nothing may be run from there, they find the real one.
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
# What a task waits for, and the process that waits: Ostler looks here while a run goes on.
WAITING = "/run/ostler-waiting"
# Where the index could not be fetched, apt only warns, and then says that there is no such package.
NOT_FETCHED = re.compile(r"^[WE]: (Failed to fetch .*)", re.MULTILINE)
REMOVALS = re.compile(r"^The following packages will be REMOVED:\n((?: .*\n)+)", re.MULTILINE)


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str", "required": True},
            "gather_reloads": {"type": "bool", "default": False},
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
        self.not_fetched = []
        self.waited = 0

    def run(self):
        before = self.versions()
        missing = sorted({names[0] for names in self.wanted if not any(name in before for name in names)})
        own = self.recorded()
        interrupted = bool(os.listdir("/var/lib/dpkg/updates"))
        after = before
        if self.module.check_mode:
            after = {**before, **dict.fromkeys(missing, "(new)")}
        elif missing or interrupted:
            self.reload_if_pending()
            self.await_prefetch()
            if interrupted:
                self.command(["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"], "cannot finish an interrupted dpkg run")
            if missing:
                # Before the installation, which may be cut off; what could not be installed is forgotten again.
                self.record(sorted({*own, *missing}))
                try:
                    self.install(missing)
                finally:
                    own = sorted({*own, *set(missing).intersection(self.versions())})
                    self.record(own)
            after = self.versions()
        # Files in dpkg's `updates` are the rests of a run that was cut off; completing it is a change even if no package is new.
        self.module.exit_json(
            changed=before != after or interrupted,
            installed=sorted(set(after) - set(before)),
            index_refreshed=self.refreshed,
            diff={"before": listing(before), "after": listing(after)},
            missing=missing if self.module.check_mode else [],
            present=sorted(after),
            own=own,
        )

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
        """The wanted packages that are completely installed. dpkg-query exits with 1 where one is unknown."""
        names = sorted({name for names in self.wanted for name in names})
        query = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n", *names]
        _, out, _ = self.module.run_command(query)
        rows = [line.split() for line in out.splitlines()]
        return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == "installed"}

    def await_prefetch(self):
        """Ostler may be fetching packages and index already, while Ansible was on its way; it holds this lock meanwhile."""
        with open("/run/ostler-prefetch.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

    def install(self, missing):
        if not self.index_is_fresh():
            self.refresh_index()
        try:
            install = [*APT_GET, *self.gathering(), "install", *missing]
            if not self.refreshed:
                # A young index can still name versions that the mirror no longer has, or lack a package that is new.
                if self.locked(install)[0] == 0:
                    return
                self.refresh_index()
            self.command(install, "cannot install " + " ".join(missing))
        finally:
            self.reload_if_pending()

    def gathering(self):
        """Options of apt by which packages' wishes for a reload are gathered."""
        if not self.module.params["gather_reloads"] or not os.path.isdir("/run/systemd/system"):
            return []
        os.makedirs(GATHERING, mode=0o755, exist_ok=True)
        with open(GATHERING + "/systemctl", "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o755)
            file.write(SYSTEMCTL)
        return ["-o", f"DPkg::Path={GATHERING}:/usr/sbin:/usr/bin:/sbin:/bin"]

    def reload_if_pending(self):
        """Also what a task left that was killed."""
        if os.path.exists(PENDING):
            self.module.run_command(["/usr/bin/systemctl", "daemon-reload"])
        shutil.rmtree(GATHERING, ignore_errors=True)

    def index_is_fresh(self):
        indexes = glob.glob(LISTS + "/*_Packages*") + glob.glob(LISTS + "/*InRelease")
        stamps = [os.stat(path).st_mtime for path in [LISTS, LISTS + "/partial"] if os.path.exists(path)]
        return bool(indexes) and time.time() - max(stamps) < self.module.params["index_age"]

    def refresh_index(self):
        # Descriptions in other words than the index's own take as long to unpack as the index, and nothing here reads them. The daily
        # update fetches them.
        _, err = self.command([*APT_GET, "-o", "Acquire::Languages=none", "update"], "cannot refresh the package index")
        self.not_fetched = NOT_FETCHED.findall(err)
        self.refreshed = True

    def command(self, command, failure):
        code, out, err = self.locked(command)
        if code != 0:
            removals = REMOVALS.search(out)
            if removals:
                gone = " ".join(removals[1].split())
                failure += f": that would remove {gone}, which Ostler does not do (remove it yourself, or switch off what needs the new package)"
            reasons = [] if removals else [line for line in err.splitlines() if line.startswith(("E:", "dpkg: error"))]
            self.module.fail_json(msg=": ".join([failure, *reasons[:3], *self.not_fetched[:1]]), rc=code, stdout=out, stderr=err, cmd=command)
        return out, err

    def locked(self, command):
        """Waits for other package managers here, since apt's own DPkg::Lock::Timeout does not cover the lists that `update` locks."""
        pause = 3
        try:
            while True:
                code, out, err = self.module.run_command(command)
                if code == 0 or not LOCKED.search(err):
                    return code, out, err
                if self.waited >= self.module.params["lock_timeout"]:
                    reason = next(line for line in err.splitlines() if LOCKED.search(line))
                    msg = f"gave up after {self.waited} s of waiting for another package manager: {reason}"
                    self.module.fail_json(msg=msg, rc=code, stdout=out, stderr=err, cmd=command)
                holder = HOLDER.search(err)
                self.say_waiting(f"process {holder[2]} holds {holder[1]}" if holder else "it holds a lock of apt or dpkg")
                time.sleep(pause)
                self.waited += pause
        finally:
            if self.waited and os.path.exists(WAITING):
                os.remove(WAITING)

    def say_waiting(self, words):
        with open(WAITING + ".new", "w", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {words}\n")
        os.replace(WAITING + ".new", WAITING)


def listing(versions):
    return "".join(f"{name} {version}\n" for name, version in sorted(versions.items()))


if __name__ == "__main__":
    main()
