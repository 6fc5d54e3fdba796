"""A whole life in a project, by PyPI's hcloud: life.py ENDPOINT TOKEN PUBLIC_KEY"""
import sys

import hcloud
from hcloud.firewalls.domain import FirewallRule
from hcloud.images.domain import Image
from hcloud.locations.domain import Location
from hcloud.networks.domain import NetworkSubnet
from hcloud.server_types.domain import ServerType
from hcloud.zones.domain import ZoneRecord

endpoint, token, public_key = sys.argv[1:]
client = hcloud.Client(token, api_endpoint=endpoint, poll_interval=0.02)
fsn1 = Location(name="fsn1")


def refused(code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except hcloud.APIException as error:
        assert error.code == code, (error.code, error.message)
        return error
    raise AssertionError(f"{code} is expected")


# What is offered.
cx23 = client.server_types.get_by_name("cx23")
assert [place.location.name for place in cx23.locations if place.available] == ["fsn1", "nbg1", "hel1"]
assert client.images.get_by_name_and_architecture("debian-13", "arm").architecture == "arm"
assert client.locations.get_by_name("fsn1").network_zone == "eu-central"
assert client.isos.get_all() and client.load_balancer_types.get_all()

# What a server needs.
key = client.ssh_keys.create("key", public_key, labels={"for": "web1"})
error = refused("uniqueness_error", client.ssh_keys.create, "other", public_key)
assert error.details["fields"] == [{"name": "public_key"}], error.details
assert client.ssh_keys.get_by_fingerprint(key.fingerprint).id == key.id
subnet = NetworkSubnet(type="cloud", network_zone="eu-central", ip_range="10.0.1.0/24")
network = client.networks.create("net", "10.0.0.0/16", subnets=[subnet])
rule = FirewallRule(direction="in", protocol="tcp", port="22", source_ips=["0.0.0.0/0", "::/0"])
firewall = client.firewalls.create("fw", rules=[rule]).firewall
made = client.volumes.create(10, "data", location=fsn1, format="ext4")
made.action.wait_until_finished()
volume = made.volume
group = client.placement_groups.create("apart", "spread").placement_group
ip = client.primary_ips.create("ipv4", "ip", location=fsn1).primary_ip

# The server.
made = client.servers.create(
    "web1", ServerType(name="cx23"), Image(name="debian-13"), ssh_keys=[key], networks=[network], firewalls=[firewall],
    volumes=[volume], placement_group=group, location=fsn1, user_data="#cloud-config\n", labels={"env": "test"},
    public_net=hcloud.servers.domain.ServerCreatePublicNetwork(ipv4=ip),
)
assert made.server.status == "initializing" and made.root_password is None
for action in [made.action, *made.next_actions]:
    action.wait_until_finished()
server = client.servers.get_by_name("web1")
assert (server.status, server.locked, server.location.name) == ("running", False, "fsn1")
assert (server.private_net[0].ip, server.volumes[0].id, server.public_net.primary_ipv4.id) == ("10.0.1.1", volume.id, ip.id)
assert server.public_net.ipv4.ip == ip.ip and server.public_net.firewalls[0].firewall.id == firewall.id

server.update(labels={"env": "prod"})
assert [one.name for one in client.servers.get_all(label_selector="env in (prod, stage)")] == ["web1"]
assert client.servers.get_all(label_selector="!env") == []
for action in firewall.set_rules([rule, FirewallRule(direction="in", protocol="icmp", source_ips=["::/0"])]):
    action.wait_until_finished()
firewall.reload()
assert len(firewall.rules) == 2

server.shutdown().wait_until_finished()
server.reload()
assert server.status == "off"
server.change_type(ServerType(name="cx33"), upgrade_disk=False).wait_until_finished()
server.rebuild(Image(name="debian-12")).action.wait_until_finished()
server.reload()
assert (server.status, server.server_type.name, server.image.name) == ("running", "cx33", "debian-12")
server.change_protection(delete=True, rebuild=True).wait_until_finished()
refused("protected", server.delete)
server.change_protection(delete=False, rebuild=False).wait_until_finished()
volume.detach().wait_until_finished()
volume.resize(20).wait_until_finished()
volume.attach(server).wait_until_finished()

# Load balancer.
balancer = client.load_balancers.create(
    "lb", hcloud.load_balancer_types.domain.LoadBalancerType(name="lb11"), location=fsn1,
    targets=[hcloud.load_balancers.domain.LoadBalancerTarget(type="server", server=server)],
)
balancer.action.wait_until_finished()
assert balancer.load_balancer.targets[0].server.id == server.id
balancer.load_balancer.delete().action.wait_until_finished()

# Names in the DNS.
zone = client.zones.create(name="example.org", mode="primary").zone
www = zone.create_rrset(name="www", type="A", records=[ZoneRecord(value=ip.ip, comment="web1")]).rrset
www.add_rrset_records([ZoneRecord(value="198.51.100.1")]).wait_until_finished()
assert len(zone.get_rrset("www", "A").records) == 2
www.set_rrset_records([ZoneRecord(value="198.51.100.2")]).wait_until_finished()
assert [one.name for one in zone.get_rrset_all(type=["A"])] == ["www"]
www.delete_rrset().action.wait_until_finished()
zone.delete().action.wait_until_finished()

# Pages.
for number in range(60):
    client.placement_groups.create(f"g{number}", "spread")
page = client.placement_groups.get_list(page=2, per_page=25)
assert (len(page.placement_groups), page.meta.pagination.next_page, page.meta.pagination.total_entries) == (25, 3, 61)
assert len(client.placement_groups.get_all()) == 61

# The end.
server.delete().wait_until_finished()
assert client.servers.get_by_name("web1") is None
ip.reload()
assert ip.assignee_id is None
for one in [ip, volume, firewall, network, key, group]:
    one.delete()
