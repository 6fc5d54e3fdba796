#!/usr/bin/python3
"""Checks what must hold before a run writes anything: the release, and that nobody else holds the ports that its apps need.

It is one step, because each task costs a process per host. The release does not come from `ansible.builtin.setup`: even for a single fact
that carries the collectors of all facts to the server and compiles them there. The files of /proc and dpkg are read directly, which costs no
process either. Other programs are asked only for the names of what is in the way.
"""

import glob
import json
import os
import platform
import re
from collections import namedtuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_preflight
short_description: Require a release of Debian, and free ports
description:
  - Fails if the server runs another release. Sets the facts C(distribution), C(distribution_release), C(distribution_version) and
    C(distribution_major_version), as C(setup) does.
  - Fails if another program holds a port of C(ports), and names it. An app's own program is one that comes from its C(packages) or from
    another binary package of the same source, even if somebody else installed it.
  - An app may also start a container, or a program that is in no package. A port that was free, or held by the app, when a run first saw it
    is recorded in C(/var/lib/ostler/ports.json). If such a program holds it later, it is taken for the app.
  - If an app names no packages, its own program can't be known. A program with another name than the app's is then only a warning, once.
options:
  major_version: {description: The required release., type: int, required: true}
  ports:
    description:
      - C(app), C(port), C(proto), C(scope) and C(packages) of each port. Without C(app) it is sshd's port. A port of scope C(local) does not
        conflict with a program that listens on a single address other than 127.0.0.1 and ::1.
    type: list
    elements: dict
    default: []
"""

RECORD = "/var/lib/ostler/ports.json"
# The packages that Ostler installed; ostler_packages writes it.
OWN_PACKAGES = "/var/lib/ostler/packages"
STATUS, LISTS = "/var/lib/dpkg/status", "/var/lib/dpkg/info"
# Programs that listen on behalf of a container, and how the cgroup of a process in a container is named.
PUBLISHERS = {"docker-proxy", "rootlessport", "conmon", "slirp4netns", "pasta", "containerd-shim"}
CONTAINED = re.compile(
    r"/(?:(?:docker|libpod|crio|cri-containerd)[-/]([0-9a-f]{12,64})|lxc(?:\.payload|\.monitor)?[./]([\w-]+)|machine-([\w-]+)\.scope)"
)
ENGINES = {"docker-ce", "docker.io", "podman"}
BY_HAND = ("/usr/local/", "/opt/", "/home/", "/root/", "/srv/")
# The name of sshd's own port in the record. No app can have it.
SSHD = "ssh.port"
# State of a listening socket, by protocol, as proc_net_tcp(5) writes it.
LISTENING = {"tcp": "0A", "udp": "07"}

# A program that listens. `unit` is its systemd unit. `container` is the start of its container's id, or True if the id is unknown.
Holder = namedtuple("Holder", "pid name exe unit container")


def main():
    spec = {"major_version": {"type": "int", "required": True}, "ports": {"type": "list", "elements": "dict", "default": []}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    facts = release(module)
    Ports(module).run()
    module.exit_json(ansible_facts=facts)


def release(module):
    try:
        found = platform.freedesktop_os_release()
    except OSError as error:
        module.fail_json(msg=f"can't tell which system this server runs: {error}")
    wanted, version = module.params["major_version"], found.get("VERSION_ID", "")
    # Derivatives of Debian have an ID of their own. Testing and unstable have no version.
    if found["ID"] != "debian" or version != str(wanted):
        module.fail_json(msg=f"this server runs {found['PRETTY_NAME']}, and Ostler manages Debian {wanted} servers only")
    return {
        "distribution": "Debian",
        "distribution_release": found.get("VERSION_CODENAME", ""),
        "distribution_version": read("/etc/debian_version").strip() or version,
        "distribution_major_version": str(wanted),
    }


class Ports:
    def __init__(self, module):
        self.module = module
        self.wanted = module.params["ports"]
        self.record = self.recorded()
        # Versions of Ostler without this record have started apps, too.
        self.known = os.path.exists(RECORD)

    def run(self):
        granted, faults = {}, []
        sockets = listening({port["proto"] for port in self.wanted})
        owners = processes({inode for port in self.wanted for inode, _ in in_the_way(sockets, port)})
        for port in self.wanted:
            fault = None
            for holder in {owners[inode] for inode, _ in in_the_way(sockets, port) if inode in owners}:
                fault = fault or self.fault(port, holder)
            if fault:
                faults.append(fault)
            else:
                granted[name_of(port)] = port.get("app") or SSHD
        if faults:
            self.module.fail_json(msg="; ".join(faults).encode("utf-8", "replace").decode() + ". This run has changed nothing")
        if granted != self.record and not self.module.check_mode:
            self.write(granted)

    def fault(self, port, holder):
        """Why this program may not hold the port, or None if it may."""
        app, packages = port.get("app"), set(port.get("packages") or [])
        holder = socket_unit(self.module.run_command, port, holder) if holder.pid == 1 else holder
        if holder is None or not holder.container and (self.belongs(holder, packages) or namesake(holder, app, packages)):
            return None
        package = None if holder.container else package_of(self.module.run_command, holder.exe)
        # An engine listens for its swarm. Whether that is ours, the app can tell.
        if package in ENGINES:
            return None
        granted = self.record.get(name_of(port)) == (app or SSHD)
        if granted and (package is None or not packages) or not self.known and package is None and self.was_applied(holder, packages):
            return None
        what = f"port {port['port']}" + ("/udp" if port["proto"] == "udp" else "")
        sentence = f"{what} is held by {self.describe(port, holder, package)}, and {wants(app)}"
        if not packages:
            self.module.warn(sentence.encode("utf-8", "replace").decode() + ": unless that is the app itself, the app will not start")
            return None
        return f"{sentence}: {advice(app, holder)}"

    def belongs(self, holder, packages):
        """Whether the holder's program or unit is from these packages, or from others of the same source."""
        unit = re.sub(r"@.*\.", "@.", holder.unit or "")
        wanted = {without_usr(holder.exe)} if holder.exe else set()
        if unit and not os.path.isfile(f"/etc/systemd/system/{unit}"):
            wanted.add(f"/lib/systemd/system/{unit}")
        # The packages themselves come first, because finding the others means searching all installed packages.
        return bool(wanted & files_of(packages) or wanted & files_of(relatives(packages)))

    def was_applied(self, holder, packages):
        """Whether an Ostler that kept no record has set up the app. If so, it installed one of the app's packages."""
        return bool(set(read(OWN_PACKAGES).split()) & (packages | (ENGINES if holder.container else set())))

    def describe(self, port, holder, package):
        if holder.container:
            return f"{container_name(self.module.run_command, port, holder)} ({holder.name}, pid {holder.pid})"
        about = [f"pid {holder.pid}"] if holder.pid != 1 else []
        about += [holder.unit] if holder.unit and holder.unit != holder.name else []
        about += [f"package {package}"] if package else [holder.exe] if holder.exe else []
        return f"{holder.name} ({', '.join(about)})" if about else holder.name

    def recorded(self):
        try:
            return json.loads(read(RECORD) or "{}")
        except ValueError:
            return {}

    def write(self, granted):
        os.makedirs(os.path.dirname(RECORD), mode=0o755, exist_ok=True)
        with open(RECORD + ".new", "w", encoding="utf-8") as file:
            json.dump(granted, file, sort_keys=True)
        os.replace(RECORD + ".new", RECORD)


def files_of(packages):
    paths = [path for name in packages for path in [f"{LISTS}/{name}.list", *glob.glob(f"{LISTS}/{glob.escape(name)}:*.list")]]
    return {without_usr(line) for path in paths for line in read(path).splitlines()}


def relatives(packages):
    """Packages of the same source, and those that one of them stands for (`postgresql` for `postgresql-17`)."""
    sources, depends = {}, {}
    for stanza in read(STATUS).split("\n\n"):
        fields = dict(re.findall(r"(?m)^(Package|Source|Depends): (.*)$", stanza))
        name = fields.get("Package", "")
        sources[name] = fields.get("Source", name).split(" ")[0]
        depends[name] = re.findall(r"(?:^|[,|]) *([a-z0-9.+-]+)", fields.get("Depends", ""))
    names = set(packages)
    names |= {other for name in packages for other in depends.get(name, ()) if other.startswith(f"{name}-")}
    wanted = {sources.get(name, name) for name in names}
    return names | {name for name, source in sources.items() if source in wanted}


def name_of(port):
    return f"{port['port']}/{port['proto']}"


def wants(app):
    return f"the app {app} needs it" if app else "`ssh.port` wants sshd there"


def advice(app, holder):
    way = f"stop it (`systemctl disable --now {holder.unit}`)" if holder.unit and not holder.container else "stop it"
    return f"{way}, let it listen elsewhere, or " + (f"take {app} out of `apps`" if app else "choose another port")


def listening(protos):
    """`{("tcp", 80): [(inode, address)]}` of all listening sockets, with the address as the kernel writes it."""
    found = {}
    for proto in protos:
        for path in (f"/proc/net/{proto}", f"/proc/net/{proto}6"):
            for fields in map(str.split, read(path).splitlines()[1:]):
                address, _, port = fields[1].rpartition(":")
                if fields[3] == LISTENING[proto]:
                    found.setdefault((proto, int(port, 16)), []).append((fields[9], address))
    return found


def in_the_way(sockets, port):
    """Sockets on the port that would conflict with the app's own socket."""
    found = sockets.get((port["proto"], port["port"]), [])
    return [(inode, address) for inode, address in found if port["scope"] != "local" or not set(address) - {"0"} or is_loopback(address)]


def is_loopback(address):
    """Takes the address as the kernel writes it, in words of four bytes."""
    return address == "00000000000000000000000001000000" or address.endswith("7F") and address[:-8] in ("", "0000000000000000FFFF0000")


def processes(inodes):
    """The first process that has each of these sockets."""
    found = {}
    for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))) if inodes else []:
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                link = os.readlink(f"/proc/{pid}/fd/{descriptor}")
                if link.startswith("socket:[") and link[8:-1] in inodes:
                    found.setdefault(link[8:-1], pid)
        except OSError:
            # The process ended, or closed the file.
            continue
    return {inode: holder(pid) for inode, pid in found.items()}


def holder(pid):
    try:
        exe = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        exe = ""
    name = read(f"/proc/{pid}/comm").strip() or os.path.basename(exe)
    cgroup = read(f"/proc/{pid}/cgroup")
    # Units of a user's service manager are not system units.
    units = [] if "/user@" in cgroup else re.findall(r"/([^/\n]+\.service)(?=[/\n])", cgroup)
    contained = container_of(cgroup)
    # This server may be a container itself.
    contained = None if contained == container_of(read("/proc/1/cgroup")) else contained
    container = contained or os.path.basename(exe) in PUBLISHERS
    return Holder(pid, name, exe, units[-1] if units else None, container)


def container_of(cgroup):
    found = CONTAINED.search(cgroup)
    return next(filter(None, found.groups()))[:12] if found else None


def socket_unit(run, port, systemd):
    """systemd listens on behalf of a service: returns the socket's unit instead. None if there is none any more; then nobody is in the way."""
    _, out, _ = run(["systemctl", "list-sockets", "--all", "--no-legend", "--no-pager", "--plain", "--full"])
    for line in out.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0].rpartition(":")[2] == str(port["port"]):
            return systemd._replace(name=fields[1], exe="", unit=fields[1])
    return None


def namesake(holder, app, packages):
    """Whether the program has the app's name, as a daemon does. If the app's program comes from a package, a program that somebody installed
    elsewhere by hand does not count."""
    names = [plain(name) for name in (holder.name, os.path.basename(holder.exe), re.split(r"[.@]", holder.unit or "")[0])]
    if app is None:
        return holder.name.startswith("sshd") or names[2] in ("ssh", "sshd")
    if any(plain(app) in plain(package) for package in packages) and holder.exe.startswith(BY_HAND):
        return False
    return any(name in (plain(app), plain(app) + "d") for name in names)


def plain(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def package_of(run, path):
    if not path:
        return None
    for candidate in (path, without_usr(path)):
        code, out, _ = run(["dpkg-query", "--search", candidate])
        if code == 0:
            return out.partition(": ")[0].partition(":")[0]
    return None


def container_name(run, port, holder):
    if os.path.exists("/usr/bin/docker"):
        _, out, _ = run(["docker", "ps", "--filter", f"publish={port['port']}/{port['proto']}", "--format", "{{.Names}}"])
        if out.strip():
            return f"the container `{out.split()[0]}`"
    return "a container" if holder.container is True else f"the container {holder.container}"


def without_usr(path):
    return path.removeprefix("/usr")


def read(path):
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
