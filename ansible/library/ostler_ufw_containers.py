#!/usr/bin/python3
"""Applies ufw's rules to the ports that containers publish, and closes SSH where it must be closed.

Docker opens a published port with its own rules in `nat` and `FORWARD`, which packets pass instead of ufw's. For such packets it first
consults the chain DOCKER-USER, which belongs to its user. This module fills that chain from ufw's own records. It matches the port that the
packet was sent to (`--ctorigdstport`), because Docker has translated the port by then. ufw loads the chain through its `after.init`: at
boot, when it is switched on, and when it is reloaded. So the chain exists before Docker does, and Docker leaves its content alone. No rule of
Docker or anybody else is flushed.

A port that nobody may reach is closed before all rules of ufw, because rules of the user may open it.
"""

import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ostler_firewall import (
    Failed,
    File,
    barrier,
    command,
    containers,
    file_diff,
    is_first,
    loader,
    read_file,
    table,
    write_file,
)
from ansible.module_utils.ostler_netfilter import Family

DOCUMENTATION = r"""
module: ostler_ufw_containers
short_description: Make published container ports obey ufw
options:
  tuples: {description: "ufw's records in their order, by IP version, as C(ostler_ufw) returns them.", type: dict, default: {}}
  barred: {description: TCP ports that nobody reaches from outside, whatever ufw allows., type: list, elements: str, default: []}
  state: {description: C(off) removes everything., choices: ["on", "off"], default: "on"}
"""

SCRIPT, HOOK = "/etc/ufw/ostler-containers", "/etc/ufw/after.init"
RULES = {4: "/etc/ufw/ostler-containers.rules", 6: "/etc/ufw/ostler-containers6.rules"}
CHAIN, SSH = "ostler-containers", "ostler-containers-ssh"
BEGIN, END = "# BEGIN Ostler", "# END Ostler"
WAS_OFF = " (this file was not executable before)"
SCRIPT_TEXT = loader(
    "Published container ports obey ufw: /etc/ufw/after.init calls this with what ufw does.",
    "/etc/ufw/ostler-containers$2.rules",
    [("-I", "INPUT", SSH), ("-I", "DOCKER-USER", CHAIN)],
    [CHAIN, f"{CHAIN}-in", SSH],
)


def main():
    spec = {
        "tuples": {"type": "dict", "default": {}},
        "barred": {"type": "list", "elements": "str", "default": []},
        "state": {"choices": ["on", "off"], "default": "on"},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    try:
        Containers(module).run(module.params["state"] == "on")
    except Failed as failed:
        module.fail_json(msg=str(failed))


class Containers:
    def __init__(self, module):
        self.module = module
        self.versions = [4, 6] if os.path.exists("/proc/sys/net/ipv6") else [4]

    def run(self, on):
        paths = [*RULES.values(), SCRIPT, HOOK]
        before = {path: read_file(path) for path in paths}
        after = dict.fromkeys(paths) | {HOOK: unhooked(before[HOOK])}
        if on:
            after |= {RULES[version]: File(self.rules(version), 0o640) for version in self.versions}
            after |= {SCRIPT: File(SCRIPT_TEXT, 0o755), HOOK: self.hooked(before[HOOK])}
        changed = [path for path in paths if before[path] != after[path]]
        loaded = not on or bool(changed) or self.kernel_has(after)
        if (changed or not loaded) and not self.module.check_mode:
            if not on and before[SCRIPT]:
                command(self.module, SCRIPT, "stop")
            for path in changed:
                write_file(path, after[path])
            if on:
                command(self.module, SCRIPT, "start")
        self.module.exit_json(changed=bool(changed) or not loaded, diff=[file_diff(path, before[path], after[path]) for path in changed])

    def rules(self, version):
        records = self.module.params["tuples"].get(str(version), [])
        lines = containers(version, CHAIN, records, "UFW BLOCK") + barrier(SSH, self.module.params["barred"])
        return table(", from the rules of ufw", lines)

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
            # None in check mode where iptables is not there yet.
            rules = Family(version, self.module.run_command).rules()
            wanted = len(re.findall(rf"(?m)^-A {CHAIN}", after[RULES[version]].text))
            jumps = {f"-A DOCKER-USER -j {CHAIN}", f"-A INPUT -j {SSH}"}
            if self.module.params["barred"] and not is_first(rules, SSH):
                return False
            if sum(line.startswith(f"-A {CHAIN}") for line in rules) != wanted or not jumps <= set(rules):
                return False
        return True


def unhooked(hook):
    """The hook without our call."""
    if hook is None or BEGIN not in hook.text:
        return hook
    mode = hook.mode & ~0o111 if BEGIN + WAS_OFF in hook.text else hook.mode
    return File(re.sub(rf"(?ms)^{BEGIN}.*?^{END}\n", "", hook.text), mode)


if __name__ == "__main__":
    main()
