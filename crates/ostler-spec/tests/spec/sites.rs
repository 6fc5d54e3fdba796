//! Sites.

use crate::fixture::{check, good};
use ostler_spec::{SecretRef, SiteSource};

/// A file with one site, on a server that is not in it.
fn shop(more: &str) -> String {
    format!(
        "sites:\n  shop:\n    server: web1\n    domains: [ shop.example.com ]\n    source: {{ image: shop:1 }}\n    port: 3000\n{more}"
    )
}

#[test]
fn one_has_its_defaults_and_needs_no_server_in_its_file() {
    let spec = good(&shop(""));
    let [site] = &spec.sites[..] else { panic!("one site") };
    assert_eq!((site.name.as_str(), site.server.as_str(), site.port, site.replicas), ("shop", "web1", 3000, 1));
    assert_eq!(site.source, SiteSource::Image("shop:1".into()));
    assert_eq!((site.health.path.as_deref(), site.health.within), (None, 60));
    let [elsewhere] = &spec.elsewhere[..] else { panic!("one server is looked for elsewhere") };
    assert_eq!(elsewhere.fault.message, "there is no server `web1`, neither in this file nor on record");
    assert_eq!(elsewhere.needs.as_ref().unwrap().0, "traefik");

    let full = "    health: { path: /up, within: 90 }\n    replicas: 2\n    env: { APP_ENV: production, DEBUG: false, WORKERS: 4 }\n    \
                secrets: { APP_KEY: { secret: shop-key } }\n";
    let site = good(&shop(full)).sites.remove(0);
    assert_eq!((site.health.path.as_deref(), site.health.within, site.replicas), (Some("/up"), 90, 2));
    let env: Vec<_> = site.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(env, ["APP_ENV=production", "DEBUG=false", "WORKERS=4"]);
    assert_eq!(site.secrets["APP_KEY"], SecretRef::Secret("shop-key".into()));
}

#[test]
fn it_has_one_source() {
    let with = |source: &str| shop("").replace("{ image: shop:1 }", source);
    assert_eq!(good(&with("{ build: ./shop }")).sites[0].source, SiteSource::Build("/etc/specs/./shop".into()));
    let hint = "\n  hint: write `{ image: NAME }` or `{ build: FOLDER }`";
    check(&with("{}"), &format!("ostler.yaml:5:13: sites.shop.source: it says nothing of what is served{hint}"));
    let both = with("{ image: shop, build: shop }");
    check(&both, &format!("ostler.yaml:5:13: sites.shop.source: a site has one source, and these are two{hint}"));
    check(
        &with("{ build: none.qcow2/.. }").replace("none.qcow2/..", "empty"),
        "ostler.yaml:5:22: sites.shop.source.build: there is no `Dockerfile` in `empty`\n  hint: name the folder that holds it",
    );
}

#[test]
fn a_domain_leads_to_one_site_and_the_first_one_is_a_name() {
    let text = shop("")
        + "  blog:\n    server: web1\n    domains: [ blog.example.com, shop.example.com ]\n    source: { image: blog }\n    port: 80\n";
    check(
        &text,
        "ostler.yaml:9:34: sites.blog.domains[1]: `shop.example.com` belongs to the site `shop` already (line 4)\n  \
         hint: one domain leads to one site: take it out of one of them",
    );
    check(
        &shop("").replace("[ shop.example.com ]", "[ '*.example.com' ]"),
        "ostler.yaml:4:16: sites.shop.domains[0]: the first domain is the one that others redirect to, so it can't be a wildcard\n  \
         hint: put the site's own name first",
    );
    let wild = good(&shop("").replace("[ shop.example.com ]", "[ shop.example.com, '*.shop.example.com' ]"));
    assert_eq!(wild.sites[0].domains[1].below(), Some("shop.example.com"));
}

#[test]
fn a_server_in_the_file_must_bring_requests_to_it() {
    let text = shop("") + "servers:\n  web1: { authorized_keys: [ keys/ann.pub ], apps: [ apache ] }\n";
    check(
        &text,
        "ostler.yaml:3:13: sites.shop.server: `web1` does not have the app `traefik`, which brings requests to sites\n  \
         hint: add `traefik` to its `apps`; it brings Docker and Swarm",
    );
}

#[test]
fn what_ostler_sets_itself_is_not_set_by_hand() {
    check(
        &shop("    env: { KEY_FILE: /key }\n    secrets: { KEY: { secret: key } }\n"),
        "ostler.yaml:7:22: sites.shop.env.KEY_FILE: it says where the secret `KEY` is, and Ostler sets it\n  hint: take it out",
    );
}
