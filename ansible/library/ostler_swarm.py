#!/usr/bin/python3
"""Makes this server a node of a Docker Swarm: of a new one, or of the one that another server has.

`community.docker.docker_swarm` can't tell a swarm of ours from somebody else's, returns the join tokens, chooses no address, and fails in check
mode where Docker is not installed yet.
"""

import http.client
import ipaddress
import json
import os
import socket
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_swarm
short_description: Be a node of a Docker Swarm
description:
  - Begins a swarm, or joins one. Does nothing on a node of ours, and refuses to touch a membership that it did not make.
  - Waits until the node is ready, and, on a manager, until the managers reach it.
  - Records its node id in C(/var/lib/ostler/swarm), where C(-) means that it was about to become a node.
options:
  advertise: {description: The address by which other nodes reach this one. By default that of a private network or of the default route., type: str}
  pool: {description: Where a new swarm takes the addresses of its overlay networks from., type: str, required: true}
  role: {description: What it is in the swarm., choices: [manager, worker], default: manager}
  join: {description: "The server whose swarm it joins, as people call it. Without it, it begins a swarm.", type: str}
  manager: {description: The address by which that server is known to its swarm., type: str}
  token: {description: What lets it join., type: str}
  fault: {description: Why address and token are not there., type: str}
  timeout: {description: Seconds until it has to be ready., type: int, default: 90}
"""

SOCKET, RECORD, ABOUT_TO = "/run/docker.sock", "/var/lib/ostler/swarm", "-"
# Interfaces of containers and tunnels.
NOT_OURS = ("docker", "br-", "veth", "virbr", "wg", "tun", "tap", "lo")
PRIVATE = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]


def main():
    module = AnsibleModule(
        argument_spec={
            "advertise": {"type": "str"},
            "pool": {"type": "str", "required": True},
            "role": {"choices": ["manager", "worker"], "default": "manager"},
            "join": {"type": "str"},
            "manager": {"type": "str"},
            "token": {"type": "str", "no_log": True},
            "fault": {"type": "str"},
            "timeout": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    Swarm(module).run()


class Swarm:
    def __init__(self, module):
        self.module, self.params = module, module.params
        self.fail = module.fail_json

    def run(self):
        if self.module.check_mode and not os.path.exists(SOCKET):
            self.module.exit_json(changed=True, address=self.address(), diff=self.diff())
        node = self.node()
        if node["LocalNodeState"] == "inactive":
            self.become_one()
        else:
            self.refuse_foreign(node)
        if not os.path.exists("/proc/net/ip_vs") and self.module.run_command(["modprobe", "--dry-run", "--quiet", "ip_vs"])[0] != 0:
            self.module.warn(
                "Swarm: this server's kernel has no IPVS, so a service's own address and Swarm's ingress don't work: publish ports with `mode: host`, "
                "and give services `endpoint_mode: dnsrr`"
            )
        changed = node["LocalNodeState"] == "inactive"
        node = self.await_ready()
        self.record(node["NodeID"])
        role = "manager" if node["ControlAvailable"] else "worker"
        if role != self.params["role"]:
            verb = "promote" if role == "worker" else "demote"
            self.fail(msg=f"this server is a {role} of its swarm, and the spec says {self.params['role']}: run `docker node {verb} {node['NodeID']}` on a manager")
        self.module.exit_json(changed=changed, address=node["NodeAddr"], node=node["NodeID"], role=role, diff=self.diff() if changed else {})

    def become_one(self):
        address = self.address()
        if self.module.check_mode:
            self.module.exit_json(changed=True, address=address, diff=self.diff())
        wanted = self.params["join"]
        if wanted and not (self.params["manager"] and self.params["token"]):
            self.fail(msg=f"this server can't join the swarm of {wanted}: {self.params['fault'] or wanted + ' says nothing'}")
        self.record(ABOUT_TO)
        # It listens everywhere: an address that comes up late must not keep Docker from starting. Nobody gets anywhere without the swarm's TLS.
        common = {"ListenAddr": "0.0.0.0:2377" if ipaddress.ip_address(address).version == 4 else "[::]:2377", "AdvertiseAddr": address}
        if wanted:
            manager = self.params["manager"]
            remote = f"[{manager}]:2377" if ":" in manager else f"{manager}:2377"
            joining = {"RemoteAddrs": [remote], "JoinToken": self.params["token"]}
            hint = "" if is_private(address) and is_private(manager) else (
                f". Firewalls let members in by themselves from private networks only: {wanted} has to allow {address}, and all members one another, "
                "on 2377/tcp, 7946 and 4789/udp"
            )
            self.ask("POST", "/swarm/join", {**common, **joining}, f"join the swarm of {wanted} at {remote}", hint)
        else:
            pool = {"DefaultAddrPool": [self.params["pool"]], "SubnetSize": 24}
            self.ask("POST", "/swarm/init", {**common, **pool, "Spec": {}}, "begin a swarm")

    def refuse_foreign(self, node):
        recorded = self.recorded()
        if recorded is None or recorded not in (ABOUT_TO, node["NodeID"]):
            self.fail(
                msg=f"this server is a node of a swarm already (node {node['NodeID'] or 'of unknown id'}), which Ostler did not make: it stays as it is. "
                "`docker swarm leave` takes the server out of it; or take swarm out of `apps`"
            )
        if node["LocalNodeState"] == "locked":
            self.fail(msg="the swarm on this server is locked: `docker swarm unlock` opens it with its key")
        wanted, has = self.params["advertise"], node["NodeAddr"]
        if wanted and has and wanted != has:
            self.fail(msg=f"this node is known to its swarm by the address {has}, and `advertise` says {wanted}: an address can't be changed, leave the swarm first")
        if has and has not in self.addresses():
            self.fail(msg=f"this node is known to its swarm by the address {has}, which this server no longer has: the other nodes can't reach it")

    def await_ready(self):
        """Waits for what the node says of itself, and on a manager for what the managers say of it."""
        deadline, state = time.monotonic() + self.params["timeout"], ""
        while time.monotonic() < deadline:
            node = self.node()
            state = node["Error"] or f"its state is {node['LocalNodeState']}"
            if node["LocalNodeState"] == "active" and not node["Error"]:
                if not node["ControlAvailable"]:
                    return node
                code, seen = self.request("GET", "/nodes/" + node["NodeID"])
                if code == 200:
                    ready, manager = seen["Status"]["State"] == "ready", seen.get("ManagerStatus", {}).get("Reachability", "not a manager")
                    if ready and manager == "reachable":
                        return node
                    state = f"the swarm calls it {seen['Status']['State']} and {manager}"
            time.sleep(0.3)
        return self.fail(msg=f"this node is not ready after {self.params['timeout']} s: {state}")

    def address(self):
        """An address by which others reach this server, and which stays."""
        wanted = self.params["advertise"]
        if wanted:
            own = self.addresses()
            if wanted not in own:
                self.fail(msg=f"this server has no address {wanted}, which `advertise` names (it has: {', '.join(own)})")
            return wanted
        private = [address for address in self.addresses(without=NOT_OURS) if is_private(address)]
        default = default_source()
        found = default if default and (is_private(default) or not private) else next(iter(private), None)
        return found or self.fail(msg="this server has neither a private address nor a default route: set the parameter `advertise`")

    def addresses(self, without=("lo",)):
        """Global addresses of this server, IPv4 first, but for interfaces whose names begin so."""
        _, out, _ = self.module.run_command(["ip", "-json", "address", "show", "up", "scope", "global"], check_rc=True)
        links = [link for link in json.loads(out or "[]") if not link.get("ifname", "lo").startswith(without)]
        own = [info for link in links for info in link.get("addr_info", []) if "local" in info and not info.get("temporary")]
        return [info["local"] for family in ("inet", "inet6") for info in own if info["family"] == family]

    def node(self):
        code, info = self.request("GET", "/info")
        if code != 200:
            self.fail(msg=f"Docker does not say what it knows of a swarm: {info.get('message', code)}")
        return info["Swarm"]

    def ask(self, method, path, body, what, hint=""):
        code, answer = self.request(method, path, body)
        if code != 200:
            message = answer.get("message", f"status {code}") if isinstance(answer, dict) else f"status {code}"
            self.fail(msg=f"this server can't {what}: {message.rstrip('.')}{hint}")

    def request(self, method, path, body=None):
        connection = Local("docker", timeout=self.params["timeout"])
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except OSError as error:
            self.fail(msg=f"Docker does not answer at {SOCKET}: {error}")
        finally:
            connection.close()
        try:
            return response.status, json.loads(text or b"{}")
        except ValueError:
            return response.status, {"message": text.decode("utf-8", "replace").strip()}

    def recorded(self):
        try:
            with open(RECORD, encoding="utf-8") as file:
                return file.read().strip()
        except FileNotFoundError:
            return None

    def record(self, node):
        if self.module.check_mode or self.recorded() == node:
            return
        os.makedirs(os.path.dirname(RECORD), mode=0o755, exist_ok=True)
        with open(RECORD + ".new", "w", encoding="utf-8") as file:
            file.write(node + "\n")
        os.replace(RECORD + ".new", RECORD)

    def diff(self):
        of = f"the swarm of {self.params['join']}" if self.params["join"] else "a swarm of its own"
        return {"before": "no node of a swarm\n", "after": f"{self.params['role']} of {of}\n"}


class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def default_source():
    """The address that leaves by the default route. Nothing is sent."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
                return probe.getsockname()[0]
            except OSError:
                continue
    return None


def is_private(text):
    return any(ipaddress.ip_address(text) in network for network in PRIVATE)


if __name__ == "__main__":
    main()
