"""Reads the firewall from the kernel and ufw's files for each IP version, restores it, and finds out who else filters packets.

ufw only asks the kernel whether one chain exists. So it takes a firewall for started that is loaded for one IP version only, or whose
built-in chains somebody has flushed. `ufw enable` then says "active" and loads nothing.
"""

import json
import os
import re
import shutil
from collections import Counter

DIRECTORY = "/etc/ufw"
BUILT_IN = ("INPUT", "FORWARD", "OUTPUT")
# Units that load rules of their own, with the names that people know them by.
FIREWALLS = {
    "firewalld": "firewalld",
    "netfilter-persistent": "netfilter-persistent",
    "shorewall": "Shorewall",
    "shorewall6": "Shorewall6",
    "ferm": "ferm",
    "csf": "ConfigServer Firewall",
    "arno-iptables-firewall": "arno-iptables-firewall",
}
NFTABLES_CONF = "/etc/nftables.conf"
# Units after which each of our firewalls is loaded again, whenever they are started.
OUTLASTED = {"ufw": (), "iptables": ("nftables", "netfilter-persistent")}
# The first of each firewall's own rules in INPUT that decides.
FIRST_JUMP = {"ufw": r"-j ufw6?-", "iptables": r"-j ostler-input$"}


class Family:
    """ufw's part of the filter table of one IP version. `run` is `run_command` of a module."""

    def __init__(self, version, run):
        self.version, self.run = version, run
        self.suffix = "6" if version == 6 else ""
        self.binary = "ip6tables" if version == 6 else "iptables"
        self.listing = None

    def rules(self, anew=False):
        """What `iptables -S` prints. Empty if the kernel has no such table."""
        # In check mode, ufw and its dependencies may not be installed yet.
        if not os.path.exists(f"/usr/sbin/{self.binary}"):
            return []
        if self.listing is None or anew:
            code, out, _ = self.run([self.binary, "-S"])
            self.listing = out.splitlines() if code == 0 else []
        return self.listing

    def is_complete(self):
        """Whether the rules in ufw's files are in force. If rules of `before` and `after` differ from their files, that is left alone:
        somebody has edited the file and not loaded it yet."""
        rules = self.rules()
        kernel = appended(rules)
        frame = appended(self.file_rules("before") + self.file_rules("after"))
        # Chains for logging are left out, because their rules depend on the log level.
        filed = appended(self.file_rules("user"))
        user = {chain: filed[chain] for chain in map(self.chain, ("user-input", "user-output", "user-forward"))}
        return (
            "-P INPUT DROP" in rules
            and not self.missing_jumps()
            and f"-A {self.chain('before-input')} -j {self.chain('user-input')}" in rules
            and all(kernel[chain] >= count for chain, count in user.items())
            and all(kernel[chain] for chain in frame)
        )

    def missing_jumps(self):
        """Built-in chains that do not jump to ufw's."""
        rules = self.rules()
        return [name for name in BUILT_IN if f"-A {name} -j {self.chain('before-' + name.lower())}" not in rules]

    def forget_chains(self):
        """Removes ufw's own chains if the built-in ones do not jump to them, because ufw creates the jumps only together with the chains."""
        rules = self.rules(anew=True)
        if not self.missing_jumps():
            return None
        chains = re.findall(rf"(?m)^-N (ufw{self.suffix}-\S+)$", "\n".join(rules))
        jumps = [line.replace("-A ", "-D ", 1) for line in rules if re.match(rf"-A ({'|'.join(BUILT_IN)}) .*-j ufw{self.suffix}-", line)]
        lines = ["*filter", *jumps, *(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains), "COMMIT"]
        return self.run([self.binary + "-restore", "-w", "--noflush"], data="\n".join(lines) + "\n") if chains else None

    def saved(self):
        """The whole filter table, for `restore`. None if it can't be read."""
        code, out, _ = self.run([self.binary + "-save", "-t", "filter"])
        return out if code == 0 and "*filter" in out else None

    def restore(self, saved):
        """Restores what `saved` returned, in one step. Returns the error message, or None."""
        code, out, err = self.run([self.binary + "-restore", "-w"], data=saved)
        return None if code == 0 else (err or out).strip()

    def unloadable(self, name):
        """Why ufw could not load this file of rules at the next boot. None if it can."""
        path = self.path(name)
        if not os.path.exists(path) or os.path.getsize(path) == 0:
            return f"{path} is missing or empty (`apt-get install --reinstall -o Dpkg::Options::=--force-confmiss ufw` brings it back)"
        code, out, err = self.run([self.binary + "-restore", "-w", "--test", "--noflush"], data=read(path))
        return None if code == 0 else f"{path}: {brief(err or out)}"

    def file_rules(self, name):
        """The lines of a file of rules that belong to the filter table."""
        table, lines = None, []
        for line in read(self.path(name)).splitlines():
            table = line[1:].strip() if line.startswith("*") else table
            lines += [line] if table == "filter" else []
        return lines

    def path(self, name):
        return f"{DIRECTORY}/{name}{self.suffix}.rules"

    def chain(self, name):
        return f"ufw{self.suffix}-{name}"


def foreign_filters(run, families, firewall):
    """Sentences about other people's rules that override those of `firewall`, now or when they are loaded again."""
    units = unit_states(run, ["nftables", *FIREWALLS])
    for unit, name in FIREWALLS.items():
        state = " and ".join(state for state in units.get(unit, ()) if state in ("active", "enabled"))
        if state and unit not in OUTLASTED[firewall]:
            yield (
                f"{name} ({unit}.service is {state}) loads rules of its own beside {firewall}'s: what it drops stays closed whatever {firewall} "
                f"allows, and it may remove {firewall}'s rules when it is started. Use one of the two: `systemctl disable --now {unit}` "
                f"leaves {firewall}"
            )
    flush = flushing_line()
    if flush and {"active", "enabled"} & set(units.get("nftables", ())) and "nftables" not in OUTLASTED[firewall]:
        yield (
            f"nftables.service loads {flush[0]}, and its line {flush[1]}, `flush ruleset`, removes all of {firewall}'s rules whenever that "
            f"service is started or reloaded, at boot too if it comes after {firewall}. Take that line out, or leave the firewall to "
            f"{firewall} by `systemctl disable --now nftables` (fail2ban needs its package, not its service)"
        )
    for chain in dropping_chains(run):
        table = f"{chain['family']} {chain['table']}"
        source = f" (from {NFTABLES_CONF})" if re.search(rf"\btable\s+{chain['family']}\s+{chain['table']}\b", read(NFTABLES_CONF)) else ""
        yield (
            f"another ruleset filters what comes in: the chain `{chain['name']}` of nftables' table `{table}`{source} drops what it does not let "
            f"in itself, whatever {firewall} allows. `nft list table {table}` shows it"
        )
    for family in families:
        own = [line for line in family.rules() if line.startswith("-A INPUT ")]
        before = own[: next((i for i, line in enumerate(own) if re.search(FIRST_JUMP[firewall], line)), len(own))]
        closed = [line for line in before if re.fullmatch(r"-A INPUT -j (DROP|REJECT.*)", line)]
        if closed:
            yield f"{family.binary} has a rule before {firewall}'s, `{closed[0]}`, which closes everything that {firewall} would allow"
        if "-A INPUT -j ACCEPT" in before:
            yield f"{family.binary} has a rule before {firewall}'s, `-A INPUT -j ACCEPT`, which opens everything that {firewall} would close"
    legacy = [name for name in ("ip_tables_names", "ip6_tables_names") if "filter" in read(f"/proc/net/{name}").split()]
    # In check mode, iptables may not be installed yet.
    if legacy and shutil.which("iptables") and run(["iptables", "--version"])[1].rstrip().endswith("(nf_tables)"):
        yield (
            f"the kernel also holds a filter table of the old kind, which {firewall} does not see: what its rules drop stays closed whatever "
            f"{firewall} allows. `iptables-legacy -S` and `ip6tables-legacy -S` show it"
        )


def unit_states(run, units):
    """What systemd says about each unit that exists, such as `{"nftables": ("disabled", "inactive")}`."""
    if not os.path.isdir("/run/systemd/system"):
        return {}
    _, out, _ = run(["systemctl", "show", "--property=Id,LoadState,UnitFileState,ActiveState", *(f"{unit}.service" for unit in units)])
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in out.split("\n\n")]
    known = [block for block in blocks if block.get("LoadState", "not-found") != "not-found"]
    return {block["Id"].removesuffix(".service"): (block.get("UnitFileState"), block.get("ActiveState")) for block in known}


def flushing_line(path=NFTABLES_CONF):
    """Where a ruleset flushes everything before it loads, as (file, line). None if it does not."""
    for number, line in enumerate(read(path).splitlines(), start=1):
        if re.match(r"\s*flush\s+ruleset\s*(;|$|#)", line):
            return path, number
    return None


def dropping_chains(run):
    """nftables' base chains for incoming packets that drop whatever they do not accept, except those of iptables and fail2ban."""
    if not os.path.exists("/usr/sbin/nft"):
        return
    for chain in nft(run, "list", "chains"):
        name, table = chain["name"], chain["table"]
        if chain.get("hook") != "input" or (table, name) == ("filter", "INPUT") or table.startswith("f2b-"):
            continue
        if chain.get("policy") == "drop" or ends_in_a_drop(run, chain):
            yield chain


def ends_in_a_drop(run, chain):
    code, out, _ = run(["nft", "-j", "list", "chain", chain["family"], chain["table"], chain["name"]])
    rules = [entry["rule"]["expr"] for entry in json.loads(out)["nftables"] if "rule" in entry] if code == 0 else []
    last = [next(iter(part)) for part in rules[-1]] if rules else []
    return bool(last) and last[-1] in ("drop", "reject") and set(last[:-1]) <= {"counter", "log", "limit"}


def nft(run, *arguments):
    code, out, _ = run(["nft", "-j", *arguments])
    return [entry["chain"] for entry in json.loads(out)["nftables"] if "chain" in entry] if code == 0 else []


def appended(lines):
    """How many rules each chain has."""
    return Counter(line.split(None, 2)[1] for line in lines if line.startswith("-A "))


def brief(text):
    """The first lines of a program's output, joined into one."""
    text = text.encode("utf-8", "replace").decode()
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Try `")]
    lines = lines[-1:] if lines[:1] == ["Traceback (most recent call last):"] else lines
    return "; ".join(lines[:3])[:500]


def read(path):
    """A text in any encoding. Bytes that are not UTF-8 survive when it is written again."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""
