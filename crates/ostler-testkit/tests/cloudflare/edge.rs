//! The edge, with the stand-in for `cloudflared` at both ends.

use crate::support::Client;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// What the client says of a host name, with these credentials; it ends by itself where it is not let in.
async fn access(folder: &Path, id: &str, secret: &str) -> Output {
    let mut command = tokio::process::Command::new(folder.join("cloudflared"));
    command.args(["access", "ssh", "--hostname", "ssh.example.com"]);
    command.env("TUNNEL_SERVICE_TOKEN_ID", id).env("TUNNEL_SERVICE_TOKEN_SECRET", secret).stdin(Stdio::null());
    command.output().await.expect("python3 runs")
}

#[tokio::test]
async fn a_connection_takes_record_rule_and_service_token() {
    let client = Client::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    client.fake.install_stand_in(folder.path()).expect("the stand-in");
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = service.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-here\r\n").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    });
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said(&access(folder.path(), "", "").await).contains("no such host"));

    let id = client.tunnel("edge").await;
    let tunnel = format!("ACCOUNT/cfd_tunnel/{id}");
    let rules = json!([{ "hostname": "ssh.example.com", "service": format!("ssh://localhost:{port}") }, { "service": "http_status:404" }]);
    client.done("PUT", &format!("{tunnel}/configurations"), json!({ "config": { "ingress": rules } })).await;
    let record = json!({ "name": "ssh.example.com", "type": "CNAME", "content": format!("{id}.cfargotunnel.com"), "ttl": 1, "proxied": true });
    client.done("POST", &format!("{}/dns_records", client.zone().await), record).await;
    assert!(said(&access(folder.path(), "", "").await).contains("no connector"));

    let token = client.done("GET", &format!("{tunnel}/token"), Value::Null).await;
    let file = folder.path().join("token");
    fs::write(&file, token.as_str().unwrap()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut connector = Command::new(folder.path().join("cloudflared"))
        .args(["--no-autoupdate", "tunnel", "run", "--token-file"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while client.fake.connectors() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the connector never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.done("GET", &tunnel, Value::Null).await["status"], "healthy");
    assert_eq!(client.refused("DELETE", &tunnel, Value::Null).await, (400, 1022));
    let open = access(folder.path(), "", "").await;
    assert_eq!(open.stdout, b"SSH-2.0-here\r\n", "without an application it is public: {}", said(&open));

    let pass = client.done("POST", "ACCOUNT/access/service_tokens", json!({ "name": "pass" })).await;
    let policy = json!({ "name": "pass", "decision": "non_identity", "include": [{ "service_token": { "token_id": pass["id"] } }] });
    let app = json!({ "name": "ssh", "type": "self_hosted", "domain": "ssh.example.com", "policies": [policy] });
    client.done("POST", "ACCOUNT/access/apps", app.clone()).await;
    assert_eq!(client.refused("POST", "ACCOUNT/access/apps", app).await, (409, 11010));
    assert!(said(&access(folder.path(), "", "").await).contains("bad handshake"));
    let (id, secret) = (pass["client_id"].as_str().unwrap(), pass["client_secret"].as_str().unwrap());
    assert!(said(&access(folder.path(), id, "wrong").await).contains("bad handshake"));
    let let_in = access(folder.path(), id, secret).await;
    assert_eq!(let_in.stdout, b"SSH-2.0-here\r\n", "{}", said(&let_in));
    let shown = client.done("GET", "ACCOUNT/access/service_tokens", Value::Null).await;
    assert!(shown[0].get("client_secret").is_none(), "it is shown once");
    connector.kill().unwrap();
    connector.wait().unwrap();
}

#[test]
fn the_stand_in_refuses_what_would_show_a_secret_or_update_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("cloudflared");
    fs::write(&program, ostler_testkit::cloudflare::STAND_IN).unwrap();
    fs::write(folder.path().join("token"), "").unwrap();
    fs::set_permissions(folder.path().join("token"), fs::Permissions::from_mode(0o644)).unwrap();
    for (line, word) in [
        ("--no-autoupdate tunnel run --token x", "--token-file"),
        ("tunnel run --token-file token", "--no-autoupdate"),
        ("--no-autoupdate tunnel run --token-file token", "others can read"),
        ("access ssh --hostname a --service-token-secret b", "environment"),
        ("service install x", "does not know"),
    ] {
        let output = Command::new("python3").arg(&program).args(line.split(' ')).current_dir(&folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(word), "{line}: {said}");
    }
}
