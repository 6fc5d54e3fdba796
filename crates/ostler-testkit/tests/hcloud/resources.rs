//! Networks, firewalls, volumes, load balancers and certificates.

use crate::client::{Client, refusal};
use serde_json::{Value, json};

#[tokio::test]
async fn networks_have_subnets_routes_and_servers() {
    let client = Client::start().await;
    for (range, why) in [("8.8.8.0/24", "public"), ("10.0.0.1/16", "host bits"), ("10.0.0.0", "no CIDR")] {
        let answer = client.call("POST", "/networks", json!({ "name": "n", "ip_range": range })).await;
        assert_eq!(answer.fields(), ["ip_range"], "{why}");
    }
    let id =
        client.post("/networks", json!({ "name": "net", "ip_range": "10.0.0.0/16" })).await["network"]["id"].clone();
    let path = format!("/networks/{id}");
    let act = |verb: &str| format!("{path}/actions/{verb}");
    let subnet = json!({ "type": "cloud", "network_zone": "eu-central" });
    let running = client.post(&act("add_subnet"), subnet.clone()).await["action"].clone();
    assert_eq!(client.refused("POST", &act("add_subnet"), subnet.clone()).await, refusal(409, "conflict"));
    client.over(&running).await;
    client.done("POST", &act("add_subnet"), subnet).await;
    let overlapping = json!({ "type": "cloud", "network_zone": "eu-central", "ip_range": "10.0.0.128/25" });
    assert_eq!(client.refused("POST", &act("add_subnet"), overlapping).await, refusal(422, "invalid_input"));
    client.done("POST", &act("add_route"), json!({ "destination": "192.168.0.0/24", "gateway": "10.0.0.5" })).await;
    let network = client.get(&path).await["network"].clone();
    assert_eq!(
        (&network["subnets"][1]["ip_range"], &network["subnets"][1]["gateway"]),
        (&json!("10.0.1.0/24"), &json!("10.0.0.1"))
    );
    client.done("POST", &act("delete_route"), json!({ "destination": "192.168.0.0/24", "gateway": "10.0.0.5" })).await;

    let server = client.server("web1").await;
    client.act(server, "attach_to_network", json!({ "network": id, "ip": "10.0.1.7" })).await;
    let attach = format!("/servers/{server}/actions/attach_to_network");
    assert_eq!(
        client.refused("POST", &attach, json!({ "network": id })).await,
        refusal(422, "server_already_attached")
    );
    let other = client.server("web2").await;
    let attach = format!("/servers/{other}/actions/attach_to_network");
    let taken = client.refused("POST", &attach, json!({ "network": id, "ip": "10.0.1.7" })).await;
    assert_eq!(taken, refusal(422, "ip_not_available"));
    let used = client.refused("POST", &act("delete_subnet"), json!({ "ip_range": "10.0.1.0/24" })).await;
    assert_eq!(used, refusal(422, "service_error"));
    client.act(server, "change_alias_ips", json!({ "network": id, "alias_ips": ["10.0.1.8"] })).await;
    client.act(server, "detach_from_network", json!({ "network": id })).await;
    client.done("POST", &act("delete_subnet"), json!({ "ip_range": "10.0.1.0/24" })).await;
    client.done("POST", &act("change_protection"), json!({ "delete": true })).await;
    assert_eq!(client.refused("DELETE", &path, Value::Null).await, refusal(423, "protected"));
}

#[tokio::test]
async fn firewalls_take_sound_rules_and_are_in_use() {
    let client = Client::start().await;
    let rule = |more: Value| {
        let mut rule = json!({ "direction": "in", "protocol": "tcp", "port": "80", "source_ips": ["0.0.0.0/0"] });
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    for (more, field) in [
        (json!({ "port": null }), "rules[0].port"),
        (json!({ "port": "90-80" }), "rules[0].port"),
        (json!({ "protocol": "icmp" }), "rules[0].port"),
        (json!({ "source_ips": ["10.0.0.1/8"] }), "rules[0].source_ips"),
        (json!({ "source_ips": [] }), "rules[0].source_ips"),
        (json!({ "direction": "out" }), "rules[0].destination_ips"),
        (json!({ "source_ip": ["::/0"] }), "rules[0].source_ip"),
    ] {
        let answer = client.call("POST", "/firewalls", json!({ "name": "fw", "rules": [rule(more.clone())] })).await;
        assert_eq!(answer.fields(), [field], "{more}");
    }
    let server = client.server_with("web1", json!({ "labels": { "role": "web" } })).await;
    let by_id = json!({ "type": "server", "server": { "id": server } });
    let by_label = json!({ "type": "label_selector", "label_selector": { "selector": "role=web" } });
    let made = client.done(
        "POST",
        "/firewalls",
        json!({ "name": "fw", "rules": [rule(json!({ "port": "1-65535" }))], "apply_to": [by_id] }),
    );
    let id = made.await["firewall"]["id"].clone();
    let path = format!("/firewalls/{id}");
    let again =
        client.refused("POST", &format!("{path}/actions/apply_to_resources"), json!({ "apply_to": [by_id] })).await;
    assert_eq!(again, refusal(422, "firewall_already_applied"));
    assert_eq!(client.refused("DELETE", &path, Value::Null).await, refusal(422, "resource_in_use"));
    client.done("POST", &format!("{path}/actions/apply_to_resources"), json!({ "apply_to": [by_label] })).await;
    client.done("POST", &format!("{path}/actions/remove_from_resources"), json!({ "remove_from": [by_id] })).await;
    let managed = client
        .refused("POST", &format!("{path}/actions/remove_from_resources"), json!({ "remove_from": [by_id] }))
        .await;
    assert_eq!(managed, refusal(422, "firewall_managed_by_label_selector"));
    assert_eq!(client.shown(server).await["public_net"]["firewalls"][0]["id"], id);
    let set = client
        .done("POST", &format!("{path}/actions/set_rules"), json!({ "rules": [rule(json!({ "port": "443" }))] }))
        .await;
    assert_eq!(set["actions"].as_array().unwrap().len(), 2, "the rules, and the server");
    assert_eq!(client.get(&path).await["firewall"]["rules"][0]["port"], "443");
    client.done("POST", &format!("{path}/actions/remove_from_resources"), json!({ "remove_from": [by_label] })).await;
    client.succeed("DELETE", &path, Value::Null).await;
}

#[tokio::test]
async fn volumes_grow_and_are_attached_to_one_server() {
    let client = Client::start().await;
    let small = client.call("POST", "/volumes", json!({ "name": "v", "size": 9, "location": "fsn1" })).await;
    assert_eq!(small.fields(), ["size"]);
    let server = client.server("web1").await;
    let made =
        client.done("POST", "/volumes", json!({ "name": "data", "size": 10, "server": server, "format": "xfs" })).await;
    let id = made["volume"]["id"].clone();
    let path = format!("/volumes/{id}");
    let act = |verb: &str| format!("{path}/actions/{verb}");
    let volume = client.get(&path).await["volume"].clone();
    assert_eq!((&volume["server"], &volume["location"]["name"]), (&json!(server), &json!("fsn1")));
    assert_eq!(volume["linux_device"], format!("/dev/disk/by-id/scsi-0HC_Volume_{id}"));
    let second = client.server("web2").await;
    let twice = client.refused("POST", &act("attach"), json!({ "server": second })).await;
    assert_eq!(twice, refusal(422, "volume_already_attached"));
    assert_eq!(client.refused("DELETE", &path, Value::Null).await, refusal(422, "service_error"));
    client.done("POST", &act("resize"), json!({ "size": 20 })).await;
    assert_eq!(client.refused("POST", &act("resize"), json!({ "size": 15 })).await, refusal(422, "invalid_input"));
    client.done("POST", &act("detach"), Value::Null).await;
    let far = client.done("POST", "/volumes", json!({ "name": "far", "size": 10, "location": "hel1" })).await["volume"]
        ["id"]
        .clone();
    let refused = client.refused("POST", &format!("/volumes/{far}/actions/attach"), json!({ "server": server })).await;
    assert_eq!(refused, refusal(422, "invalid_input"));
    client.done("POST", &act("attach"), json!({ "server": second, "automount": false })).await;
    client.done("POST", &act("detach"), Value::Null).await;
    client.succeed("DELETE", &path, Value::Null).await;
}

#[tokio::test]
async fn load_balancers_see_the_health_of_their_targets() {
    let client = Client::start().await;
    let server = client.server_with("web1", json!({ "labels": { "role": "web" } })).await;
    let target = json!({ "type": "server", "server": { "id": server } });
    let made = client
        .done(
            "POST",
            "/load_balancers",
            json!({ "name": "lb", "load_balancer_type": "lb11", "location": "fsn1", "targets": [target],
                "services": [{ "protocol": "tcp", "listen_port": 80, "destination_port": 8080, "proxyprotocol": true,
                    "health_check": { "protocol": "tcp", "port": 8080, "interval": 5, "timeout": 3, "retries": 2 } }] }),
        )
        .await;
    let path = format!("/load_balancers/{}", made["load_balancer"]["id"]);
    let act = |verb: &str| format!("{path}/actions/{verb}");
    let health =
        || async { client.get(&path).await["load_balancer"]["targets"][0]["health_status"][0]["status"].clone() };
    assert_eq!(health().await, "healthy");
    client.cloud.health("web1", "unhealthy");
    assert_eq!(health().await, "unhealthy");
    assert_eq!(
        client.refused("POST", &act("add_target"), target.clone()).await,
        refusal(422, "target_already_defined")
    );
    let private = json!({ "type": "server", "server": { "id": server }, "use_private_ip": true });
    let refused = client.refused("POST", &act("add_target"), private).await;
    assert_eq!(refused, refusal(422, "load_balancer_not_attached_to_network"));
    client.done("POST", &act("remove_target"), target).await;
    let selector = json!({ "type": "label_selector", "label_selector": { "selector": "role=web" } });
    client.done("POST", &act("add_target"), selector).await;
    let found = client.get(&path).await["load_balancer"]["targets"][0]["targets"][0]["server"]["id"].clone();
    assert_eq!(found, server);
    let twice = json!({ "protocol": "tcp", "listen_port": 80, "destination_port": 1, "proxyprotocol": false,
        "health_check": { "protocol": "tcp", "port": 1, "interval": 5, "timeout": 3, "retries": 2 } });
    assert_eq!(client.refused("POST", &act("add_service"), twice).await, refusal(422, "source_port_already_used"));
    client.done("POST", &act("update_service"), json!({ "listen_port": 80, "health_check": { "port": 81 } })).await;
    assert_eq!(client.get(&path).await["load_balancer"]["services"][0]["health_check"]["port"], 81);
    client.done("POST", &act("delete_service"), json!({ "listen_port": 80 })).await;
    client.done("DELETE", &path, Value::Null).await;

    let pem = json!({ "name": "own", "certificate": "-----BEGIN CERTIFICATE-----", "private_key": "key" });
    let certificate = client.post("/certificates", pem).await["certificate"]["id"].clone();
    client
        .done("POST", "/certificates", json!({ "name": "theirs", "type": "managed", "domain_names": ["example.org"] }))
        .await;
    client.succeed("DELETE", &format!("/certificates/{certificate}"), Value::Null).await;
}
