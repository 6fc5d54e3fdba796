#!/usr/bin/python3
"""Applies ufw's rules to the ports that containers publish.

Docker opens a published port with its own rules in `nat` and `FORWARD`, which packets pass instead of ufw's. For such packets it first
consults the chain DOCKER-USER, which belongs to its user. This module fills that chain from ufw's own records. It matches the port that the
packet was sent to (`--ctorigdstport`), because Docker has translated the port by then. ufw loads the chain through its `after.init`: at
boot, when it is switched on, and when it is reloaded. So the chain exists before Docker does, and Docker leaves its content alone. No rule of
Docker or anybody else is flushed.
"""

import os
import re
from collections import namedtuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_ufw_containers
short_description: Make published container ports obey ufw
options:
  tuples: {description: "ufw's records in their order, by IP version, as C(ostler_ufw) returns them.", type: dict, default: {}}
  state: {description: C(off) removes everything., choices: ["on", "off"], default: "on"}
"""

SCRIPT, HOOK = "/etc/ufw/ostler-containers", "/etc/ufw/after.init"
RULES = {4: "/etc/ufw/ostler-containers.rules", 6: "/etc/ufw/ostler-containers6.rules"}
CHAIN = "ostler-containers"
File = namedtuple("File", "text mode")
BEGIN, END = "# BEGIN Ostler", "# END Ostler"
WAS_OFF = " (this file was not executable before)"
ANYWHERE = ("0.0.0.0/0", "::/0")
# Interfaces that Docker creates: for the default network, for Swarm's gateway, and for networks that choose no interface name.
BRIDGES = ["docker0", "docker_gwbridge", "br-+"]

SCRIPT_TEXT = r"""#!/bin/sh
# Managed by Ostler. Changes here are overwritten.
# Published container ports obey ufw: /etc/ufw/after.init calls this with what ufw does.

start() {
    "$1-restore" -w --noflush < "/etc/ufw/ostler-containers$2.rules" || return
    "$1" -w -n -L DOCKER-USER > /dev/null 2>&1 || "$1" -w -N DOCKER-USER || return
    "$1" -w -C DOCKER-USER -j ostler-containers 2> /dev/null || "$1" -w -I DOCKER-USER -j ostler-containers
}

stop() {
    while "$1" -w -D DOCKER-USER -j ostler-containers; do :; done
    for action in -F -X; do
        for chain in ostler-containers ostler-containers-in; do "$1" -w "$action" "$chain"; done
    done
    # Fails where Docker or somebody else uses it.
    "$1" -w -X DOCKER-USER || true
} 2> /dev/null

case "$1" in
    start) verb=start ;;
    stop | flush-all) verb=stop ;;
    *) exit 0 ;;
esac
"$verb" iptables ""
failed=$?
if [ -e /proc/sys/net/ipv6 ]; then
    "$verb" ip6tables 6 || failed=1
fi
[ "$failed" = 0 ] || echo "ostler: the rules for containers' ports are not loaded" >&2
exit "$failed"
"""


def main():
    spec = {"tuples": {"type": "dict", "default": {}}, "state": {"choices": ["on", "off"], "default": "on"}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    Containers(module).run(module.params["state"] == "on")


class Containers:
    def __init__(self, module):
        self.module = module
        self.versions = [4, 6] if os.path.exists("/proc/sys/net/ipv6") else [4]

    def run(self, on):
        paths = [*RULES.values(), SCRIPT, HOOK]
        before = {path: read(path) for path in paths}
        after = dict.fromkeys(paths) | {HOOK: unhooked(before[HOOK])}
        if on:
            after |= {RULES[v]: File(chains(v, self.module.params["tuples"].get(str(v), [])), 0o640) for v in self.versions}
            after |= {SCRIPT: File(SCRIPT_TEXT, 0o755), HOOK: self.hooked(before[HOOK])}
        changed = [path for path in paths if before[path] != after[path]]
        # In check mode, iptables may not be there yet.
        loaded = not on or bool(changed) or self.kernel_has(after)
        if (changed or not loaded) and not self.module.check_mode:
            if not on and before[SCRIPT]:
                self.command(SCRIPT, "stop")
            for path in changed:
                write(path, after[path])
            if on:
                self.command(SCRIPT, "start")
        self.module.exit_json(changed=bool(changed) or not loaded, diff=[diff(path, before[path], after[path]) for path in changed])

    def hooked(self, hook):
        """The hook with our call at its start, before any `exit` of the user. If the call fails, it says so and the rest continues."""
        clean = unhooked(hook) or File("#!/bin/sh\n", 0o640)
        first, _, rest = clean.text.partition("\n")
        if not re.fullmatch(r"#! ?(/usr)?/bin/(env )?(sh|bash|dash)( -\w+)?", first):
            self.module.fail_json(msg=f'{HOOK} is not a shell script: let it call `{SCRIPT} "$1"`, or make it one')
        note = "" if clean.mode & 0o100 else WAS_OFF
        return File(f'{first}\n{BEGIN}{note}\n{SCRIPT} "$1" || true\n{END}\n{rest}', clean.mode | 0o100)

    def kernel_has(self, after):
        for version in self.versions:
            _, out, _ = self.module.run_command(["iptables" if version == 4 else "ip6tables", "-S"])
            wanted = len(re.findall(rf"(?m)^-A {CHAIN}", after[RULES[version]].text))
            if len(re.findall(rf"(?m)^-A {CHAIN}", out)) != wanted or f"-A DOCKER-USER -j {CHAIN}\n" not in out:
                return False
        return True

    def command(self, *command):
        code, out, err = self.module.run_command(list(command))
        if code != 0:
            self.module.fail_json(msg=f"`{' '.join(command)}` failed: {(err or out).strip()}", rc=code, stdout=out, stderr=err)


def unhooked(hook):
    """The hook without our call."""
    if hook is None or BEGIN not in hook.text:
        return hook
    mode = hook.mode & ~0o111 if BEGIN + WAS_OFF in hook.text else hook.mode
    return File(re.sub(rf"(?ms)^{BEGIN}.*?^{END}\n", "", hook.text), mode)


def read(path):
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return File(file.read(), os.fstat(file.fileno()).st_mode & 0o7777)
    except FileNotFoundError:
        return None


def write(path, file):
    if file is None:
        return os.remove(path)
    with open(path + ".new", "w", encoding="utf-8", errors="surrogateescape") as new:
        os.fchmod(new.fileno(), file.mode)
        new.write(file.text)
    os.replace(path + ".new", path)


def diff(path, before, after):
    def shown(file):
        # Bytes that are not text stay in the file, but JSON can't carry them.
        return file.text.encode("utf-8", "replace").decode() if file else ""

    return {"before": shown(before), "after": shown(after), "before_header": path, "after_header": path}


def chains(version, tuples):
    """Both chains, in the form that `iptables-restore --noflush` loads in one step. It empties only the two chains that it names."""
    lines = [f":{CHAIN} - [0:0]", f":{CHAIN}-in - [0:0]"]
    # Established connections continue. ufw does not filter what containers send. Errors and pings are harmless.
    lines.append(f"-A {CHAIN} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN")
    lines += [f"-A {CHAIN} -i {bridge} -j RETURN" for bridge in BRIDGES]
    lines.append(f"-A {CHAIN} -p {'icmp' if version == 4 else 'ipv6-icmp'} -j RETURN")
    # Packets to a container, through its published port or directly to its address. A neighbour on the network can send the latter, and only
    # rules of `ufw route` let them in. `-g` returns to Docker's own rules.
    lines += [f"-A {CHAIN} -o {bridge} -g {CHAIN}-in" for bridge in BRIDGES]
    lines.append(f"-A {CHAIN} -m conntrack --ctstate DNAT -g {CHAIN}-in")
    lines += [f"-A {CHAIN}-in {rule}" for record in tuples for rule in translate(record.split())]
    lines.append(f"-A {CHAIN}-in -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix \"[UFW BLOCK] \"")
    lines.append(f"-A {CHAIN}-in -j DROP")
    return "\n".join(["# Managed by Ostler, from the rules of ufw. Changes here are overwritten.", "*filter", *lines, "COMMIT"]) + "\n"


def translate(record):
    """Rules for one record of ufw: [route:]ACTION[_log] PROTO DPORT DST SPORT SRC [DAPP SAPP] DIRECTION[_INTERFACE]."""
    action, proto, dport, destination, sport, source = record[:6]
    route, _, action = action.rpartition(":")
    verdict = "RETURN" if action.partition("_")[0] in ("allow", "limit") else "DROP"
    interfaces = dict(part.partition("_")[::2] for part in record[-1].split("!"))
    if "in" not in interfaces and not route:
        return
    # A rule for forwarded packets names the container itself. One for incoming packets names a port of the server, which the sender used.
    to_port, from_port, to = ("--dport", "--sport", "-d") if route else ("--ctorigdstport", "--ctorigsrcport", "--ctorigdst")
    common = [f"-i {interfaces['in']}"] if interfaces.get("in") else []
    common += [f"-o {interfaces['out']}"] if interfaces.get("out") else []
    common += [f"-s {source}"] if source not in ANYWHERE else []
    ports = [(d, s) for d in dport.split(",") for s in sport.split(",")]
    protos = ["tcp", "udp"] if proto == "any" and (dport, sport) != ("any", "any") else [proto]
    for name in protos:
        for d, s in ports:
            match = [f"{to} {destination}"] if destination not in ANYWHERE else []
            match += [f"{to_port} {d}"] if d != "any" else []
            match += [f"{from_port} {s}"] if s != "any" else []
            if not route:
                match.insert(0, "-m conntrack --ctstate DNAT")
            yield " ".join([*common, *([f"-p {name}"] if name != "any" else []), *match, f"-j {verdict}"])


if __name__ == "__main__":
    main()
