#!/usr/bin/python3
"""The whole of ufw in one idempotent step.

`community.general.ufw` handles one rule per call and cannot say which rules are no longer wanted. This module reads ufw's own files
and the kernel once, and calls ufw only for what differs. Its rules carry the comment `ostler`; other rules are left alone.
"""

import ipaddress
import json
import os
import re
from collections import namedtuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_ufw
short_description: Keep ufw on, with exactly the wanted rules, or give it back as it was
description:
  - Denies incoming and allows outgoing traffic by default, on IPv4 and IPv6, and allows what C(allow) lists.
  - Removes rules with the comment C(ostler) that are not listed any more. Nothing is flushed, and rules of others stay.
  - The ports on which sshd listens at this moment stay open whatever is listed, and everything is allowed before ufw is enabled.
  - Rules that would not let in the address that this very connection comes from are refused.
  - Returns C(tuples), ufw's records of all rules in their order, for each IP version.
options:
  allow:
    description:
      - C(PORT[/PROTO]) or C(any), then optionally C(from ADDRESS); PORT may be a range C(6000:6010); without PROTO it is TCP and UDP.
      - C(from lan) means the private and link-local ranges of IPv4 and IPv6.
    type: list
    elements: str
    default: []
  ssh_from: {description: Who reaches the ports of sshd., choices: [any, lan], default: any}
  state:
    description: C(off) removes the rules and puts back whether ufw was on, and its policy, from before the first run with C(on).
    choices: ["on", "off"]
    default: "on"
"""

COMMENT = "ostler"
CONF, DEFAULTS = "/etc/ufw/ufw.conf", "/etc/default/ufw"
# How ufw was before Ostler: {"enabled": bool, "policy": {name: value}}.
RECORD = "/var/lib/ostler/ufw.json"
RULE_FILES = {4: "/etc/ufw/user.rules", 6: "/etc/ufw/user6.rules"}
ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
POLICY = {"IPV6": "yes", "DEFAULT_INPUT_POLICY": '"DROP"', "DEFAULT_OUTPUT_POLICY": '"ACCEPT"'}
# RFC 1918 and IPv4 link-local; unique local and link-local addresses of IPv6.
LAN = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"]
RULE = re.compile(r"(?:(?P<any>any)|(?P<port>\d{1,5}(?::\d{1,5})?)(?:/(?P<proto>tcp|udp))?)(?:\s+from\s+(?P<source>\S+))?")

# One rule of ufw. `source` is None for anywhere, which makes one rule per IP version.
Rule = namedtuple("Rule", "port proto source")


def main():
    spec = {
        "allow": {"type": "list", "elements": "str", "default": []},
        "ssh_from": {"choices": ["any", "lan"], "default": "any"},
        "state": {"choices": ["on", "off"], "default": "on"},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    try:
        wanted = [rule for text in module.params["allow"] for rule in parse(text)]
    except ValueError as error:
        module.fail_json(msg=str(error))
    firewall = Firewall(module)
    if module.params["state"] == "on":
        firewall.keep_on(wanted, LAN if module.params["ssh_from"] == "lan" else [None])
    else:
        firewall.give_back()


def parse(text):
    match = RULE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"`{text}` is not a firewall rule: write it like `8080/tcp`, `53`, `6000:6010/udp` or `5432/tcp from 10.0.0.0/8`")
    port, proto, source = match["port"] or "any", match["proto"] or "any", match["source"]
    if port != "any":
        numbers = [int(number) for number in port.split(":")]
        if not all(0 < number < 65536 for number in numbers) or numbers != sorted(set(numbers)):
            raise ValueError(f"`{text}`: {port} is not a port or a range of ports (1 to 65535)")
        if len(numbers) == 2 and proto == "any":
            raise ValueError(f"`{text}`: a range of ports needs a protocol, like `{port}/tcp`")
    elif source is None:
        raise ValueError("`any` opens everything to everyone: say from where, like `any from lan`")
    return [Rule(port, proto, address) for address in sources(text, source)]


def sources(text, source):
    if source is None or source == "any":
        return [None]
    if source == "lan":
        return LAN
    try:
        network = ipaddress.ip_network(source, strict=False)
    except ValueError:
        raise ValueError(f"`{text}`: {source} is not an address, a network or `lan`") from None
    # ufw writes a single host without its prefix length.
    return [str(network.network_address if network.num_addresses == 1 else network)]


class Firewall:
    def __init__(self, module):
        self.module = module
        self.versions = [4, 6] if os.path.exists("/proc/sys/net/ipv6") else [4]
        self.installed = os.path.exists("/usr/sbin/ufw")
        self.records = {version: self.read_records(version) for version in self.versions}
        self.rules = {version: {key: comment for key, comment, _ in self.records[version] if key} for version in self.versions}
        self.conf_on = "ENABLED=yes" in self.read(CONF).splitlines()

    def keep_on(self, wanted, ssh_sources):
        if not self.installed and not self.module.check_mode:
            self.module.fail_json(msg="ufw is not installed")
        ports = self.sshd_ports()
        # SSH comes first: it is allowed before anything else happens.
        wanted = list(dict.fromkeys([Rule(port, "tcp", source) for port in ports for source in ssh_sources] + wanted))
        keys = {version: {self.key(rule, version) for rule in wanted if self.applies(rule, version)} for version in self.versions}
        missing = [rule for rule in wanted if any(not self.decided(rule, v) for v in self.versions if self.applies(rule, v))]
        stale = self.ours(lambda key, version: key not in keys[version])
        self.refuse_lockout(keys, stale, ports)
        policy = self.edited(DEFAULTS, POLICY)
        loaded = self.conf_on and self.kernel_has_rules()
        unit_wants = self.unit_wants()

        before = self.state("on" if loaded else "off", policy is None, stale=[], missing=[])
        after = self.state("on", True, stale, missing)
        before.insert(0, "unit: enabled and active" if not unit_wants else "unit: needs " + " and ".join(unit_wants))
        after.insert(0, "unit: enabled and active")
        changed = before != after
        if not self.module.check_mode:
            self.remember()
        if changed and not self.module.check_mode:
            if policy is not None:
                self.write(DEFAULTS, policy)
            if self.conf_on and not loaded:
                # The files say on, the kernel says off (stopped, or flushed by someone). With ENABLED=no, ufw only edits its files, so
                # that the wanted rules are complete before `enable` loads them at once.
                self.write(CONF, self.edited(CONF, {"ENABLED": "no"}))
            for rule in missing:
                self.ufw("allow", *words(rule), "comment", COMMENT)
            self.delete(stale)
            if not loaded:
                self.ufw("--force", "enable")
            elif policy is not None:
                self.ufw("reload")
            for verb in unit_wants:
                self.command("systemctl", verb, "ufw.service")
        self.finish(changed, before, after, stale, missing)

    def give_back(self):
        """Without a record, ufw was not Ostler's to switch on, and is not Ostler's to switch off."""
        record = json.loads(self.read(RECORD) or "{}")
        stays_on = record.get("enabled", self.conf_on)
        # Where the firewall stays on, so does the way in: sshd may listen elsewhere by now than where the user's own rules say.
        ssh = {port for port in self.sshd_ports() if stays_on}
        stale = self.ours(lambda key, _: not (key[2] in ssh and key[1] == "tcp"))
        policy = self.edited(DEFAULTS, record.get("policy", {}))
        before = self.state("on" if self.conf_on else "off", policy is None, stale=[], missing=[])
        after = self.state("on" if self.conf_on and stays_on else "off", True, stale, missing=[])
        changed = bool(record) or before != after
        if changed and not self.module.check_mode:
            if self.installed:
                if self.conf_on and not stays_on:
                    self.ufw("disable")
                self.delete(stale)
                if policy is not None:
                    self.write(DEFAULTS, policy)
                    if stays_on:
                        self.ufw("reload")
            if os.path.exists(RECORD):
                os.remove(RECORD)
        self.finish(changed, before, after, stale, missing=[])

    def finish(self, changed, before, after, stale, missing):
        self.module.exit_json(
            changed=changed,
            tuples={str(version): self.records_after(version, stale, missing) for version in self.versions},
            diff={"before": text(before), "after": text(after), "before_header": "ufw", "after_header": "ufw"},
        )

    def state(self, switch, policy_is_right, stale, missing):
        present = [key for version in self.versions for key in self.rules[version] if (version, key) not in stale]
        new = [self.key(rule, version) for rule in missing for version in self.versions if self.applies(rule, version)]
        policy = "as wanted" if policy_is_right else "differs"
        return [f"firewall: {switch}", f"policy: {policy}", *sorted({show(key) for key in present + new})]

    def records_after(self, version, stale, missing):
        """What `records` will be: ufw appends what is new."""
        kept = [record for key, _, record in self.records[version] if not key or (version, key) not in stale]
        new = [self.key(rule, version) for rule in missing if self.applies(rule, version) and not self.decided(rule, version)]
        anywhere = ANYWHERE[version]
        return kept + [f"{action} {proto} {port} {anywhere} any {source} in" for action, proto, port, source in new]

    def remember(self):
        if os.path.exists(RECORD):
            return
        policy = dict(re.findall(r"(?m)^(\w+)=(.*)$", self.read(DEFAULTS)))
        # Where there are rules of ours already, it was us who switched it on.
        enabled = self.conf_on and not self.ours(lambda *_: True)
        record = {"enabled": enabled, "policy": {name: policy[name] for name in POLICY if name in policy}}
        os.makedirs(os.path.dirname(RECORD), mode=0o755, exist_ok=True)
        self.write(RECORD, json.dumps(record) + "\n")

    def refuse_lockout(self, keys, stale, ports):
        client = connected_from()
        if client is None or client.is_loopback or client.version not in self.versions or not ports:
            return
        kept = {key for key in self.rules[client.version] if key[0] in ("allow", "limit") and (client.version, key) not in stale}
        if not any(lets_in(key, client, ports) for key in kept | keys[client.version]):
            self.module.fail_json(
                msg=f"these rules would lock out {client}, which Ostler is connected from: "
                f"allow it (`{ports[0]}/tcp from {client}` in `ufw.allow`), or choose another preset than `lan-only`"
            )

    def ours(self, wanted):
        rules = [(v, key) for v in self.versions for key, comment in self.rules[v].items() if comment == COMMENT and key[0] == "allow"]
        return [(v, key) for v, key in rules if wanted(key, v)]

    def delete(self, stale):
        rules = dict.fromkeys(Rule(port, proto, None if source in ANYWHERE.values() else source) for _, (_, proto, port, source) in stale)
        for rule in rules:
            self.ufw("--force", "delete", "allow", *words(rule))

    def decided(self, rule, version):
        """Whether there is a rule for exactly this already. If it is the user's own it stays his, even where it limits or denies: ufw would
        not add ours beside it, but turn his into ours."""
        _, *what = self.key(rule, version)
        present = [action for action in ["allow", "limit", "deny", "reject"] if (action, *what) in self.rules[version]]
        if present and present[0] in ("deny", "reject"):
            self.module.warn(f"ufw: a rule of your own stays in the way of `{show(('allow', *what))}`: `{show((present[0], *what))}`")
        return bool(present)

    def applies(self, rule, version):
        return rule.source is None or (":" in rule.source) == (version == 6)

    def key(self, rule, version):
        return ("allow", rule.proto, rule.port, rule.source or ANYWHERE[version])

    def read_records(self, version):
        """ufw's own record: `### tuple ### ACTION PROTO DPORT DST SPORT SRC [DAPP SAPP] DIRECTION [comment=HEX]`, as (key, comment, all but
        the comment). Rules that we would never write (an interface, a destination, a source port, a profile) have no key to compare."""
        records = []
        for line in self.read(RULE_FILES[version]).splitlines():
            fields = line.split()
            if fields[:3] != ["###", "tuple", "###"]:
                continue
            comment = None
            if fields[-1].startswith("comment="):
                comment = bytes.fromhex(fields.pop().partition("=")[2]).decode(errors="replace")
            key = None
            if len(fields) == 10:
                action, proto, dport, destination, sport, source, direction = fields[3:]
                if destination == ANYWHERE[version] and sport == "any" and direction == "in":
                    key = (action, proto, dport, source)
            records.append((key, comment, " ".join(fields[3:])))
        return records

    def kernel_has_rules(self):
        """Whether the chains hold as many rules as the files say. Counting is enough to see a stop or a flush, and cheap."""
        for version in self.versions:
            binary = "iptables" if version == 4 else "ip6tables"
            code, out, _ = self.module.run_command([binary, "-S"])
            filed = sum(line.startswith("-A ufw%s-user-input " % ("6" if version == 6 else "")) for line in self.read(RULE_FILES[version]).splitlines())
            chain = "ufw6-user-input" if version == 6 else "ufw-user-input"
            if code != 0 or f"-N {chain}" not in out or "-P INPUT DROP" not in out or out.count(f"-A {chain} ") < filed:
                return False
        return True

    def unit_wants(self):
        if not os.path.isdir("/run/systemd/system"):
            return []
        wants = {"enable": ["is-enabled", "--quiet"], "start": ["is-active", "--quiet"]}
        return [verb for verb, question in wants.items() if self.module.run_command(["systemctl", *question, "ufw.service"])[0] != 0]

    def sshd_ports(self):
        """The ports of the running sshd, which need not be those of its configuration while a change of port is under way."""
        _, out, _ = self.module.run_command(["ss", "-Hltnp"])
        listening = [(fields[3], fields[5]) for fields in map(str.split, out.splitlines()) if len(fields) >= 6]
        addresses = [address for address, process in listening if '("sshd",' in process]
        if any('("systemd",' in process for _, process in listening):
            # systemd may listen for it; `show` has lines like `Listen=[::]:22 (Stream)`.
            _, out, _ = self.module.run_command(["systemctl", "show", "ssh.socket", "--property=ActiveState", "--property=Listen"])
            if "ActiveState=active" in out:
                addresses += re.findall(r"(?m)^Listen=(\S+) \(Stream\)$", out)
        addresses = [address.rpartition(":") for address in addresses if not address.startswith(("127.", "[::1]"))]
        return list(dict.fromkeys(port for _, _, port in addresses))

    def edited(self, path, settings):
        """The content of a shell-style file with these settings, or None where it has them already."""
        content = old = self.read(path)
        for name, value in settings.items():
            line = f"{name}={value}"
            content, found = re.subn(rf"(?m)^{name}=.*$", line, content)
            if not found:
                content += line + "\n"
        return content if content != old else None

    def read(self, path):
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def write(self, path, content):
        temporary = f"{path}.ostler"
        with open(temporary, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
        self.module.atomic_move(temporary, path)

    def ufw(self, *arguments):
        self.command("ufw", *arguments)

    def command(self, *command):
        code, out, err = self.module.run_command(list(command))
        if code != 0:
            self.module.fail_json(msg=f"`{' '.join(command)}` failed: {(err or out).strip()}", rc=code, stdout=out, stderr=err)


def connected_from():
    """The address of this connection's other end, from the environment of the sshd session that we descend from; None without one."""
    process = os.getpid()
    while process > 1:
        try:
            with open(f"/proc/{process}/environ", "rb") as file:
                found = re.search(rb"(?:^|\0)SSH_CONNECTION=(\S+) ", file.read())
            if found:
                return ipaddress.ip_address(found[1].decode().partition("%")[0])
            with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
                process = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return None
    return None


def lets_in(key, client, ports):
    """Whether an allowing rule lets this address reach one of these TCP ports."""
    _, proto, port, source = key
    first, _, last = port.partition(":")
    numbers = port == "any" or any(int(first) <= int(number) <= int(last or first) for number in ports if first.isdigit())
    return proto in ("any", "tcp") and numbers and client in ipaddress.ip_network(source, strict=False)


def words(rule):
    """The arguments by which ufw knows the rule."""
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
