"""A whole life by the vendor's client: URL of the API, token, account and a token that may only see zones."""

import sys

import cloudflare
from cloudflare import Cloudflare

url, token, account, limited = sys.argv[1:]
client = Cloudflare(api_token=token, base_url=url, max_retries=0)


def refused(kind, code, call):
    try:
        call()
    except kind as error:
        assert error.errors[0].code == code, error
    else:
        raise AssertionError("it was not refused")


assert client.user.tokens.verify().status == "active"
assert [one.id for one in client.accounts.list()] == [account]
zone = client.zones.list(name="example.com").result[0]
assert client.zones.get(zone_id=zone.id).name == "example.com"

tunnels = client.zero_trust.tunnels.cloudflared
tunnel = tunnels.create(account_id=account, name="one", config_src="cloudflare")
assert tunnel.status == "inactive" and tunnel.config_src == "cloudflare"
refused(cloudflare.ConflictError, 1013, lambda: tunnels.create(account_id=account, name="one", config_src="cloudflare"))
assert [one.id for one in tunnels.list(account_id=account, name="one", is_deleted=False)] == [tunnel.id]
assert tunnels.token.get(tunnel.id, account_id=account)
assert tunnels.configurations.get(tunnel.id, account_id=account).config is None
ingress = [
    {"hostname": "ssh.example.com", "service": "ssh://localhost:22", "originRequest": {"noTLSVerify": False}},
    {"service": "http_status:404"},
]
tunnels.configurations.update(tunnel.id, account_id=account, config={"ingress": ingress})
config = tunnels.configurations.get(tunnel.id, account_id=account)
assert config.version == 1 and config.config.ingress[0].hostname == "ssh.example.com"

record = client.dns.records.create(
    zone_id=zone.id, name="ssh", type="CNAME", content=f"{tunnel.id}.cfargotunnel.com", ttl=1, proxied=True
)
assert record.name == "ssh.example.com"
refused(
    cloudflare.BadRequestError,
    81053,
    lambda: client.dns.records.create(zone_id=zone.id, name="ssh", type="A", content="192.0.2.1", ttl=1),
)
found = client.dns.records.list(zone_id=zone.id, name={"exact": "ssh.example.com"})
assert [one.id for one in found] == [record.id]
client.dns.records.edit(record.id, zone_id=zone.id, name="ssh", type="CNAME", ttl=1, comment="ours")

access = client.zero_trust.access
pass_ = access.service_tokens.create(account_id=account, name="pass", duration="8760h")
assert pass_.client_secret and pass_.client_id
policy = {"name": "pass", "decision": "non_identity", "include": [{"service_token": {"token_id": pass_.id}}]}
app = access.applications.create(
    account_id=account, name="ssh", type="self_hosted", domain="ssh.example.com", app_launcher_visible=False, policies=[policy]
)
assert [one.id for one in access.applications.list(account_id=account)] == [app.id]
policies = list(access.applications.policies.list(app.id, account_id=account))
assert policies[0].decision == "non_identity"
refused(
    cloudflare.BadRequestError, 12132, lambda: access.service_tokens.delete(pass_.id, account_id=account)
)
rotated = access.service_tokens.rotate(pass_.id, account_id=account)
assert rotated.client_id == pass_.client_id and rotated.client_secret != pass_.client_secret

weak = Cloudflare(api_token=limited, base_url=url, max_retries=0)
assert weak.zones.list().result[0].id == zone.id
refused(cloudflare.PermissionDeniedError, 10000, lambda: weak.dns.records.list(zone_id=zone.id))
refused(cloudflare.AuthenticationError, 1000, lambda: Cloudflare(api_token="x", base_url=url, max_retries=0).user.tokens.verify())

access.applications.delete(app.id, account_id=account)
access.service_tokens.delete(pass_.id, account_id=account)
client.dns.records.delete(record.id, zone_id=zone.id)
assert tunnels.delete(tunnel.id, account_id=account).deleted_at
refused(cloudflare.NotFoundError, 1003, lambda: tunnels.delete(tunnel.id, account_id=account))
