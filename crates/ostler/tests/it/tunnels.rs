//! What a user sees of a tunnel before anything is made: the accounts are fakes, and nothing is reached over SSH.

use ostler_testkit::{
    cloudflare::{ACCOUNT, FakeCloudflare, TOKEN},
    environment::TestEnvironment,
    hcloud::{self, FakeCloud, Records},
};
use std::{fs, sync::Arc};

/// A server at Hetzner that is to have a tunnel.
fn environment(cloud: &FakeCloud, fake: &FakeCloudflare) -> TestEnvironment {
    let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"));
    environment.make_key();
    environment.write("hetzner", hcloud::TOKEN);
    environment.write("cloudflare", TOKEN);
    fake.install_stand_in(&environment.programs()).expect("the stand-in");
    let spec = format!(
        "tunnels:
  edge: {{ kind: cloudflare, account: {ACCOUNT}, token: {{ file: cloudflare }}, endpoint: '{}' }}
providers:
  hc: {{ kind: hetzner, token: {{ file: hetzner }}, endpoint: '{}' }}
servers:
  web1:
    provider: hc
    hetzner: {{ type: cx23, location: fsn1 }}
    authorized_keys: [ id_ed25519.pub ]
    modules: {{ iptables: true }}
    tunnel: {{ via: edge, hostname: ssh-web1.example.com, close_ssh: true }}
",
        fake.url(),
        cloud.url(),
    );
    environment.write("ostler.yaml", &spec);
    environment
}

#[test]
fn what_a_tunnel_lacks_is_found_before_a_server_is_made() {
    let cloud = FakeCloud::on_a_thread(Arc::new(Records::default())).expect("a cloud");
    let fake = FakeCloudflare::on_a_thread([127, 0, 0, 1].into()).expect("an edge");
    let environment = environment(&cloud, &fake);
    let plan = environment.run(&["plan", "ostler.yaml", "--output", "json"]).ok().json_lines();
    let tunnel = plan[0][0]["actions"].as_array().expect("a list").last().expect("an action").clone();
    assert_eq!((&tunnel["action"], &tunnel["hostname"]), (&"tunnel".into(), &"ssh-web1.example.com".into()));
    let changes =
        ["make_tunnel", "make_service_token", "make_application", "set_ingress_rule", "make_record", "close_ssh"];
    assert_eq!(tunnel["changes"], serde_json::json!(changes));
    let looked = environment.run(&["doctor", "ostler.yaml"]).stdout;
    assert!(
        looked.contains("cloudflared version ") && looked.contains("its token may do all that is needed"),
        "{looked}"
    );

    let lacking = fake.token(&["Cloudflare Tunnel Write", "Zone Read"]);
    environment.write("cloudflare", &lacking);
    let missing = "Access: Apps and Policies Write, Access: Service Tokens Write, DNS Write";
    let looked = environment.run(&["doctor", "ostler.yaml"]);
    assert_eq!(looked.code, 4);
    assert!(looked.stdout.contains(missing), "{}", looked.stdout);
    let refused = environment.run(&["up", "ostler.yaml"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains(missing), "{}", refused.stderr);

    environment.write("cloudflare", TOKEN);
    fs::remove_file(environment.programs().join("cloudflared")).expect("it was there");
    for arguments in [&["up", "ostler.yaml"][..], &["doctor", "ostler.yaml"]] {
        let refused = environment.run(arguments);
        assert_eq!(refused.code, 4, "{}", refused.stderr);
        let said = refused.stdout + &refused.stderr;
        assert!(said.contains("a login through a tunnel needs the program `cloudflared`"), "{said}");
        assert!(said.contains("https://pkg.cloudflare.com"), "{said}");
    }
    assert!(cloud.resources("servers").is_empty() && cloud.requests_for("POST /servers").is_empty());
    assert!(fake.resources("tunnels").is_empty());
}
