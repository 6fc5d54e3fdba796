use crate::support::Client;
use ostler_testkit::cloudflare::Fault;
use serde_json::{Value, json};

#[tokio::test]
async fn a_token_may_do_what_it_is_allowed_and_nothing_else() {
    let mut client = Client::start().await;
    assert_eq!(client.done("GET", "user/tokens/verify", Value::Null).await["status"], "active");
    client.with_token(client.fake.token(&["Cloudflare Tunnel Read", "DNS Write"]));
    let own = client.done("GET", "user/tokens/verify", Value::Null).await["id"].as_str().unwrap().to_owned();
    assert_eq!(client.refused("GET", &format!("user/tokens/{own}"), Value::Null).await, (403, 10000));
    assert_eq!(client.done("GET", "ACCOUNT/cfd_tunnel", Value::Null).await, json!([]));
    assert_eq!(client.refused("POST", "ACCOUNT/cfd_tunnel", json!({ "name": "a" })).await, (403, 10000));
    assert_eq!(client.refused("GET", "ACCOUNT/access/apps", Value::Null).await, (403, 10000));
    assert_eq!(client.done("GET", "zones", Value::Null).await, json!([]), "zones that it may not see are missing");
    assert_eq!(client.refused("GET", "accounts/ffff/cfd_tunnel", Value::Null).await, (403, 10000));
    client.with_token("nonsense".to_owned());
    assert_eq!(client.refused("GET", "user/tokens/verify", Value::Null).await, (401, 1000));
    assert_eq!(client.refused("GET", "zones", Value::Null).await, (403, 9109));
}

#[tokio::test]
async fn tunnels_have_unique_names_and_whole_configurations() {
    let client = Client::start().await;
    let id = client.tunnel("first").await;
    let path = format!("ACCOUNT/cfd_tunnel/{id}");
    assert_eq!(client.refused("POST", "ACCOUNT/cfd_tunnel", json!({ "name": "first" })).await, (409, 1013));
    assert_eq!(client.refused("POST", "ACCOUNT/cfd_tunnel", json!({ "nam": "second" })).await, (400, 1004));
    let configurations = format!("{path}/configurations");
    assert!(client.done("GET", &configurations, Value::Null).await["config"].is_null(), "none at first");
    let put =
        async |ingress: Value| client.call("PUT", &configurations, json!({ "config": { "ingress": ingress } })).await;
    let (status, body) = put(json!([{ "hostname": "a.example.com", "service": "ssh://localhost:22" }])).await;
    assert_eq!((status, &body["errors"][0]["code"]), (400, &json!(1056)), "the last rule must catch everything");
    let rest = json!({ "service": "http_status:404" });
    assert_eq!(put(json!([{ "hostname": "a.example.com", "service": "ssh://localhost:22" }, rest])).await.0, 200);
    assert_eq!(put(json!([rest])).await.0, 200);
    let config = client.done("GET", &configurations, Value::Null).await;
    assert_eq!((&config["version"], &config["config"]["ingress"]), (&json!(2), &json!([rest])), "it replaces all");
    client.done("DELETE", &path, Value::Null).await;
    let listed = client.done("GET", "ACCOUNT/cfd_tunnel?name=first&is_deleted=false", Value::Null).await;
    assert_eq!(listed, json!([]));
    client.tunnel("first").await;
}

#[tokio::test]
async fn a_host_has_one_record() {
    let client = Client::start().await;
    let records = format!("{}/dns_records", client.zone().await);
    let record =
        |content: &str| json!({ "name": "ssh", "type": "CNAME", "content": content, "ttl": 1, "proxied": true });
    let made = client.done("POST", &records, record("a.example.net")).await;
    assert_eq!(made["name"], "ssh.example.com");
    assert_eq!(client.refused("POST", &records, record("a.example.net")).await, (400, 81058));
    assert_eq!(client.refused("POST", &records, record("b.example.net")).await, (400, 81053));
    let own = format!("{records}/{}", made["id"].as_str().unwrap());
    let patched = client.done("PATCH", &own, record("b.example.net")).await;
    assert_eq!(patched["content"], "b.example.net");
    assert_eq!(client.done("GET", &format!("{records}?name=ssh.example.com"), Value::Null).await[0], patched);
    client.done("DELETE", &own, Value::Null).await;
    assert_eq!(client.refused("GET", &own, Value::Null).await, (404, 81044));
}

#[tokio::test]
async fn faults_hit_one_request_each() {
    let client = Client::start().await;
    client.fake.fail("GET /zones", Fault::Error(429, 971));
    assert_eq!(client.refused("GET", "zones", Value::Null).await, (429, 971));
    client.done("GET", "zones", Value::Null).await;
}
