//! Tunnels, and the servers that are reached by one.

use crate::fixture::{check, good};
use ostler_spec::{SecretRef, TunnelEndpoint, TunnelOptions};

fn spec(tunnels: &str, server: &str) -> String {
    format!("{tunnels}servers:\n  web1:\n    authorized_keys: [ keys/ann.pub ]\n{server}")
}

const EDGE: &str = "tunnels:\n  edge: { kind: cloudflare, account: 0123456789abcdef0123456789abcdef, token: { secret: cloudflare } }\n";

#[test]
fn a_tunnel_has_its_defaults() {
    let server = good(&spec(EDGE, "    tunnel: { via: edge, hostname: ssh-web1.example.com }\n")).servers.remove(0);
    let via = TunnelEndpoint {
        name: "edge".into(),
        account: "0123456789abcdef0123456789abcdef".into(),
        token: SecretRef::Secret("cloudflare".into()),
        url: "https://api.cloudflare.com/client/v4".into(),
    };
    let plain = TunnelOptions { via, hostname: "ssh-web1.example.com".into(), close_ssh: false };
    assert_eq!(server.tunnel, Some(plain));
    assert!(
        server.secrets().contains(&&SecretRef::Secret("cloudflare".into())),
        "it is asked for before anything is done"
    );
    let closed =
        "    tunnel: { via: edge, hostname: ssh-web1.example.com, close_ssh: true }\n    modules: { ufw: true }\n";
    assert!(good(&spec(EDGE, closed)).servers[0].tunnel.as_ref().unwrap().close_ssh);
    assert_eq!(good(&spec(EDGE, "")).servers[0].tunnel, None);
}

#[test]
fn what_could_not_work_is_refused() {
    check(
        &spec("", "    tunnel: { via: edge, hostname: ssh-web1.example.com }\n"),
        "ostler.yaml:4:20: servers.web1.tunnel.via: there is no tunnel `edge`\n  hint: describe it under `tunnels`: `tunnels: { edge: { kind: cloudflare, … } }`",
    );
    check(
        &spec(EDGE, "    tunnel: { via: edg, hostname: Web.example.com }\n"),
        "ostler.yaml:6:20: servers.web1.tunnel.via: there is no tunnel `edg`\n  hint: did you mean `edge`?\n\
         ostler.yaml:6:35: servers.web1.tunnel.hostname: `Web.example.com` is not a host name in a zone\n  hint: in lower case, such as `ssh-web1.example.com`",
    );
    check(
        &spec(EDGE, "    tunnel: { via: edge, hostname: example, close_ssh: true }\n"),
        "ostler.yaml:6:36: servers.web1.tunnel.hostname: `example` is not a host name in a zone\n  hint: in lower case, such as `ssh-web1.example.com`\n\
         ostler.yaml:6:56: servers.web1.tunnel.close_ssh: nothing on the server could close its SSH port: no firewall is switched on\n  hint: switch on a firewall, such as `modules: { ufw: true }`",
    );
    let two = "    tunnel: { via: edge, hostname: ssh.example.com }\n  web2:\n    authorized_keys: [ keys/ann.pub ]\n    tunnel: { via: edge, hostname: ssh.example.com }\n";
    check(
        &spec(EDGE, two),
        "ostler.yaml:9:36: servers.web2.tunnel.hostname: `ssh.example.com` leads to another server: `servers.web1.tunnel.hostname`\n  hint: give each server a host name of its own",
    );
    let bad = "tunnels:\n  edge: { kind: cloudflare, account: me, token: { secret: cloudflare }, endpoint: 'http://example.com' }\n";
    check(
        &spec(bad, ""),
        "ostler.yaml:2:38: tunnels.edge.account: `me` is not the id of an account\n  hint: 32 hexadecimal digits; the address of the dashboard shows them after `dash.cloudflare.com/`\n\
         ostler.yaml:2:83: tunnels.edge.endpoint: `http://example.com` is not the URL of an API\n  hint: `https://`, or `http://127.0.0.1:PORT` for tests; leave it out for Cloudflare's own",
    );
}
