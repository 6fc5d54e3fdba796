//! Servers on Proxmox VE.

use crate::fixture::{check, good, read};
use ostler_spec::{ProviderKind, ProxmoxEndpoint, ProxmoxOptions, ProxmoxTrust, SecretRef};

const HEAD: &str = "providers:\n  pve1: { kind: proxmox, url: 'https://pve1.lan:8006/', token: { secret: pve1 }, fingerprint: 'PRINT' }\n";

fn spec(server: &str) -> String {
    let print = ["aB"; 32].join(":");
    let keys = "authorized_keys: [ keys/ann.pub ]";
    format!("{}servers:\n  web1:\n    provider: pve1\n    {keys}\n{server}", HEAD.replace("PRINT", &print))
}

#[test]
fn a_place_has_its_defaults() {
    let server = good(&spec("    proxmox: { node: pve1 }\n")).servers.remove(0);
    assert_eq!(server.provider.kind(), ProviderKind::Proxmox);
    let plain = ProxmoxOptions {
        endpoint: ProxmoxEndpoint {
            name: "pve1".into(),
            url: "https://pve1.lan:8006".into(),
            token: SecretRef::Secret("pve1".into()),
            trust: ProxmoxTrust::Fingerprint("ab".repeat(32)),
        },
        node: "pve1".into(),
        vmid: None,
        storage: "local-lvm".into(),
        images: "local".into(),
        bridge: "vmbr0".into(),
        vlan: None,
        tags: Vec::new(),
    };
    assert_eq!(server.provider.proxmox(), Some(&plain));
    let text = "    proxmox: { node: pve1, vmid: 120, storage: tank, bridge: vmbr1, vlan: 7, tags: [ web ] }\n";
    let server = good(&spec(text)).servers.remove(0);
    let full = ProxmoxOptions {
        vmid: Some(120),
        storage: "tank".into(),
        bridge: "vmbr1".into(),
        vlan: Some(7),
        tags: vec!["web".into()],
        ..plain
    };
    assert_eq!(server.provider.proxmox(), Some(&full));
}

#[test]
fn cards_have_bridges_vlans_and_both_families() {
    let cards = "    network:\n      - { address: 192.168.1.20/24, address6: '2001:db8::20/64', gateway6: 'fe80::1' }\n      \
                 - { bridge: vmbr2 }\n      - { vlan: 30 }\n";
    let server = good(&spec(&format!("    proxmox: {{ node: pve1, vlan: 7 }}\n{cards}"))).servers.remove(0);
    let options = server.provider.proxmox().unwrap();
    let plugs: Vec<_> = server.networks.iter().map(|card| options.plug(card)).collect();
    assert_eq!(plugs, [("vmbr0", Some(7)), ("vmbr2", None), ("vmbr0", Some(30))]);
    let addresses: Vec<String> = server.networks[0].fixed_addresses().map(|address| address.to_string()).collect();
    assert_eq!(addresses, ["192.168.1.20/24", "2001:db8::20/64"]);
    assert_eq!(server.networks[0].gateway6, Some("fe80::1".parse().unwrap()));
    let alone = "    proxmox: { node: pve1 }\n    network: { address: 'fd00::2/64', gateway: 'fe80::1' }\n";
    assert!(good(&spec(alone)).servers[0].networks[0].gateway.is_some());
}

#[test]
fn cards_that_can_not_be() {
    check(
        &spec(
            "    proxmox: { node: pve1 }\n    network:\n      - { address: 'fd00::2/64', address6: 'fd00::3/64' }\n      \
             - { gateway6: 'fe80::1' }\n      - { address6: 'fd00::2', gateway6: 10.0.0.1 }\n      \
             - { address6: 'fd00::2/64', gateway6: 'fd00:1::1', bridge: 'vmbr 1' }\n",
        ),
        "
ostler.yaml:9:44: servers.web1.network[0].address6: `address` is an IPv6 address already
  hint: `address` takes the IPv4 one, or `dhcp`
ostler.yaml:10:21: servers.web1.network[1].gateway6: `gateway6` needs `address6`
ostler.yaml:11:21: servers.web1.network[2].address6: `fd00::2` lacks its prefix
  hint: did you mean `fd00::2/64`?
ostler.yaml:11:42: servers.web1.network[2].gateway6: `10.0.0.1` is not an IPv6 address
ostler.yaml:12:45: servers.web1.network[3].gateway6: `fd00:1::1` is outside of the subnet fd00::/64
ostler.yaml:12:66: servers.web1.network[3].bridge: `vmbr 1` does not have the right form
  hint: it must match `^[a-zA-Z0-9_.-]{1,15}$`
",
    );
}

#[test]
fn what_does_not_belong_together_is_refused_with_its_place() {
    check(
        &spec("    local: { forward: { auto: 80 } }\n"),
        "
ostler.yaml:5:15: servers.web1.provider: the spec must say where to make the server
  hint: write at least `proxmox: { node: pve1 }`
ostler.yaml:7:12: servers.web1.local: ports are forwarded by provider `local` only
  hint: a server of Proxmox VE has an address of its own: take it out
",
    );
    check(
        &spec("    proxmox: { node: 'a b', vmid: 99, storage: x, vlan: 5000 }\n")
            .replace("provider: pve1", "provider: pve2"),
        "
ostler.yaml:5:15: servers.web1.provider: there is no provider `pve2`
  hint: did you mean `pve1`?
ostler.yaml:7:22: servers.web1.proxmox.node: `a b` does not have the right form
  hint: it must match `^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$`
ostler.yaml:7:35: servers.web1.proxmox.vmid: 99 is out of range: 100 to 999999999
ostler.yaml:7:48: servers.web1.proxmox.storage: `x` does not have the right form
  hint: it must match `^[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]$`
ostler.yaml:7:57: servers.web1.proxmox.vlan: 5000 is out of range: 1 to 4094
",
    );
    let second = "  web2: { provider: pve1, authorized_keys: [ keys/ann.pub ], proxmox: { node: pve1, vmid: 120 } }\n";
    check(
        &spec(&format!("    proxmox: {{ node: pve1, vmid: 120 }}\n{second}")),
        "
ostler.yaml:8:91: servers.web2.proxmox.vmid: VMID 120 is taken by `servers.web1.proxmox.vmid`
  hint: choose another, or `auto` for the next free one
",
    );
    let error = read(&spec("    proxmox: { node: pve1 }\n").replace("provider: pve1", "provider: local")).unwrap_err();
    assert!(error.to_string().contains("servers.web1.proxmox: this server has another provider"), "{error}");
}

#[test]
fn a_node_is_trusted_by_name_or_not_at_all() {
    let providers =
        |text: &str| format!("providers:\n  {text}\nservers: {{ web1: {{ authorized_keys: [ keys/ann.pub ] }} }}\n");
    check(
        &providers("pve1: { kind: proxmox, url: 'http://root@pve1/x', token: hunter2 }"),
        "
ostler.yaml:2:9: providers.pve1: nothing says which certificate is the right one
  hint: write `fingerprint`, or `ca`; Ostler trusts no certificate unseen
ostler.yaml:2:31: providers.pve1.url: `http://root@pve1/x` is not the URL of a Proxmox VE node
  hint: `https://`, its name or address, and its port: `https://pve1.example.org:8006`
ostler.yaml:2:60: providers.pve1.token: a secret must not be in this file
  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`; the one that was here is exposed: choose another
",
    );
    check(
        &providers(
            "local: { kind: proxmox, url: 'https://pve1', token: { env: T }, fingerprint: 'AB:CD', ca: ~/.ssh/id_ed25519 }",
        ),
        "
ostler.yaml:2:10: providers.local: `local` is a provider of its own
  hint: choose another name, such as `pve1` or `hc`
ostler.yaml:2:80: providers.local.fingerprint: `AB:CD` is not the SHA-256 fingerprint of a certificate
  hint: 32 pairs of hexadecimal digits with colons between; `pvenode cert info` shows them on the node
ostler.yaml:2:93: providers.local.ca: `fingerprint` and `ca` exclude each other
  hint: take one out
",
    );
    let error =
        read(&providers("pve1: { kind: proxmox, url: 'https://pve1', token: { env: T }, ca: ~/.ssh/id_ed25519 }"))
            .unwrap_err();
    assert!(error.to_string().contains("holds a PRIVATE key"), "{error}");
}
