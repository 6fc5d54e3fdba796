#!/usr/bin/python3
"""Sets all of ufw in one idempotent step.

`community.general.ufw` handles one rule per call and can't tell which rules are no longer wanted. This module reads ufw's own files and the
kernel once, and calls ufw only for what differs. Its rules carry the comment `ostler`; other rules are left alone.
"""

import json
import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ostler_firewall import (
    ANYWHERE,
    ARGUMENTS,
    Failed,
    Rule,
    applies,
    command,
    policy,
    refuse_docker_without_iptables,
    refuse_lockout,
    sshd_ports,
)
from ansible.module_utils.ostler_netfilter import Family, brief, foreign_filters, read, unit_states

DOCUMENTATION = r"""
module: ostler_ufw
short_description: Keep ufw on, with exactly the wanted rules, or give it back as it was
description:
  - Denies incoming and allows outgoing traffic by default, on IPv4 and IPv6, and allows what the preset, C(allow) and the apps want.
  - Removes rules with the comment C(ostler) that are no longer listed. Nothing is flushed, and other people's rules stay.
  - The ports on which sshd listens at this moment stay open whatever is listed, unless C(ssh_open) is off. All rules are added before ufw
    is enabled.
  - Refuses rules that would lock out the address that this connection comes from, and ufw files that ufw could not load. Nothing is
    touched then.
  - Succeeds when the kernel has the rules for both IP versions, and the next boot will load them. On a failure in between, it restores
    files, kernel and unit.
  - Warns of programs and rulesets that filter beside ufw.
  - Returns C(tuples), ufw's records of all rules in their order, for each IP version; C(barred), ports that must be closed; and whether it
    C(replaces) the module C(iptables), which is still on.
options:
  settings: {description: Those of the module., type: dict, default: {}}
  app_ports: {description: Ports of the apps., type: list, elements: dict, default: []}
  ssh: {description: The policy of SSH., type: dict, default: {}}
  ssh_open: {description: Whether anybody gets in over SSH from outside., type: bool, default: true}
  state:
    description: C(off) removes the rules, and restores ufw's policy and whether it was on, as before the first run with C(on).
    choices: ["on", "off"]
    default: "on"
"""

COMMENT = "ostler"
CONF, DEFAULTS = "/etc/ufw/ufw.conf", "/etc/default/ufw"
# How ufw was before Ostler: {"enabled": bool, "masked": bool, "policy": {name: value}}.
RECORD = "/var/lib/ostler/ufw.json"
RULE_FILES = {4: "/etc/ufw/user.rules", 6: "/etc/ufw/user6.rules"}
PRISTINE = "/usr/share/ufw"
# What the module `iptables` has where it is on.
OTHER = "/etc/ostler-iptables"
POLICY = {"IPV6": "yes", "DEFAULT_INPUT_POLICY": '"DROP"', "DEFAULT_OUTPUT_POLICY": '"ACCEPT"'}


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
        self.installed = os.path.exists("/usr/sbin/ufw")
        self.families = [Family(version, module.run_command) for version in self.versions]
        self.records = {version: self.read_records(version) for version in self.versions}
        self.rules = {version: {key: comment for key, comment, _ in self.records[version] if key} for version in self.versions}
        # The last line counts, as in a shell.
        self.conf_on = re.findall(r"(?m)^ENABLED=(.*)$", read(CONF))[-1:] == ["yes"]

    def keep_on(self, policy):
        if not self.installed and not self.module.check_mode:
            self.module.fail_json(msg="ufw is not installed")
        wanted = policy.rules
        keys = {version: {self.key(rule, version) for rule in wanted if applies(rule, version)} for version in self.versions}
        missing = [rule for rule in wanted if any(not self.decided(rule, v) for v in self.versions if applies(rule, v))]
        stale = self.ours(lambda key, version: key not in keys[version])
        refuse_lockout(self.module, "ufw", self.versions, lambda version: self.allowed(version, keys, stale))
        refuse_docker_without_iptables(self.module)
        self.refuse_unloadable()
        for warning in foreign_filters(self.module.run_command, self.families, "ufw"):
            self.module.warn(f"ufw: {warning}")
        defaults = self.edited(DEFAULTS, POLICY)
        loaded = self.conf_on and all(family.is_complete() for family in self.families)
        unit_wants = self.unit_wants()

        before = self.state("on" if loaded else "off", defaults is None, stale=[], missing=[])
        after = self.state("on", True, stale, missing)
        before.insert(0, "unit: enabled and active" if not unit_wants else "unit: needs " + " and ".join(unit_wants))
        after.insert(0, "unit: enabled and active")
        changed = before != after
        if not self.module.check_mode:
            self.remember()
            was = Snapshot(self) if changed else None
            try:
                if changed:
                    self.change(defaults, missing, stale, loaded, unit_wants)
                self.prove()
            except Failed as failed:
                rest = was.restore() if was else "nothing was changed"
                self.module.fail_json(msg=f"{failed}; {rest}")
        self.finish(changed, before, after, stale, missing, policy.barred)

    def change(self, defaults, missing, stale, loaded, unit_wants):
        if defaults is not None:
            self.write(DEFAULTS, defaults)
        if self.conf_on and not loaded:
            # The files say on, but the kernel lacks the rules (stopped, flushed, or only one IP version). With ENABLED=no, ufw only edits
            # its files, so the rules are complete when `enable` loads them all at once.
            self.write(CONF, self.edited(CONF, {"ENABLED": "no"}))
        for path in RULE_FILES.values():
            if not read(path):
                # Without this file, ufw can't add a rule.
                put(path, contents(f"{PRISTINE}/{os.path.basename(path)}") or contents(f"{PRISTINE}/iptables/{os.path.basename(path)}"))
        for rule in missing:
            lacking = [v for v in self.versions if applies(rule, v) and not self.has(rule, v)]
            for one in self.for_versions(rule, lacking):
                self.ufw("allow", *words(one), "comment", COMMENT)
        self.delete(stale)
        if not loaded:
            # `enable` loads nothing if one of ufw's chains already exists.
            self.ufw("disable")
            for family in self.families:
                family.forget_chains()
            self.ufw("--force", "enable")
        elif defaults is not None:
            self.ufw("reload")
        for verb in unit_wants:
            command(self.module, "systemctl", verb, "ufw.service")

    def prove(self):
        """Fails unless the firewall is as wanted, in the kernel and after the next boot."""
        for family in self.families:
            family.rules(anew=True)
            if not family.is_complete():
                raise Failed(f"ufw says that it is on, and `{family.binary} -S` does not show its rules")
            unloadable = family.unloadable("user")
            if unloadable:
                raise Failed(f"ufw could not load its rules at the next boot: {unloadable}")
        if "ENABLED=yes" not in read(CONF).splitlines() or self.edited(DEFAULTS, POLICY) is not None:
            raise Failed(f"ufw says that it is on, and {CONF} and {DEFAULTS} do not say so for the next boot")

    def refuse_unloadable(self):
        """Refuses files that ufw can't load, before anything is touched. They belong to the user, so Ostler does not fix them."""
        if self.installed:
            reasons = [family.unloadable(name) for family in self.families for name in ("before", "after")]
            reasons += [foreign_bytes(path) for path in (CONF, DEFAULTS, *RULE_FILES.values())]
            if any(reasons):
                self.module.fail_json(msg=f"ufw can't load its rules: {'; '.join(filter(None, reasons))}. Nothing was changed")

    def give_back(self):
        """Restores ufw from the record. Without one, Ostler did not switch ufw on, so it does not switch it off."""
        record = self.recorded()
        stays_on = record.get("enabled", self.conf_on)
        # If the firewall stays on, so do the rules for SSH: sshd may now listen on another port than the user's own rules allow.
        ssh = {port for port in sshd_ports(self.module.run_command) if stays_on}
        stale = self.ours(lambda key, _: not (key[2] in ssh and key[1] == "tcp"))
        policy = self.edited(DEFAULTS, record.get("policy", {}))
        before = self.state("on" if self.conf_on else "off", policy is None, stale=[], missing=[])
        after = self.state("on" if self.conf_on and stays_on else "off", True, stale, missing=[])
        changed = bool(record) or before != after
        if changed and not self.module.check_mode:
            if self.installed:
                was = Snapshot(self)
                try:
                    if self.conf_on and not stays_on:
                        self.ufw("disable")
                    self.delete(stale)
                    if policy is not None:
                        self.write(DEFAULTS, policy)
                        if stays_on:
                            self.ufw("reload")
                    if record.get("masked"):
                        command(self.module, "systemctl", "mask", "ufw.service")
                except Failed as failed:
                    self.module.fail_json(msg=f"{failed}; {was.restore()}")
            if os.path.exists(RECORD):
                os.remove(RECORD)
        self.finish(changed, before, after, stale, missing=[])

    def finish(self, changed, before, after, stale, missing, barred=()):
        self.module.exit_json(
            changed=changed,
            barred=list(barred),
            replaces=self.module.params["state"] == "on" and self.iptables_is_on(),
            tuples={str(version): self.records_after(version, stale, missing) for version in self.versions},
            diff={"before": text(before), "after": text(after), "before_header": "ufw", "after_header": "ufw"},
        )

    def state(self, switch, policy_is_right, stale, missing):
        present = [key for version in self.versions for key in self.rules[version] if (version, key) not in stale]
        new = [self.key(rule, version) for rule in missing for version in self.versions if applies(rule, version)]
        policy = "as wanted" if policy_is_right else "differs"
        return [f"firewall: {switch}", f"policy: {policy}", *sorted({show(key) for key in present + new})]

    def records_after(self, version, stale, missing):
        """What `records` will be after the change. ufw appends new rules."""
        kept = [record for key, _, record in self.records[version] if not key or (version, key) not in stale]
        new = [self.key(rule, version) for rule in missing if applies(rule, version) and not self.decided(rule, version)]
        anywhere = ANYWHERE[version]
        return kept + [f"{action} {proto} {port} {anywhere} any {source} in" for action, proto, port, source in new]

    def recorded(self):
        text = read(RECORD)
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError as error:
            self.module.fail_json(msg=f"{RECORD}, where Ostler keeps how ufw was before, is damaged: {error}")

    def remember(self):
        if os.path.exists(RECORD):
            return
        policy = dict(re.findall(r"(?m)^(\w+)=(.*)$", read(DEFAULTS)))
        # If rules of ours are already there, Ostler switched it on.
        enabled = self.conf_on and not self.ours(lambda *_: True)
        masked = unit_states(self.module.run_command, ["ufw"]).get("ufw", ("",))[0] == "masked"
        record = {"enabled": enabled, "masked": masked, "policy": {name: policy[name] for name in POLICY if name in policy}}
        os.makedirs(os.path.dirname(RECORD), mode=0o755, exist_ok=True)
        self.write(RECORD, json.dumps(record) + "\n")

    def allowed(self, version, keys, stale):
        """What lets in after the change: rules of the user count, too."""
        kept = {key for key in self.rules[version] if key[0] in ("allow", "limit") and (version, key) not in stale}
        return [key[1:] for key in kept | keys[version]]

    def iptables_is_on(self):
        return os.path.exists(OTHER) or any("-N ostler-input" in family.rules() for family in self.families)

    def ours(self, wanted):
        rules = [(v, key) for v in self.versions for key, comment in self.rules[v].items() if comment == COMMENT and key[0] == "allow"]
        return [(v, key) for v, key in rules if wanted(key, v)]

    def delete(self, stale):
        rules = {}
        for version, (_, proto, port, source) in stale:
            rules.setdefault(Rule(port, proto, None if source == ANYWHERE[version] else source), []).append(version)
        for rule, versions in rules.items():
            for one in self.for_versions(rule, versions):
                self.ufw("--force", "delete", "allow", *words(one))

    def for_versions(self, rule, versions):
        """The rule for these IP versions only. The other version's rule may be somebody's own, and ufw would take it for the same rule."""
        if rule.source is not None or versions == self.versions:
            return [rule]
        return [rule._replace(source=ANYWHERE[version]) for version in versions]

    def has(self, rule, version):
        _, *what = self.key(rule, version)
        return any((action, *what) in self.rules[version] for action in ("allow", "limit", "deny", "reject"))

    def decided(self, rule, version):
        """Whether a rule for exactly this already exists. If it is the user's own, it stays, even if it limits or denies. ufw would not add
        ours beside it, but replace it with ours."""
        _, *what = self.key(rule, version)
        present = [action for action in ["allow", "limit", "deny", "reject"] if (action, *what) in self.rules[version]]
        if present and present[0] in ("deny", "reject"):
            self.module.warn(f"ufw: a rule of your own stays in the way of `{show(('allow', *what))}`: `{show((present[0], *what))}`")
        return bool(present)

    def key(self, rule, version):
        return ("allow", rule.proto, rule.port, rule.source or ANYWHERE[version])

    def read_records(self, version):
        """Reads ufw's own records, `### tuple ### ACTION PROTO DPORT DST SPORT SRC [DAPP SAPP] DIRECTION [comment=HEX]`, as (key, comment, all
        but the comment). Rules that Ostler never writes (with an interface, a destination, a source port or a profile) have no key."""
        records = []
        for line in read(RULE_FILES[version]).splitlines():
            fields = line.split()
            if fields[:3] != ["###", "tuple", "###"]:
                continue
            comment = None
            if fields[-1].startswith("comment="):
                comment = decoded(fields.pop().partition("=")[2])
            key = None
            if len(fields) == 10:
                action, proto, dport, destination, sport, source, direction = fields[3:]
                if destination == ANYWHERE[version] and sport == "any" and direction == "in":
                    key = (action, proto, dport, source)
            records.append((key, comment, " ".join(fields[3:])))
        return records

    def unit_wants(self):
        if not os.path.isdir("/run/systemd/system"):
            return []
        # If ufw is not installed yet, there is no unit.
        enabled, active = unit_states(self.module.run_command, ["ufw"]).get("ufw", (None, None))
        wants = ["unmask", "enable"] if enabled and enabled.startswith("masked") else ["enable"] if enabled != "enabled" else []
        return wants + (["start"] if active != "active" else [])

    def edited(self, path, settings):
        """The content of a shell-style file with these settings, or None if it already has them."""
        content = old = read(path)
        for name, value in settings.items():
            line = f"{name}={value}"
            content, found = re.subn(rf"(?m)^{name}=.*$", line, content)
            if not found:
                content += line + "\n"
        return content if content != old else None

    def write(self, path, content):
        temporary = f"{path}.ostler"
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
        self.module.atomic_move(temporary, path)

    def ufw(self, *arguments):
        command(self.module, "ufw", *arguments)


class Snapshot:
    """The state of ufw's files, its rules in the kernel and its unit when this was created."""

    def __init__(self, firewall):
        self.firewall, self.run = firewall, firewall.module.run_command
        self.files = {path: contents(path) for path in [CONF, DEFAULTS, *RULE_FILES.values()]}
        self.tables = {family: family.saved() for family in firewall.families}
        self.unit = unit_states(self.run, ["ufw"]).get("ufw")

    def restore(self):
        """Restores that state. Returns the end of a sentence that says whether it worked."""
        left = []
        if self.unit:
            enabled, active = unit_states(self.run, ["ufw"]).get("ufw", self.unit)
            verbs = (["stop"] if (self.unit[1], active) == ("inactive", "active") else []) + (
                [] if enabled == self.unit[0] else ["mask"] if self.unit[0] == "masked" else ["disable"]
            )
            left += [f"`systemctl {verb} ufw.service` failed" for verb in verbs if self.run(["systemctl", verb, "ufw.service"])[0] != 0]
        for path, file in self.files.items():
            try:
                if file is None:
                    if os.path.exists(path):
                        os.remove(path)
                elif contents(path) != file:
                    put(path, file)
            except OSError as error:
                left.append(str(error))
        for family, saved in self.tables.items():
            failure = family.restore(saved) if saved else "its rules could not be saved before"
            left += [f"{family.binary}: {brief(failure)}"] if failure else []
        if left:
            return f"and the firewall could not be put back as it was before ({'; '.join(left)})"
        return "the firewall is as it was before"


def decoded(comment):
    """Decodes a comment from ufw's hexadecimal digits. One that a person wrote as plain text stays as it is."""
    try:
        return bytes.fromhex(comment).decode(errors="replace")
    except ValueError:
        return comment


def foreign_bytes(path):
    """Says where a file is not UTF-8, or returns None. ufw, a Python program, crashes on such a file."""
    content = read(path)
    found = re.search("[\ud800-\udfff]", content)
    return f"{path}, line {content.count(chr(10), 0, found.start()) + 1}: this is not UTF-8, and ufw can't read it" if found else None


def contents(path):
    try:
        with open(path, "rb") as file:
            return file.read(), os.fstat(file.fileno()).st_mode & 0o7777
    except FileNotFoundError:
        return None


def put(path, file):
    if file is None:
        raise Failed(f"{path} is missing")
    with open(path + ".ostler", "wb") as new:
        os.fchmod(new.fileno(), file[1])
        new.write(file[0])
    os.replace(path + ".ostler", path)


def words(rule):
    """The rule as arguments for ufw."""
    proto = [] if rule.proto == "any" else ["proto", rule.proto]
    port = [] if rule.port == "any" else ["port", rule.port]
    return [*proto, "from", rule.source or "any", "to", "any", *port]


def show(key):
    action, proto, port, source = key
    what = port if proto == "any" else f"{port}/{proto}"
    return f"{action} {what} from {source}"


def text(state):
    return "".join(line + "\n" for line in state)


if __name__ == "__main__":
    main()
