"""The model that all firewalls of Ostler share, whatever loads it: who may reach what, who gets in over SSH, and what containers may.

The module `ufw` hands the rules for incoming packets to ufw, and the module `iptables` loads them itself. What holds for published ports of
containers and for a closed SSH port is loaded beside both in the same way, by `loader`.
"""

import ipaddress
import json
import os
import re
import shutil
from collections import namedtuple

from ansible.module_utils.ostler_netfilter import brief, read

# The arguments that the modules of all firewalls take.
ARGUMENTS = {
    "settings": {"type": "dict", "default": {}},
    "app_ports": {"type": "list", "elements": "dict", "default": []},
    "ssh": {"type": "dict", "default": {}},
    "ssh_open": {"type": "bool", "default": True},
    "state": {"choices": ["on", "off"], "default": "on"},
}
# Who reaches SSH, what else is open, and who reaches the public ports of apps; the README of `ufw` has the table.
PRESETS = {
    "server-minimal": {"ssh": "any", "rules": [], "apps": "any"},
    "web": {"ssh": "any", "rules": ["80/tcp", "443/tcp", "443/udp"], "apps": "any"},
    "lan-only": {"ssh": "lan", "rules": ["any from lan"], "apps": "lan"},
    "custom": {"ssh": "any", "rules": [], "apps": None},
}
ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
# RFC 1918 and IPv4 link-local; unique local and link-local addresses of IPv6.
LAN = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"]
RULE = re.compile(r"(?:(?P<any>any)|(?P<port>\d{1,5}(?::\d{1,5})?)(?:/(?P<proto>tcp|udp))?)(?:\s+from\s+(?P<source>\S+))?")
# Interfaces that Docker creates: for the default network, for Swarm's gateway, and for networks that choose no interface name.
BRIDGES = ["docker0", "docker_gwbridge", "br-+"]
# Where clouds tell a server its user data and credentials: Hetzner and most others; AWS and Google over IPv6.
METADATA = {4: ["169.254.169.254"], 6: ["fd00:ec2::254", "fd20:ce::254"]}
DAEMON = "/etc/docker/daemon.json"

# One rule that allows. `source` is None for anywhere.
Rule = namedtuple("Rule", "port proto source")
# What a server lets in. `rules` starts with those for SSH; nobody reaches the ports `barred` from outside.
Policy = namedtuple("Policy", "rules barred")


def policy(module):
    """The policy that a module's arguments and the running sshd come to. Fails the module if a rule makes no sense."""
    params = module.params
    preset = PRESETS[params["settings"].get("preset", "server-minimal")]
    own = params["ssh"].get("port", 22) if params["ssh"].get("enabled", True) else None
    # While sshd moves to another port, the ports that it listens on differ from the wanted one, and stay open.
    ports = list(dict.fromkeys([*sshd_ports(module.run_command), *([str(own)] if own else [])]))
    texts = [*preset["rules"], *params["settings"].get("allow", [])]
    if params["settings"].get("auto_allow_app_ports", True) and preset["apps"]:
        for port in params["app_ports"]:
            if port["scope"] in ("public", "lan"):
                texts.append(f"{port['port']}/{port['proto']} from {'lan' if port['scope'] == 'lan' else preset['apps']}")
    if params["ssh_open"]:
        texts = [f"{port}/tcp from {preset['ssh']}" for port in ports] + texts
    try:
        rules = [rule for text in texts for rule in parse(text)]
    except ValueError as error:
        module.fail_json(msg=str(error))
    return Policy(list(dict.fromkeys(rules)), [] if params["ssh_open"] else ports)


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
    # ufw writes a single host without a prefix length.
    return [str(network.network_address if network.num_addresses == 1 else network)]


def applies(rule, version):
    return rule.source is None or (":" in rule.source) == (version == 6)


def sshd_ports(run):
    """The ports of the running sshd that can be reached from outside."""
    # In check mode, ss may not be installed yet.
    if not shutil.which("ss"):
        return []
    _, out, _ = run(["ss", "-Hltnp"])
    listening = [(fields[3], fields[5]) for fields in map(str.split, out.splitlines()) if len(fields) >= 6]
    addresses = [address for address, process in listening if '("sshd",' in process]
    if any('("systemd",' in process for _, process in listening):
        # systemd may listen on behalf of sshd. `show` prints lines like `Listen=[::]:22 (Stream)`.
        _, out, _ = run(["systemctl", "show", "ssh.socket", "--property=ActiveState", "--property=Listen"])
        if "ActiveState=active" in out:
            addresses += re.findall(r"(?m)^Listen=(\S+) \(Stream\)$", out)
    addresses = [address.rpartition(":") for address in addresses if not address.startswith(("127.", "[::1]"))]
    return list(dict.fromkeys(port for _, _, port in addresses))


def connected_from():
    """The remote address of this connection, from the environment of the sshd session that this process descends from. None without one."""
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


def refuse_lockout(module, firewall, versions, allowed):
    """Fails if nothing in `allowed`, a function from an IP version to (proto, port, source), lets in the address that Ostler comes from."""
    client, ports = connected_from(), sshd_ports(module.run_command)
    if client is None or client.is_loopback or client.version not in versions or not ports or not module.params["ssh_open"]:
        return
    if not any(lets_in(one, client, ports) for one in allowed(client.version)):
        module.fail_json(
            msg=f"these rules would lock out {client}, which Ostler is connected from: "
            f"allow it (`{ports[0]}/tcp from {client}` in `{firewall}.allow`), or choose another preset than `lan-only`"
        )


def lets_in(allowed, client, ports):
    """Whether a rule, as (proto, port, source), lets this address reach one of these TCP ports."""
    proto, port, source = allowed
    first, _, last = port.partition(":")
    numbers = port == "any" or any(int(first) <= int(number) <= int(last or first) for number in ports if first.isdigit())
    return proto in ("any", "tcp") and numbers and client in ipaddress.ip_network(source, strict=False)


def refuse_docker_without_iptables(module):
    """Fails if Docker filters by nftables itself: that knows no DOCKER-USER, so its published ports would be open whatever we say."""
    backend = None
    try:
        backend = json.loads(read(DAEMON) or "{}").get("firewall-backend")
    except (ValueError, AttributeError):
        pass  # Docker refuses such a file, and the app `docker` says so.
    # Asking a daemon that does not run would start it.
    if os.path.exists("/run/docker.pid") and shutil.which("docker"):
        code, out, _ = module.run_command(["timeout", "10", "docker", "info", "--format", "{{.FirewallBackend.Driver}}"])
        # Versions before 29 know nothing but iptables, and say nothing of it.
        backend = out.strip() if code == 0 and out.strip() else backend
    if backend and not backend.startswith("iptables"):
        module.fail_json(
            msg=f"Docker on this server filters by `{backend}` itself, and its published ports would be open whatever the firewall says: "
            f'set `"firewall-backend": "iptables"` in {DAEMON} and restart Docker. Nothing was changed'
        )


def record(rule, version):
    """The rule as ufw records it, which is what `containers` reads."""
    return f"allow {rule.proto} {rule.port} {ANYWHERE[version]} any {rule.source or ANYWHERE[version]} in"


def barrier(chain, ports):
    """The chain that keeps everybody out of these ports but the server itself. Connections that are there already stay."""
    lines = [f":{chain} - [0:0]"]
    if ports:
        lines += [f"-A {chain} -i lo -j RETURN", f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"]
        lines += [f"-A {chain} -p tcp -m tcp --dport {port} -j DROP" for port in ports]
    return lines


def is_first(rules, chain):
    """Whether incoming packets come to this chain before all other rules."""
    return next((line for line in rules if line.startswith("-A INPUT ")), "") == f"-A INPUT -j {chain}"


def containers(version, chain, records, log):
    """Two chains for DOCKER-USER: what containers send, and what is sent to them."""
    lines = [f":{chain} - [0:0]", f":{chain}-in - [0:0]"]
    # Whoever breaks into a container must not read the server's credentials.
    lines += [f"-A {chain} -d {address} -j DROP" for address in METADATA[version]]
    # Established connections continue. What containers send is not filtered. Errors and pings are harmless.
    lines.append(f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN")
    lines += [f"-A {chain} -i {bridge} -j RETURN" for bridge in BRIDGES]
    lines.append(f"-A {chain} -p {'icmp' if version == 4 else 'ipv6-icmp'} -j RETURN")
    # Packets to a container, through its published port or directly to its address. A neighbour on the network can send the latter, and only
    # rules of `ufw route` let them in. `-g` returns to Docker's own rules.
    lines += [f"-A {chain} -o {bridge} -g {chain}-in" for bridge in BRIDGES]
    lines.append(f"-A {chain} -m conntrack --ctstate DNAT -g {chain}-in")
    lines += [f"-A {chain}-in {rule}" for one in records for rule in translate(one.split())]
    lines.append(f'-A {chain}-in -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[{log}] "')
    lines.append(f"-A {chain}-in -j DROP")
    return lines


def translate(fields):
    """Rules for one record of ufw: [route:]ACTION[_log] PROTO DPORT DST SPORT SRC [DAPP SAPP] DIRECTION[_INTERFACE]."""
    action, proto, dport, destination, sport, source = fields[:6]
    route, _, action = action.rpartition(":")
    verdict = "RETURN" if action.partition("_")[0] in ("allow", "limit") else "DROP"
    interfaces = dict(part.partition("_")[::2] for part in fields[-1].split("!"))
    if "in" not in interfaces and not route:
        return
    # A rule for forwarded packets names the container itself. One for incoming packets names a port of the server, which the sender used.
    to_port, from_port, to = ("--dport", "--sport", "-d") if route else ("--ctorigdstport", "--ctorigsrcport", "--ctorigdst")
    anywhere = ANYWHERE.values()
    common = [f"-i {interfaces['in']}"] if interfaces.get("in") else []
    common += [f"-o {interfaces['out']}"] if interfaces.get("out") else []
    common += [f"-s {source}"] if source not in anywhere else []
    ports = [(d, s) for d in dport.split(",") for s in sport.split(",")]
    protos = ["tcp", "udp"] if proto == "any" and (dport, sport) != ("any", "any") else [proto]
    for name in protos:
        for d, s in ports:
            match = [f"{to} {destination}"] if destination not in anywhere else []
            match += [f"{to_port} {d}"] if d != "any" else []
            match += [f"{from_port} {s}"] if s != "any" else []
            if not route:
                match.insert(0, "-m conntrack --ctstate DNAT")
            yield " ".join([*common, *([f"-p {name}"] if name != "any" else []), *match, f"-j {verdict}"])


def table(note, lines):
    """The lines in the form that `iptables-restore --noflush` loads in one step. It empties only the chains that it names."""
    return "\n".join([f"# Managed by Ostler{note}. Changes here are overwritten.", "*filter", *lines, "COMMIT"]) + "\n"


LOADER = r"""#!/bin/sh
# Managed by Ostler. Changes here are overwritten.
# @NOTE@
# `start` loads the rules and the jumps to them in one step for each IP version, beside all other rules; `stop` takes them away.

# What goes in front goes to the very front.
jump() {
    if [ "$1" = -I ]; then
        first=$("$tool" -w -S "$2" | sed -n '/^-A /{p;q}')
        [ "$first" != "-A $2 -j $3" ] || return 0
        ! "$tool" -w -C "$2" -j "$3" || echo "-D $2 -j $3"
    elif "$tool" -w -C "$2" -j "$3"; then
        return 0
    fi
    echo "$1 $2 -j $3"
} 2> /dev/null

start() {
    tool=$1
    {
        echo '*filter'
        "$tool" -w -n -L DOCKER-USER > /dev/null 2>&1 || echo '-N DOCKER-USER'
        grep -v -e '^#' -e '^\*' -e '^COMMIT' "@RULES@"
        @START@
        echo COMMIT
    } | "$tool-restore" -w --noflush
}

stop() {
    tool=$1
    @STOP@
    for action in -F -X; do
        for chain in @CHAINS@; do "$tool" -w "$action" "$chain"; done
    done
    # Fails where Docker or somebody else uses it.
    "$tool" -w -X DOCKER-USER || true
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
[ "$failed" = 0 ] || echo "ostler: the firewall's rules are not loaded" >&2
exit "$failed"
"""


def loader(note, rules, jumps, chains):
    """The script that loads and unloads chains. `rules` is the file of IPv4, with `$2` where that of IPv6 has a 6; `jumps` are (-A or -I,
    from, to)."""
    start = "\n        ".join(f"jump {how} {chain} {to}" for how, chain, to in jumps)
    stop = "\n    ".join(f'while "$tool" -w -D {chain} -j {to}; do :; done' for _, chain, to in jumps)
    places = {"@NOTE@": note, "@RULES@": rules, "@START@": start, "@STOP@": stop, "@CHAINS@": " ".join(chains)}
    return re.sub("|".join(places), lambda place: places[place[0]], LOADER)


# A file that a module manages; None stands for one that is not there.
File = namedtuple("File", "text mode")


def read_file(path):
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return File(file.read(), os.fstat(file.fileno()).st_mode & 0o7777)
    except FileNotFoundError:
        return None


def write_file(path, file):
    if file is None:
        return os.path.exists(path) and os.remove(path)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8", errors="surrogateescape") as new:
        os.fchmod(new.fileno(), file.mode)
        new.write(file.text)
    os.replace(path + ".new", path)


def file_diff(path, before, after):
    def shown(file):
        # Bytes that are not text stay in the file, but JSON can't carry them.
        return file.text.encode("utf-8", "replace").decode() if file else ""

    return {"before": shown(before), "after": shown(after), "before_header": path, "after_header": path}


class Failed(Exception):
    """Its message says in a sentence what went wrong."""


def command(module, *words, data=None):
    code, out, err = module.run_command(list(words), data=data)
    if code != 0:
        raise Failed(f"`{' '.join(words)}` failed: {brief(err or out)}")
