//! Servers of Hetzner Cloud.

use crate::fixture::{check, good, read};
use ostler_spec::{
    HetznerAddress, HetznerEndpoint, HetznerNetwork, HetznerOptions, HetznerVolume, ProviderKind, SecretRef,
    VolumeFormat,
};

fn spec(server: &str) -> String {
    format!(
        "providers:\n  hc: {{ kind: hetzner, token: {{ secret: hetzner }} }}\nservers:\n  web1:\n    provider: hc\n    \
         authorized_keys: [ keys/ann.pub ]\n{server}"
    )
}

#[test]
fn a_server_has_its_defaults() {
    let server = good(&spec("    hetzner: { type: cx23, location: fsn1 }\n")).servers.remove(0);
    assert_eq!((server.provider.kind(), server.provider.fenced()), (ProviderKind::Hetzner, true));
    let plain = HetznerOptions {
        endpoint: HetznerEndpoint {
            name: "hc".into(),
            url: "https://api.hetzner.cloud/v1".into(),
            token: SecretRef::Secret("hetzner".into()),
        },
        types: vec!["cx23".into()],
        locations: vec!["fsn1".into()],
        network: None,
        volumes: Vec::new(),
        placement: None,
        ipv4: HetznerAddress::Own,
        ipv6: HetznerAddress::Own,
        backups: false,
        protect: false,
        firewall: true,
        load_balancer: None,
    };
    assert_eq!(server.provider.hetzner(), Some(&plain));
    let text = "    hetzner: { type: [cx23, cax11], location: [fsn1, nbg1, hel1], network: { name: inner, range: 10.1.0.0/16 }, \
                volumes: [ data, { name: more, size: 20, format: xfs, mount: /var/lib/docker } ], placement: apart, ipv4: web, ipv6: false, backups: true, \
                protect: true, firewall: false }\n";
    let server = good(&spec(text)).servers.remove(0);
    let full = HetznerOptions {
        types: vec!["cx23".into(), "cax11".into()],
        locations: vec!["fsn1".into(), "nbg1".into(), "hel1".into()],
        network: Some(HetznerNetwork { name: "inner".into(), range: "10.1.0.0/16".parse().unwrap() }),
        volumes: vec![
            HetznerVolume::raw("data"),
            HetznerVolume {
                name: "more".into(),
                size: Some(20),
                format: VolumeFormat::Xfs,
                mount: Some("/var/lib/docker".into()),
            },
        ],
        placement: Some("apart".into()),
        ipv4: HetznerAddress::Kept("web".into()),
        ipv6: HetznerAddress::None,
        backups: true,
        protect: true,
        firewall: false,
        ..plain
    };
    assert_eq!(server.provider.hetzner(), Some(&full));
}

#[test]
fn what_does_not_belong_together_is_refused_with_its_place() {
    check(
        &spec("    size: { cpus: 4 }\n    local: { forward: { auto: 80 } }\n    image: a.qcow2\n"),
        "
ostler.yaml:5:15: servers.web1.provider: the spec must say what to make the server of
  hint: write at least `hetzner: { type: cx23, location: fsn1 }`
ostler.yaml:7:11: servers.web1.size: the server type says the size of a server of Hetzner
  hint: take it out
ostler.yaml:8:12: servers.web1.local: ports are forwarded by provider `local` only
  hint: take it out
ostler.yaml:9:12: servers.web1.image: a server of Hetzner boots from one of Hetzner's images
  hint: write its name: `debian-13`
",
    );
    check(
        &spec(
            "    hetzner: { type: [], location: 'F 1', ipv4: false, ipv6: false, network: { name: a, range: 8.0.0.0/8 } }\n",
        ),
        "
ostler.yaml:7:22: servers.web1.hetzner.type: at least one is needed
ostler.yaml:7:36: servers.web1.hetzner.location: `F 1` does not have the right form
  hint: it must match `^[a-z0-9][a-z0-9-]*$`
ostler.yaml:7:49: servers.web1.hetzner.ipv4: a server without a public address can't be reached
  hint: leave `ipv4` or `ipv6` on
ostler.yaml:7:96: servers.web1.hetzner.network.range: `8.0.0.0/8` is not a private range
  hint: `10.0.0.0/16`, or another of RFC 1918 with a prefix of 24 or less
",
    );
    let error = read(&spec("    hetzner: { type: cx23, location: fsn1 }\n").replace("provider: hc", "provider: local"))
        .unwrap_err();
    assert!(error.to_string().contains("servers.web1.hetzner: this server has another provider"), "{error}");
}

#[test]
fn volumes_are_mounted_where_nothing_of_the_system_is() {
    let volumes = |text: &str| spec(&format!("    hetzner: {{ type: cx23, location: fsn1, volumes: [ {text} ] }}\n"));
    good(&volumes("{ name: a, mount: /srv/a }, { name: b, mount: /srv/ab }, { name: c, mount: /home/ann/c }, d"));
    check(
        &volumes("{ name: a, mount: /srv }, { name: b, mount: /srv/b }, a"),
        "
ostler.yaml:7:99: servers.web1.hetzner.volumes[1].mount: `/srv/b` overlaps `/srv`
  hint: mount each volume at a place of its own
ostler.yaml:7:109: servers.web1.hetzner.volumes[2]: `a` is named twice
  hint: take one of them out
",
    );
    let two = volumes("d")
        + "  web2: { provider: hc, authorized_keys: [ keys/ann.pub ], hetzner: { type: cx23, location: fsn1, volumes: [ d ] } }\n";
    check(
        &two,
        "
ostler.yaml:8:110: servers.web2.hetzner.volumes[0]: the volume `d` is another server's: `servers.web1.hetzner.volumes[0]`
  hint: a volume is attached to one server at most
",
    );
    for path in ["/", "/etc/data", "/usr", "/home", "/var/lib", "/var/lib/dpkg/x", "/root/data", "/boot"] {
        let error = read(&volumes(&format!("{{ name: a, mount: {path} }}"))).unwrap_err().to_string();
        assert!(error.contains("mount: "), "{path}: {error}");
    }
    for path in ["srv/data", "/srv/../etc", "/srv//data", "/srv/data/", "/srv/my data", "/srv/$(x)", "/.hidden"] {
        let error = read(&volumes(&format!("{{ name: a, mount: '{path}' }}"))).unwrap_err().to_string();
        assert!(error.contains("mount: "), "{path}: {error}");
    }
}

#[test]
fn the_token_goes_to_the_vendor_only() {
    let providers =
        |text: &str| format!("providers:\n  {text}\nservers: {{ web1: {{ authorized_keys: [ keys/ann.pub ] }} }}\n");
    check(
        &providers(
            "hetzner: { kind: hetzner, token: abc, url: 'https://pve1', endpoint: 'http://api.example.org/v1' }",
        ),
        "
ostler.yaml:2:12: providers.hetzner: `hetzner` is a provider of its own
  hint: choose another name, such as `pve1` or `hc`
ostler.yaml:2:36: providers.hetzner.token: a secret must not be in this file
  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`; the one that was here is exposed: choose another
ostler.yaml:2:46: providers.hetzner.url: only Proxmox VE has it
  hint: take it out; another address of Hetzner's API goes under `endpoint`
ostler.yaml:2:72: providers.hetzner.endpoint: `http://api.example.org/v1` is not the URL of Hetzner's API
  hint: leave it out for `https://api.hetzner.cloud/v1`; only on this machine it may begin with `http://`
",
    );
    good(&providers("hc: { kind: hetzner, token: { env: T }, endpoint: 'http://127.0.0.1:8080/v1' }"));
}
