//! Tokens, limits, and what goes wrong on demand.

use crate::client::{Client, refusal};
use ostler_testkit::hcloud::{ActionFault, Fault, READ_ONLY_TOKEN, TOKEN};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_token_may_read_write_or_nothing() {
    let mut client = Client::start().await;
    client.with_token(READ_ONLY_TOKEN);
    client.get("/servers").await;
    let network = json!({ "name": "n", "ip_range": "10.0.0.0/16" });
    assert_eq!(client.refused("POST", "/networks", network).await, refusal(401, "token_readonly"));
    client.with_token("nobody's");
    assert_eq!(client.refused("GET", "/servers", Value::Null).await, refusal(401, "unauthorized"));
    client.with_token(TOKEN);
    let broken = client.send("POST", "/networks", "{".to_owned()).await.unwrap();
    assert_eq!((broken.status, broken.code()), (400, "json_error"));
}

#[tokio::test]
async fn requests_are_counted_and_the_refusal_tells_half_of_the_token() {
    let client = Client::start().await;
    client.cloud.rate_limit(3600, 2);
    let first = client.call("GET", "/servers", Value::Null).await;
    assert_eq!((first.header("RateLimit-Limit"), first.header("RateLimit-Remaining")), ("3600", "1"));
    assert!(first.header("RateLimit-Reset").parse::<u64>().is_ok_and(|time| time > 1_700_000_000));
    client.get("/servers").await;
    let refused = client.call("GET", "/servers", Value::Null).await;
    assert_eq!(
        (refused.status, refused.code(), refused.header("RateLimit-Remaining")),
        (429, "rate_limit_exceeded", "0")
    );
    let message = refused.body["error"]["message"].as_str().unwrap();
    assert!(message.contains(&TOKEN[..32]) && !message.contains(TOKEN), "{message}");
    // They come back with time: here a thousand a second.
    client.cloud.rate_limit(3_600_000, 0);
    while client.call("GET", "/servers", Value::Null).await.status == 429 {}
}

#[tokio::test]
async fn requests_fail_on_demand() {
    let client = Client::start().await;
    client.cloud.fail("GET /servers", Fault::Nothing);
    client.cloud.fail_times("GET /servers", 2, Fault::Error("bad_gateway", "try again"));
    for code in ["timeout", "precondition_failed", "service_error", "conflict"] {
        client.cloud.fail("GET /servers", Fault::Error(code, "on demand"));
    }
    client.get("/servers").await;
    client.get("/networks").await;
    for (status, code) in [
        (502, "bad_gateway"),
        (502, "bad_gateway"),
        (504, "timeout"),
        (412, "precondition_failed"),
        (422, "service_error"),
        (409, "conflict"),
    ] {
        assert_eq!(client.refused("GET", "/servers", Value::Null).await, refusal(status, code));
    }
    client.get("/servers").await;

    let network = |name: &str| json!({ "name": name, "ip_range": "10.0.0.0/16" }).to_string();
    let stalls = |body| async {
        tokio::time::timeout(Duration::from_millis(200), client.send("POST", "/networks", body)).await.is_err()
    };
    client.cloud.fail("POST /networks", Fault::Drop);
    assert!(client.send("POST", "/networks", network("dropped")).await.is_err());
    client.cloud.fail("POST /networks", Fault::ActAndDrop);
    assert!(client.send("POST", "/networks", network("made and dropped")).await.is_err());
    client.cloud.fail("POST /networks", Fault::Stall);
    assert!(stalls(network("stalled")).await);
    client.cloud.fail("POST /networks", Fault::ActAndStall);
    assert!(stalls(network("made and stalled")).await);
    let made = client.cloud.resources("networks");
    let made: Vec<&str> = made.values().filter_map(|network| network["name"].as_str()).collect();
    assert_eq!(made, ["made and dropped", "made and stalled"]);
    assert_eq!(client.cloud.requests_for("POST /networks").len(), 4);
}

#[tokio::test]
async fn actions_run_fail_and_are_held_on_demand() {
    let client = Client::start().await;
    client.cloud.fail_action("create_server", ActionFault::Held);
    let body = json!({ "name": "web1", "server_type": "cx23", "image": "debian-13", "location": "fsn1" });
    let made = client.post("/servers", body).await;
    assert_eq!((&made["server"]["status"], &made["server"]["locked"]), (&json!("initializing"), &json!(true)));
    assert_eq!(
        (&made["action"]["status"], &made["next_actions"][0]["command"]),
        (&json!("running"), &json!("start_server"))
    );
    let id = made["server"]["id"].as_u64().unwrap();
    let off = format!("/servers/{id}/actions/poweroff");
    assert_eq!(client.refused("POST", &off, Value::Null).await, refusal(423, "locked"));
    assert_eq!(client.refused("DELETE", &format!("/servers/{id}"), Value::Null).await, refusal(423, "locked"));
    client.cloud.release();
    let started = client.over(&made["next_actions"][0]).await;
    assert_eq!((&started["status"], &started["progress"]), (&json!("success"), &json!(100)));
    assert_eq!(client.shown(id).await["status"], "running");
    let ids = format!("/actions?id={}&id={}", made["action"]["id"], started["id"]);
    assert_eq!(client.get(&ids).await["actions"].as_array().unwrap().len(), 2);
    assert_eq!(client.refused("GET", "/actions", Value::Null).await, refusal(422, "invalid_input"));
    assert_eq!(client.get(&format!("/servers/{id}/actions?sort=id:desc")).await["actions"][0]["id"], started["id"]);

    client.cloud.fail_action("stop_server", ActionFault::Error("action_failed", "no power"));
    let stopped = client.over(&client.post(&off, Value::Null).await["action"]).await;
    assert_eq!((&stopped["status"], &stopped["error"]["message"]), (&json!("error"), &json!("no power")));
    assert!(client.machines.ids() == [id] && client.cloud.resources("servers").len() == 1);

    client.cloud.lock_for_good(id);
    assert_eq!(client.refused("POST", &off, Value::Null).await, refusal(423, "resource_locked"));
}
