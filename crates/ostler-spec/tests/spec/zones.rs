//! Zones of the DNS.

use crate::fixture::{check, good};
use ostler_spec::{DnsOptions, SecretRef};

fn spec(zone: &str) -> String {
    format!("dns:\n  example.com: {zone}\nservers:\n  web1:\n    authorized_keys: [ keys/ann.pub ]\n")
}

fn zone(text: &str) -> ostler_spec::ZoneSpec {
    good(&spec(text)).zones.remove(0)
}

#[test]
fn each_kind_has_its_own_keys_and_defaults() {
    let token = SecretRef::Secret("cf".into());
    let url = "https://api.cloudflare.com/client/v4".into();
    let cloudflare = zone("{ kind: cloudflare, token: { secret: cf } }");
    assert_eq!(cloudflare.name, "example.com");
    assert_eq!(cloudflare.dns, DnsOptions::Cloudflare { token: token.clone(), url });
    let hetzner = zone("{ kind: hetzner, token: { secret: cf }, endpoint: 'http://127.0.0.1:8080/' }");
    assert_eq!(hetzner.dns, DnsOptions::Hetzner { token: token.clone(), url: "http://127.0.0.1:8080".into() });
    let updates = zone(
        "{ kind: rfc2136, server: 192.0.2.53, key: ostler, secret: { secret: cf }, nameservers: [ '[2001:db8::53]:5353' ] }",
    );
    let expected = DnsOptions::Rfc2136 {
        server: "192.0.2.53:53".parse().unwrap(),
        key: "ostler".into(),
        algorithm: "hmac-sha256".into(),
        secret: token,
    };
    assert_eq!((updates.dns, updates.nameservers), (expected, vec!["[2001:db8::53]:5353".parse().unwrap()]));
    assert_eq!(zone("{ kind: manual }").dns, DnsOptions::Manual);
}

#[test]
fn what_is_missing_or_of_another_kind_is_refused() {
    check(&spec("{ kind: hetzner }"), "ostler.yaml:2:16: dns.example.com: a zone of kind `hetzner` needs `token`");
    check(
        &spec("{ kind: rfc2136, server: ns.example.com, key: ostler, secret: { secret: k } }"),
        "ostler.yaml:2:41: dns.example.com.server: `ns.example.com` is not the address of a server\n  \
         hint: an IP address, with a port or without: `192.0.2.53`, `192.0.2.53:5353`, `[2001:db8::53]:5353`",
    );
    check(
        &spec("{ kind: manual, token: { secret: t } }"),
        "ostler.yaml:2:39: dns.example.com.token: a zone of kind `manual` has no `token`\n  hint: take it out",
    );
    check(
        &spec("{ kind: manual }").replace("example.com", "Example.com."),
        "ostler.yaml:2:3: dns.Example.com.: `Example.com.` is not the name of a zone\n  \
         hint: in lower case and without a dot at the end, such as `example.com`",
    );
}

#[test]
fn a_site_knows_the_zones_of_its_domains_and_who_issues_its_certificate() {
    let with = |more: &str| {
        spec("{ kind: manual }").replace("servers:", "  example.net: { kind: manual }\nservers:")
            + "sites:\n  shop:\n    server: web2\n    domains: [ shop.example.com, shop.example.org ]\n    \
               source: { image: shop }\n    port: 80\n"
            + more
    };
    let site = |more: &str| good(&with(more)).sites.remove(0);
    let plain = site("");
    assert_eq!(plain.zones.iter().map(|zone| zone.name.as_str()).collect::<Vec<_>>(), ["example.com"]);
    let certificate = plain.certificate.unwrap();
    assert_eq!(certificate.authority, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(site("    certificate: false\n").certificate, None);
    let own = site("    certificate: { authority: staging, profile: shortlived }\n").certificate.unwrap();
    assert_eq!(own.authority, "https://acme-staging-v02.api.letsencrypt.org/directory");
    assert_eq!((own.profile.as_deref(), own.root), (Some("shortlived"), None));
    check(
        &with("    certificate: { authority: 'http://ca.example' }\n"),
        "ostler.yaml:13:31: sites.shop.certificate.authority: `http://ca.example` is not an authority for certificates\n  \
         hint: `letsencrypt`, `staging`, or the `https://` URL of an ACME directory",
    );
    check(
        &with("    certificate: { authority: 'https://ca.example', root: keys/ann.pub }\n"),
        "ostler.yaml:13:59: sites.shop.certificate.root: there is no certificate in `keys/ann.pub`\n  hint: it is to be in PEM",
    );
}
