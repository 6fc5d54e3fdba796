//! Load balancers of Hetzner Cloud.

use crate::fixture::{check, good};
use ostler_spec::{HetznerBalancer, HetznerHealth, HetznerHttpCheck, HetznerService};

/// A spec with one load balancer and one server.
fn spec(balancer: &str, hetzner: &str) -> String {
    format!(
        "providers:\n  hc:\n    kind: hetzner\n    token: {{ secret: hetzner }}\n    load_balancers:\n      front: {balancer}\n\
         servers:\n  web1:\n    provider: hc\n    authorized_keys: [ keys/ann.pub ]\n    \
         hetzner: {{ type: cx23, location: fsn1, {hetzner} }}\n"
    )
}

#[test]
fn one_has_its_defaults_and_goes_with_each_server_that_names_it() {
    let named = |text: &str, hetzner: &str| {
        let server = good(&spec(text, hetzner)).servers.remove(0);
        server.provider.hetzner().unwrap().load_balancer.clone()
    };
    let plain = "{ location: fsn1, services: [ { listen: 443 } ] }";
    assert_eq!(named(plain, "ipv4: true"), None);
    let health = HetznerHealth { port: 443, http: None, interval: 15, timeout: 10, retries: 3 };
    let service = HetznerService { http: false, listen: 443, to: 443, proxy_protocol: false, health };
    let balancer = HetznerBalancer {
        name: "front".into(),
        balancer_type: "lb11".into(),
        location: "fsn1".into(),
        network: None,
        services: vec![service.clone()],
    };
    assert_eq!(named(plain, "load_balancer: front"), Some(balancer.clone()));
    let full = "{ type: lb21, location: hel1, network: inner, services: [ { protocol: http, listen: 80, to: 8080, \
                health: { protocol: https, port: 8443, path: /ping, domain: example.org, interval: 5, timeout: 5, retries: 1 } }, \
                { listen: 443, proxy_protocol: true, health: { protocol: http } } ] }";
    let http = |path: &str, domain: Option<&str>, tls| {
        Some(HetznerHttpCheck { path: path.into(), domain: domain.map(str::to_owned), tls })
    };
    let balancer = HetznerBalancer {
        balancer_type: "lb21".into(),
        location: "hel1".into(),
        network: Some("inner".into()),
        services: vec![
            HetznerService {
                http: true,
                listen: 80,
                to: 8080,
                proxy_protocol: false,
                health: HetznerHealth {
                    port: 8443,
                    http: http("/ping", Some("example.org"), true),
                    interval: 5,
                    timeout: 5,
                    retries: 1,
                },
            },
            HetznerService {
                proxy_protocol: true,
                health: HetznerHealth { http: http("/", None, false), ..service.health.clone() },
                ..service
            },
        ],
        ..balancer
    };
    assert_eq!(named(full, "load_balancer: front, network: inner, ipv4: false"), Some(balancer));
}

#[test]
fn what_could_not_work_is_refused_with_its_place() {
    check(
        &spec(
            "{ location: fsn1, services: [ { listen: 443 }, { listen: 443, to: 0 }, { listen: 443, to: 8443 }, \
             { listen: 80, health: { path: /ping, interval: 5, timeout: 6 } } ] }",
            "load_balancer: frnt",
        ),
        "
ostler.yaml:6:80: providers.hc.load_balancers.front.services[1].to: 0 is out of range: 1 to 65535
ostler.yaml:6:95: providers.hc.load_balancers.front.services[2].listen: port 443 is listened on already: `providers.hc.load_balancers.front.services[0]`
  hint: give each service a port of its own
ostler.yaml:6:142: providers.hc.load_balancers.front.services[3].health.path: a check by TCP asks for nothing
  hint: write `protocol: http` beside it, or take it out
ostler.yaml:6:171: providers.hc.load_balancers.front.services[3].health.timeout: a check of 6 s takes longer than the 5 s to the next one
  hint: write at most `interval`
ostler.yaml:11:59: servers.web1.hetzner.load_balancer: `providers.hc` has no load balancer `frnt`
  hint: did you mean `front`?
",
    );
    check(
        &spec("{ location: fsn1, services: [] }", "load_balancer: front"),
        "
ostler.yaml:6:42: providers.hc.load_balancers.front.services: at least one is needed
",
    );
    let private = "{ location: fsn1, network: inner, services: [ { listen: 443 } ] }";
    check(
        &spec(private, "load_balancer: front, network: outer"),
        "
ostler.yaml:11:59: servers.web1.hetzner.load_balancer: `front` reaches its servers by the network `inner`, and this one is not in it
  hint: write `network: inner` beside it
",
    );
    check(
        &spec("{ location: fsn1, services: [ { listen: 443 } ] }", "load_balancer: front, ipv4: false"),
        "
ostler.yaml:11:59: servers.web1.hetzner.load_balancer: `front` reaches its servers by their public IPv4 addresses, and this one has none
  hint: give both the same `network`, or leave `ipv4` on
",
    );
    let none = spec("{}", "load_balancer: front").replace("    load_balancers:\n      front: {}\n", "");
    check(
        &none,
        "
ostler.yaml:9:59: servers.web1.hetzner.load_balancer: `providers.hc` has no load balancer `front`
  hint: describe it there, such as `load_balancers: { front: { location: fsn1, services: [ { listen: 443 } ] } }`
",
    );
}
