#!/usr/bin/python3
"""A firewall of iptables in chains of our own, beside all other rules.

`ostler-input` is consulted last of INPUT, accepts what is wanted and drops the rest; so rules of the user and of fail2ban come first, and the
policies stay as they are. `ostler-docker` is consulted first of DOCKER-USER, `ostler-ssh` first of INPUT. All of it is loaded by one
transaction for each IP version, at boot by a unit of ours. What the kernel then shows is recorded: the next run compares with that, because
nobody else writes rules as the kernel shows them.
"""

import json
import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ostler_firewall import (
    ANYWHERE,
    ARGUMENTS,
    Failed,
    File,
    applies,
    barrier,
    command,
    containers,
    file_diff,
    is_first,
    loader,
    policy,
    read_file,
    record,
    refuse_docker_without_iptables,
    refuse_lockout,
    table,
    write_file,
)
from ansible.module_utils.ostler_netfilter import Family, brief, foreign_filters, read, unit_states

DOCUMENTATION = r"""
module: ostler_iptables
short_description: Keep a firewall of iptables on, with exactly the wanted rules, or take it away
description:
  - Lets in what the preset, C(allow) and the apps want, on IPv4 and IPv6, and drops the rest. Outgoing traffic is not filtered.
  - Nothing is flushed, no policy is changed, and rules of others stay and come first.
  - The ports on which sshd listens at this moment stay open whatever is listed, unless C(ssh_open) is off.
  - Refuses rules that would lock out the address that this connection comes from, and rules that iptables can't load. Nothing is touched then.
  - Succeeds when the kernel has the rules for both IP versions, and the next boot will load them. On a failure in between, it restores both.
  - Warns of programs and rulesets that filter beside it.
  - Returns whether it C(replaces) the module C(ufw), which is still on.
options:
  settings: {description: Those of the module., type: dict, default: {}}
  app_ports: {description: Ports of the apps., type: list, elements: dict, default: []}
  ssh: {description: The policy of SSH., type: dict, default: {}}
  ssh_open: {description: Whether anybody gets in over SSH from outside., type: bool, default: true}
  state: {description: C(off) removes everything., choices: ["on", "off"], default: "on"}
"""

FOLDER = "/etc/ostler-iptables"
LOADER = f"{FOLDER}/load"
RULES = {4: f"{FOLDER}/rules", 6: f"{FOLDER}/rules6"}
UNIT = "ostler-iptables.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
# What the kernel showed of our rules once they were loaded, by IP version.
RECORD = "/var/lib/ostler/iptables.json"
# The module `ufw` keeps this while it is on.
OTHER = "/var/lib/ostler/ufw.json"
INPUT, SSH, DOCKER = "ostler-input", "ostler-ssh", "ostler-docker"
JUMPS = [("-I", "INPUT", SSH), ("-A", "INPUT", INPUT), ("-I", "DOCKER-USER", DOCKER)]
LOADER_TEXT = loader("The firewall of the module iptables.", f"{FOLDER}/rules$2", JUMPS, [INPUT, SSH, DOCKER, f"{DOCKER}-in"])
# Loaded before there is a network; after whatever replaces all rules, and again whenever that is started. Stopping the unit leaves the rules,
# or a server would be open while it shuts down.
UNIT_TEXT = f"""# Managed by Ostler. Changes here are overwritten.
[Unit]
Description=Firewall of Ostler
ConditionFileIsExecutable={LOADER}
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service nftables.service netfilter-persistent.service ufw.service
Before=network-pre.target docker.service fail2ban.service shutdown.target
Wants=network-pre.target
PartOf=nftables.service netfilter-persistent.service
ReloadPropagatedFrom=nftables.service netfilter-persistent.service
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={LOADER} start
ExecReload={LOADER} start

[Install]
WantedBy=multi-user.target
"""
# Errors that connections need, and pings (RFC 4890 says so for IPv6, too; of its other types the kernel itself checks where they are from).
ICMP = {
    4: [f"-p icmp -m icmp --icmp-type {kind} -j ACCEPT" for kind in ("destination-unreachable", "time-exceeded", "parameter-problem", "echo-request")],
    6: ["-p ipv6-icmp -j ACCEPT"],
}
# Answers of DHCP servers, which no connection tracking knows.
DHCP = {4: "-p udp -m udp --sport 67 --dport 68 -j ACCEPT", 6: "-s fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT"}


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    firewall = Firewall(module)
    if module.params["state"] == "on":
        firewall.keep_on(policy(module))
    else:
        firewall.give_back()


class Firewall:
    def __init__(self, module):
        self.module = module
        self.versions = [4, 6] if os.path.exists("/proc/sys/net/ipv6") else [4]
        self.families = [Family(version, module.run_command) for version in self.versions]
        self.paths = [*RULES.values(), LOADER, UNIT_FILE]
        self.before = {path: read_file(path) for path in self.paths}

    def keep_on(self, policy):
        for family in self.families:
            if not os.path.exists(f"/usr/sbin/{family.binary}") and not self.module.check_mode:
                self.module.fail_json(msg="iptables is not installed")
        refuse_lockout(self.module, "iptables", self.versions, lambda version: allowed(policy, version))
        refuse_docker_without_iptables(self.module)
        for warning in [*foreign_filters(self.module.run_command, self.families, "iptables"), *self.ufw_beside()]:
            self.module.warn(f"iptables: {warning}")
        after = dict.fromkeys(self.paths)
        after |= {RULES[version]: File(rules(policy, version), 0o640) for version in self.versions}
        after |= {LOADER: File(LOADER_TEXT, 0o755), UNIT_FILE: File(UNIT_TEXT, 0o644)}
        self.refuse_unloadable(after)
        barred = not policy.barred or all(is_first(family.rules(), SSH) for family in self.families)
        loaded = barred and read(RECORD) == self.in_kernel()
        self.finish(after, loaded, self.unit_wants(after), self.load)

    def load(self, changed, settled, unit_wants):
        was_loaded = any(map(ours, (line for family in self.families for line in family.rules())))
        try:
            for path in changed:
                write_file(path, self.after[path])
            if changed or not settled:
                command(self.module, LOADER, "start")
            for verb in unit_wants:
                command(self.module, "systemctl", *verb)
            self.prove()
        except (Failed, OSError) as failed:
            self.module.fail_json(msg=f"{failed}; {self.put_back(changed, was_loaded)}")

    def prove(self):
        """Fails unless the kernel has all chains and consults them; keeps what it shows."""
        for family in self.families:
            lines = family.rules(anew=True)
            for _, chain, to in JUMPS:
                if f"-A {chain} -j {to}" not in lines:
                    raise Failed(f"the rules are loaded, and `{family.binary} -S {chain}` does not show the jump to {to}")
        write_file(RECORD, File(self.in_kernel(), 0o644))

    def put_back(self, changed, was_loaded):
        """Restores files and kernel. Returns the end of a sentence that says whether it worked."""
        try:
            has_systemd = os.path.isdir("/run/systemd/system")
            if has_systemd and self.before[UNIT_FILE] is None:
                # Fails where it was not enabled yet.
                self.module.run_command(["systemctl", "disable", "--now", UNIT])
            if not was_loaded:
                command(self.module, "sh", "-s", "stop", data=LOADER_TEXT)
            for path in changed:
                write_file(path, self.before[path])
            if was_loaded and self.before[LOADER]:
                command(self.module, LOADER, "start")
            if has_systemd and UNIT_FILE in changed:
                command(self.module, "systemctl", "daemon-reload")
        except (Failed, OSError) as failed:
            return f"and the firewall could not be put back as it was before ({failed})"
        return "the firewall is as it was before"

    def give_back(self):
        gone = "ostler-" not in self.in_kernel() and not os.path.exists(RECORD)
        self.finish(dict.fromkeys(self.paths), gone, [], self.unload)

    def unload(self, changed, *_):
        try:
            if os.path.exists("/usr/sbin/iptables"):
                command(self.module, "sh", "-s", "stop", data=LOADER_TEXT)
            if os.path.isdir("/run/systemd/system") and self.before[UNIT_FILE]:
                command(self.module, "systemctl", "disable", "--now", UNIT)
            for path in [*changed, RECORD]:
                write_file(path, None)
            if os.path.isdir(FOLDER) and not os.listdir(FOLDER):
                os.rmdir(FOLDER)
            if os.path.isdir("/run/systemd/system") and self.before[UNIT_FILE]:
                command(self.module, "systemctl", "daemon-reload")
        except Failed as failed:
            self.module.fail_json(msg=str(failed))

    def finish(self, after, settled, unit_wants, act):
        """Makes files and kernel as wanted by `act`, except in check mode. `settled` says whether the kernel is so already."""
        self.after = after
        on = self.module.params["state"] == "on"
        changed = [path for path in self.paths if self.before[path] != after[path]]
        diff = [file_diff(path, self.before[path], after[path]) for path in changed]
        if not settled or unit_wants:
            was = ["rules: differ" if not settled else "rules: as wanted", *(f"unit: needs {verb[0]}" for verb in unit_wants)]
            diff.append({"before": text(was), "after": text(["rules: as wanted"]), "before_header": "kernel", "after_header": "kernel"})
        if diff and not self.module.check_mode:
            act(changed, settled, unit_wants)
        self.module.exit_json(changed=bool(diff), replaces=on and os.path.exists(OTHER), diff=diff)

    def refuse_unloadable(self, after):
        for family in self.families:
            if os.path.exists(f"/usr/sbin/{family.binary}-restore"):
                data = after[RULES[family.version]].text
                code, out, err = self.module.run_command([family.binary + "-restore", "-w", "--test", "--noflush"], data=data)
                if code != 0:
                    self.module.fail_json(msg=f"{family.binary} can't load these rules: {brief(err or out)}. Nothing was changed")

    def ufw_beside(self):
        """ufw that somebody else has switched on stays on."""
        on = re.findall(r"(?m)^ENABLED=(.*)$", read("/etc/ufw/ufw.conf"))[-1:] == ["yes"]
        if on and (not os.path.exists(OTHER) or json.loads(read(OTHER) or "{}").get("enabled")):
            yield (
                "ufw was on before Ostler came, and stays on beside iptables: what its rules allow or deny counts first. `ufw disable` "
                "leaves the firewall to iptables"
            )

    def in_kernel(self):
        """Our rules and the jumps to them, as the kernel shows them."""
        lines = {str(family.version): [line for line in family.rules() if ours(line)] for family in self.families}
        # The order of chains means nothing, and that of rules within one does.
        return json.dumps({version: sorted(found, key=lambda line: line.split()[1]) for version, found in lines.items()}) + "\n"

    def unit_wants(self, after):
        if not os.path.isdir("/run/systemd/system"):
            return []
        enabled, active = unit_states(self.module.run_command, [UNIT.removesuffix(".service")]).get(UNIT.removesuffix(".service"), (None, None))
        wants = [["daemon-reload"]] if self.before[UNIT_FILE] != after[UNIT_FILE] else []
        wants += [["unmask", UNIT]] if enabled and enabled.startswith("masked") else []
        wants += [["enable", UNIT]] if enabled != "enabled" else []
        return wants + ([["start", UNIT]] if active != "active" else [])


def rules(policy, version):
    lines = [f":{INPUT} - [0:0]"]
    wanted = [rule for rule in policy.rules if applies(rule, version)]
    accept = ["-i lo -j ACCEPT", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", *ICMP[version], DHCP[version]]
    accept += [f"{match} -j ACCEPT" for rule in wanted for match in matches(rule)]
    # What everybody on the network gets is not worth a line in the log.
    quiet = [f"-m addrtype --dst-type {kind} -j DROP" for kind in (["BROADCAST", "MULTICAST"] if version == 4 else ["MULTICAST"])]
    log = '-m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[OSTLER BLOCK] "'
    lines += [f"-A {INPUT} {line}" for line in [*accept, *quiet, log, "-j DROP"]]
    lines += containers(version, DOCKER, [record(rule, version) for rule in wanted], "OSTLER BLOCK")
    return table("", lines + barrier(SSH, policy.barred))


def matches(rule):
    """What a rule matches, in words of iptables."""
    source = f"-s {rule.source}" if rule.source else ""
    if rule.port == "any":
        return [source]
    protos = ["tcp", "udp"] if rule.proto == "any" else [rule.proto]
    return [f"{source} -p {proto} -m {proto} --dport {rule.port}".strip() for proto in protos]


def allowed(policy, version):
    return [(rule.proto, rule.port, rule.source or ANYWHERE[version]) for rule in policy.rules if applies(rule, version)]


def ours(line):
    """Whether a line of `iptables -S` is a rule in one of our chains, or a jump to one."""
    chains = "|".join([INPUT, SSH, DOCKER, f"{DOCKER}-in"])
    return bool(re.match(rf"-A ({chains}) ", line) or re.fullmatch(rf"-A (INPUT|DOCKER-USER) -j ({chains})", line))


def text(lines):
    return "".join(line + "\n" for line in lines)


if __name__ == "__main__":
    main()
