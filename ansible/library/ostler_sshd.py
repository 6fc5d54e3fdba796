#!/usr/bin/python3
"""Sets the whole policy of sshd in one idempotent step, on servers that somebody may have configured before.

sshd uses the first value that it reads, so our settings are in a file that sorts first. Three things can still override it: lines that are
read before that file, `Port`, of which every line counts, and `Match` blocks. Lines of the first two kinds, and those below `Match all`,
become comments that say where the setting is now. Other `Match` blocks are somebody's choice. A warning names each one that overrides the
policy for some connections, or the module takes it over in the same way if asked to. All other lines stay. The whole result is tried out
before any file is written.
"""

import base64
import fnmatch
import glob
import grp
import ipaddress
import itertools
import os
import pwd
import re
import shutil
import tempfile
from collections import namedtuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_sshd
short_description: Make sshd obey these settings, whatever else is configured
description:
  - Returns C(socket), whether systemd listens for sshd now or at the next boot. If so, systemd's socket decides the port, not this configuration.
options:
  settings:
    description: Keywords of sshd_config(5) and their values. Of a list, the first value is written unless another one is already configured.
    type: dict
    required: true
  user: {description: The account that must be able to log in from wherever sshd can be reached., type: str, default: root}
  host_keys: {description: Host keys by which clients know this server. They stay usable under any choice of algorithms., type: list, elements: str, default: []}
  match_blocks: {description: Whether C(Match) blocks against the settings are kept or taken over., type: str, choices: [keep, take-over], default: keep}
"""

MAIN, OURS = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/00-ostler.conf"
# Old names of keywords. Below, how `sshd -T` prints a value that can be written in two ways.
ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
}
PRINTED = {"without-password": "prohibit-password"}
LISTEN = re.compile(r"(\[[^\]]+\]|[^\s:\[\]]+):\d+(\s.*)?")
# Keywords by which a `Match` block can shut an account out, besides those of the policy.
SHUTS_OUT = ["allowusers", "denyusers", "allowgroups", "denygroups", "authorizedkeysfile"]
SHUTS_OUT += ["forcecommand", "chrootdirectory", "maxsessions", "refuseconnection"]
# An address on the internet in either family, one in each private range, and one behind a provider's NAT.
FOREIGN = ["192.0.2.1", "2001:db8::1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd00::1", "fe80::1"]
# Each question starts an sshd process.
MOST_QUESTIONS = 80

# `block` is the block of the `Match` line above, or None if the line applies to everybody.
Line = namedtuple("Line", "path number keyword value block")
Block = namedtuple("Block", "path number criteria")


def main():
    spec = {
        "settings": {"type": "dict", "required": True},
        "user": {"type": "str", "default": "root"},
        "host_keys": {"type": "list", "elements": "str", "default": []},
        "match_blocks": {"type": "str", "choices": ["keep", "take-over"], "default": "keep"},
    }
    Sshd(AnsibleModule(argument_spec=spec, supports_check_mode=True)).run()


class Sshd:
    def __init__(self, module):
        self.module = module
        self.files, self.before = {}, {OURS: self.read(OURS)}
        # For each keyword, the places where `Match` blocks set it.
        self.places = {}
        # For each keyword, the acceptable values; the first is ours.
        self.accepted = {k: [str(v) for v in value] if isinstance(value, list) else [str(value)] for k, value in module.params["settings"].items()}
        self.keep_host_keys()

    def run(self):
        if self.read(MAIN) is None:
            self.module.fail_json(msg=f"{MAIN} does not exist")
        entries = list(self.walk(MAIN))
        self.leave_what_is_fine(entries)
        ours = [f"{keyword} {values[0]}" for keyword, values in self.accepted.items() if keyword not in self.left]
        self.files[OURS] = ["# Managed by Ostler. Changes here are overwritten.", *ours]
        self.give_way(entries)
        self.try_out(self.look_at_blocks(entries))
        after = {path: "".join(line + "\n" for line in lines) for path, lines in self.files.items()}
        changed = [path for path in after if after[path] != self.before[path]]
        if not self.module.check_mode:
            for path in changed:
                self.write(path, after[path])
        diff = [{"before": self.before[path] or "", "after": after[path], "before_header": path, "after_header": path} for path in changed]
        self.module.exit_json(changed=bool(changed), socket=self.socket(), diff=diff)

    def socket(self):
        answers = [self.module.run_command(["systemctl", question, "ssh.socket"])[1].strip() for question in ("is-active", "is-enabled")]
        return answers[0] == "active" or answers[1] == "enabled"

    def keep_host_keys(self):
        """A key that clients have pinned stays usable, whatever its type."""
        kinds = {key.split()[0]: key for key in self.module.params["host_keys"] if " " in key}
        for keyword, values in self.accepted.items():
            if keyword.lower() == "hostkeyalgorithms":
                allowed = values[0].split(",")
                for kind in kinds:
                    if kind not in allowed and not (kind == "ssh-rsa" and any(name.startswith("rsa-sha2-") for name in allowed)):
                        values[0] += f",{'rsa-sha2-512' if kind == 'ssh-rsa' else kind}"
                        self.module.warn(
                            f"sshd: host key algorithm {kind} stays, because this server is known by such a key. "
                            "To drop it, add an ed25519 key to the server, and let Ostler know the server by that"
                        )
            elif keyword.lower() == "requiredrsasize" and "ssh-rsa" in kinds:
                values[0] = str(min(int(values[0]), rsa_bits(kinds["ssh-rsa"])))

    def walk(self, path, block=None, depth=0):
        """Each line that sshd reads, in sshd's order. OURS appears as one line without a keyword."""
        if path == OURS:
            yield Line(OURS, 0, "", "", block)
            return
        inherited = block
        for number, line in enumerate(self.lines(path)):
            keyword, value = split(line)
            if keyword == "match":
                criteria = unquoted(value)
                # In a file included inside a block, `Match all` does not widen that block.
                block = Block(path, number, criteria) if criteria.lower() != "all" or inherited is None else inherited
            elif keyword == "include" and depth < 16:
                for child in included(value):
                    if child == OURS and block is not None:
                        self.module.fail_json(
                            msg=f"{path}:{number + 1}: this `Include` stands below `Match {block.criteria}` and would read {OURS} for "
                            "those connections only: move it above the first `Match`"
                        )
                    yield from self.walk(child, block, depth + 1)
            elif keyword:
                yield Line(path, number, ALIASES.get(keyword, keyword), value, block)

    def leave_what_is_fine(self, entries):
        """Finds the keywords that somebody else has set to an acceptable value, so that ours is not needed."""
        first = {}
        for line in entries:
            if line.block is None and line.path != OURS:
                first.setdefault(line.keyword, line.value)
        self.left = {k for k, values in self.accepted.items() if printed(first.get(k.lower(), "")) in map(printed, values[1:])}

    def give_way(self, entries):
        kept = {keyword.lower() for keyword in self.accepted if keyword not in self.left}
        everybody = [line for line in entries if line.block is None]
        ours = [index for index, line in enumerate(everybody) if line.path == OURS]
        for index, line in enumerate(everybody):
            if line.path == OURS:
                continue
            if line.keyword == "port" and "port" in kept or line.keyword in kept and ours and index < ours[0]:
                self.take_over(line)
            elif line.keyword == "listenaddress" and LISTEN.fullmatch(line.value):
                # Without its port, the line still restricts the addresses.
                host, rest = LISTEN.fullmatch(line.value).groups()
                self.files[line.path][line.number] = f"ListenAddress {host}{rest or ''}"
        if not ours:
            self.files[MAIN].insert(0, f"Include {OURS}")

    def take_over(self, line):
        text = self.files[line.path][line.number]
        if not text.lstrip().startswith("#"):
            self.files[line.path][line.number] = f"# Kept in {OURS} by Ostler: {text.strip()}"

    def look_at_blocks(self, entries):
        """The `Match` blocks that stay, each with its settings that contradict the policy."""
        blocks = {}
        for line in entries:
            if line.block is None or line.path == OURS:
                continue
            against = self.is_against(line.keyword, line.value)
            if against and (line.block.criteria.lower() == "all" or self.module.params["match_blocks"] == "take-over"):
                self.take_over(line)
                continue
            blocks.setdefault(line.block, [])
            self.places.setdefault(line.keyword, []).append(f"{line.path}:{line.number + 1}")
            if against:
                blocks[line.block].append((line.keyword, printed(line.value)))
        return blocks

    def is_against(self, keyword, value):
        values = next((values for name, values in self.accepted.items() if name.lower() == keyword), None)
        return values is not None and printed(value) not in map(printed, values)

    def try_out(self, blocks):
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="ostler-sshd-", dir=self.module.tmpdir)
        try:
            self.whole = self.stage(os.path.join(folder, "whole-"))
            code, _, err = self.module.run_command(["/usr/sbin/sshd", "-f", self.whole[MAIN], "-t"])
            if code != 0:
                for path, name in self.whole.items():
                    err = re.sub(rf"{re.escape(name)}\b", path, err)
                self.module.fail_json(msg=f"sshd does not accept its configuration: {err.strip()}", stderr=err, rc=code)
            # With a `Match LocalPort` or `LocalAddress`, `sshd -T` refuses to answer without a connection. So this asks without `Match` blocks.
            everybody = self.effective(self.stage(os.path.join(folder, "everybody-"), until_match)[MAIN])
            for keyword, value in self.differing(everybody).items():
                self.module.fail_json(msg=f"sshd would not obey: {keyword} stays `{value}` instead of `{self.accepted[keyword][0]}`")
            self.warn_of_blocks(blocks)
            if blocks:
                self.warn_of_what_sshd_says(everybody, blocks)
        finally:
            shutil.rmtree(folder)

    def stage(self, prefix, part=list):
        """Writes copies of all files, or of a part of each. They include one another."""
        names = {path: f"{prefix}{index}" for index, path in enumerate(self.files)}
        for path, name in names.items():
            with open(name, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(line + "\n" for line in staged(part(self.files[path]), names))
        return names

    def warn_of_blocks(self, blocks):
        names = {keyword.lower(): keyword for keyword in self.accepted}
        for block, against in blocks.items():
            if against:
                says = ", ".join(f"{names[keyword]} is `{value}`" for keyword, value in dict(reversed(against)).items())
                self.module.warn(
                    f"sshd: a `Match` block of your own stays and overrides the policy: {says} for `Match {block.criteria}` "
                    f"({block.path}:{block.number + 1}); `ssh.match_blocks: take-over` would put the policy in its place"
                )

    def warn_of_what_sshd_says(self, everybody, blocks):
        """Asks sshd about the accounts and addresses that matter, because the effect of a block is not obvious from its text."""
        told = {pair for against in blocks.values() for pair in against}
        user = self.module.params["user"]
        for account, address, rest in self.connections(blocks):
            ours = "::1" if ":" in address else "127.0.0.1"
            connection = {"user": account, "host": address, "addr": address, "laddr": ours, "lport": self.port(), **rest}
            found = self.effective(self.whole[MAIN], ",".join(f"{key}={value}" for key, value in connection.items()))
            for keyword, value in self.differing(found).items():
                if (keyword.lower(), printed(value)) not in told:
                    told.add((keyword.lower(), printed(value)))
                    where = " or ".join(self.places.get(keyword.lower(), []))
                    self.module.warn(f"sshd: a `Match` block of your own stays: for {account} from {address}, {keyword} is `{value}` ({where})")
            for keyword in SHUTS_OUT if account == user else []:
                if keyword in told or keyword not in found or found[keyword] == everybody.get(keyword):
                    continue
                if shuts_out(account, keyword, found[keyword]):
                    told.add(keyword)
                    where = " or ".join(self.places.get(keyword, []))
                    value = " ".join(found[keyword])
                    self.module.warn(f"sshd: a `Match` block of your own shuts {account} out from {address}: {keyword} is `{value}` there ({where})")

    def connections(self, blocks):
        """(account, address, the rest) of connections to which different blocks may apply."""
        accounts = dict.fromkeys(["root", self.module.params["user"]])
        addresses = dict.fromkeys([*self.peers(), *FOREIGN])
        wanted = [(account, address, {}) for address in addresses for account in accounts]
        for block in blocks:
            names, froms, rest = sample(block.criteria)
            for address in froms or list(addresses)[:2]:
                wanted.extend((name, address, rest) for name in names or accounts)
        return list({repr(one): one for one in wanted}.values())[:MOST_QUESTIONS]

    def peers(self):
        """The addresses that are connected right now, Ostler's among them."""
        if shutil.which("ss") is None:
            return []
        out = self.module.run_command(["ss", "-Htn", "state", "established", "( sport = :ssh or sport = :%s )" % self.port()])[1]
        found = [line.split()[-1].rpartition(":")[0].strip("[]").removeprefix("::ffff:") for line in out.splitlines() if line.strip()]
        return [address for address in dict.fromkeys(found) if is_address(address) and not ipaddress.ip_address(address).is_loopback][:4]

    def port(self):
        return next((values[0] for keyword, values in self.accepted.items() if keyword.lower() == "port"), "22")

    def effective(self, main, connection=None):
        """What `sshd -T` prints: each keyword's values. Empty for a connection that sshd can't judge."""
        command = ["/usr/sbin/sshd", "-f", main, "-T", *(["-C", connection] if connection else [])]
        code, out, err = self.module.run_command(command)
        if code != 0 and connection:
            return {}
        if code != 0:
            self.module.fail_json(msg=f"`{' '.join(command)}` failed: {err.strip()}", stderr=err, rc=code)
        found = {}
        for line in out.splitlines():
            keyword, _, value = line.partition(" ")
            found.setdefault(keyword, []).append(PRINTED.get(value, value))
        return found

    def differing(self, found):
        """The settings that this sshd would not obey, with the values that it would use instead."""
        pairs = {keyword: " ".join(found.get(keyword.lower(), [])) for keyword in self.accepted if keyword.lower() in found}
        return {keyword: value for keyword, value in pairs.items() if printed(value) not in map(printed, self.accepted[keyword])}

    def lines(self, path):
        if path not in self.files:
            self.before[path] = self.read(path)
            self.files[path] = (self.before[path] or "").splitlines()
        return list(self.files[path])

    def read(self, path):
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, path, content):
        path = os.path.realpath(path)
        temporary = f"{path}.ostler-new"
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            os.fchmod(file.fileno(), os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o600)
            file.write(content)
        os.replace(temporary, path)


def split(line):
    """Keyword and value; sshd also takes `Keyword=value`."""
    match = re.match(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*?)\s*$", line)
    return (match[1].lower(), match[2]) if match else ("", "")


def included(value):
    """The files of an Include line, in sshd's order. Ours counts even if it does not exist yet."""
    for pattern in value.replace('"', "").split():
        pattern = os.path.join("/etc/ssh", pattern)
        found = set(glob.glob(pattern))
        yield from sorted(found | {OURS} if fnmatch.fnmatch(OURS, pattern) else found)


def printed(value):
    """A value in the form in which `sshd -T` prints it, for comparison."""
    value = " ".join(unquoted(value).split())
    return PRINTED.get(value.lower(), value.lower())


def unquoted(value):
    """The value without quotes and without a comment."""
    return re.sub(r"\s#.*$", "", value).replace('"', "").strip()


def is_address(text):
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        return False


def rsa_bits(key):
    """Size in bits of the modulus of an `ssh-rsa` public key (RFC 4253, section 6.6)."""
    rest, parts = base64.b64decode(key.split()[1]), []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        parts.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    return int.from_bytes(parts[2], "big").bit_length()


def sample(criteria):
    """Accounts, addresses and the rest that a `Match` line may match. A criterion that only excludes or uses wildcards names none."""
    words = iter(criteria.replace("=", " ").split())
    accounts, addresses, rest = [], [], {}
    for criterion in words:
        # These two criteria take no pattern.
        patterns = "" if criterion.lower() in ("all", "invalid-user") else next(words, "")
        plain = [pattern.lstrip("!") for pattern in patterns.split(",")]
        named = [pattern for pattern in plain if not set("*?") & set(pattern)]
        criterion = criterion.lower()
        if criterion == "user":
            accounts += [pattern.partition("@")[0] for pattern in named]
        elif criterion == "group":
            accounts += [member for group in named for member in members(group)]
        elif criterion in ("address", "localaddress"):
            hosts = [host for host in map(first_host, plain) if host]
            if criterion == "address":
                addresses += hosts
            elif hosts:
                rest["laddr"] = hosts[0]
        elif criterion in ("host", "localport", "rdomain") and named:
            rest[{"host": "host", "localport": "lport", "rdomain": "rdomain"}[criterion]] = named[0]
    return accounts[:4], addresses[:6], rest


def first_host(pattern):
    """An address that `Match Address` with this pattern matches: an address, a network, or a pattern such as `10.1.*`."""
    try:
        network = ipaddress.ip_network(re.sub(r"[*?]", "1", pattern), strict=False)
    except ValueError:
        parts = pattern.split(".")
        # `10.*` has fewer parts than an address.
        if parts[-1] == "*" and len(parts) < 4:
            return first_host(".".join(parts[:-1] + ["1"] * (5 - len(parts))))
        return None
    return str(network[1] if network.num_addresses > 1 else network[0])


def members(group):
    try:
        entry = grp.getgrnam(group)
    except KeyError:
        return []
    return [*entry.gr_mem, *(account.pw_name for account in pwd.getpwall() if account.pw_gid == entry.gr_gid)]


def groups_of(account):
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        return []
    return [grp.getgrgid(number).gr_name for number in os.getgrouplist(account, entry.pw_gid) if is_group(number)]


def is_group(number):
    try:
        return bool(grp.getgrgid(number))
    except KeyError:
        return False


def shuts_out(account, keyword, values):
    """Whether this keyword keeps the account from getting a shell with a key in its own authorized_keys."""
    patterns = " ".join(values).split()
    if keyword in ("refuseconnection", "maxsessions"):
        return patterns in (["yes"], ["0"])
    if keyword in ("forcecommand", "chrootdirectory"):
        return patterns != ["none"]
    if keyword == "authorizedkeysfile":
        home = os.path.expanduser(f"~{account}")
        return not any(os.path.join(home, file.replace("%h", home).replace("%u", account)) == f"{home}/.ssh/authorized_keys" for file in patterns)
    names = [account] if keyword.endswith("users") else groups_of(account)
    listed = any(fnmatch.fnmatchcase(name, pattern.partition("@")[0]) for name in names for pattern in patterns)
    # A pattern with an address (`ops@10.*`) may apply to other connections only. sshd decides that, so such a denial is not taken for granted.
    return listed and not any("@" in pattern for pattern in patterns) if keyword.startswith("deny") else not listed


def until_match(lines):
    """The lines that apply to everybody."""
    return itertools.takewhile(lambda line: split(line)[0] != "match", lines)


def staged(lines, names):
    """The lines, with each Include pointing to the copies."""
    for line in lines:
        keyword, value = split(line)
        if keyword == "include":
            copies = [names[path] for path in included(value) if path in names]
            line = "Include " + " ".join(copies) if copies else ""
        yield line


if __name__ == "__main__":
    main()
