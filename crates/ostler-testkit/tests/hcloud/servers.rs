//! A server's life.

use crate::client::{Client, SSH_KEY, refusal};
use serde_json::{Value, json};

#[tokio::test]
async fn a_server_is_made_with_all_that_it_has() {
    let client = Client::start().await;
    let key = client.post("/ssh_keys", json!({ "name": "key", "public_key": SSH_KEY })).await["ssh_key"]["id"].clone();
    let subnet = json!({ "type": "cloud", "network_zone": "eu-central", "ip_range": "10.0.1.0/24" });
    let network =
        client.post("/networks", json!({ "name": "net", "ip_range": "10.0.0.0/16", "subnets": [subnet] })).await;
    let network = network["network"]["id"].clone();
    let rule = json!({ "direction": "in", "protocol": "tcp", "port": "22", "source_ips": ["0.0.0.0/0", "::/0"] });
    let firewall =
        client.done("POST", "/firewalls", json!({ "name": "fw", "rules": [rule] })).await["firewall"]["id"].clone();
    let volume = client
        .done("POST", "/volumes", json!({ "name": "data", "size": 10, "location": "fsn1", "format": "ext4" }))
        .await;
    let volume = volume["volume"]["id"].clone();
    let group = client.post("/placement_groups", json!({ "name": "apart", "type": "spread" })).await;
    let id = client
        .server_with(
            "web1",
            json!({
                "ssh_keys": ["key", key], "networks": [network], "firewalls": [{ "firewall": firewall }], "volumes": [volume],
                "placement_group": group["placement_group"]["id"], "user_data": "#cloud-config\n", "labels": { "a": "b" },
            }),
        )
        .await;
    let server = client.shown(id).await;
    assert_eq!(server["status"], "running");
    assert_eq!(server["private_net"][0]["ip"], "10.0.1.1");
    assert_eq!((&server["volumes"], &server["placement_group"]["name"]), (&json!([volume]), &json!("apart")));
    assert_eq!(server["public_net"]["firewalls"], json!([{ "id": firewall, "status": "applied" }]));
    assert_eq!(client.get(&format!("/networks/{network}")).await["network"]["servers"], json!([id]));

    let machine = client.machines.machine(id).unwrap();
    assert_eq!((machine.name.as_str(), machine.image.as_str(), machine.cores), ("web1", "debian-13", 2));
    assert_eq!((machine.root_password, machine.ipv4.as_deref()), (None, server["public_net"]["ipv4"]["ip"].as_str()));
    let metadata = |path: &str| reqwest::get(format!("{}/{path}", client.cloud.metadata_url(id)));
    assert_eq!(metadata("userdata").await.unwrap().text().await.unwrap(), "#cloud-config\n");
    assert_eq!(metadata("metadata/hostname").await.unwrap().text().await.unwrap(), "web1");
    let document = metadata("metadata").await.unwrap().text().await.unwrap();
    assert!(document.contains(&format!("instance-id: {id}\n")) && document.contains(SSH_KEY), "{document}");
    assert!(metadata("metadata/private-networks").await.unwrap().text().await.unwrap().contains("ip: 10.0.1.1\n"));
    assert_eq!(metadata("nothing").await.unwrap().status(), 404);

    let (ipv4, ipv6) = (server["public_net"]["ipv4"]["id"].clone(), server["public_net"]["ipv6"]["ip"].clone());
    assert!(ipv6.as_str().is_some_and(|ip| ip.ends_with("::/64")));
    assert_eq!(
        client.refused("DELETE", &format!("/primary_ips/{ipv4}"), Value::Null).await,
        refusal(422, "must_be_unassigned")
    );
    client.done("DELETE", &format!("/servers/{id}"), Value::Null).await;
    assert_eq!(client.refused("GET", &format!("/servers/{id}"), Value::Null).await, refusal(404, "not_found"));
    assert!(client.cloud.resources("primary_ips").is_empty() && client.machines.ids().is_empty());
    assert_eq!(client.get(&format!("/volumes/{volume}")).await["volume"]["server"], Value::Null);
    client.succeed("DELETE", &format!("/firewalls/{firewall}"), Value::Null).await;
}

#[tokio::test]
async fn what_no_server_can_be_is_refused() {
    let client = Client::start().await;
    client.server("web1").await;
    client.cloud.sell_out("cx33", "fsn1");
    let create = |more: Value| {
        let mut body = json!({ "name": "web2", "server_type": "cx23", "image": "debian-13", "location": "fsn1" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.call("POST", "/servers", body)
    };
    for (more, status, code) in [
        (json!({ "name": "web1" }), 409, "uniqueness_error"),
        (json!({ "name": "web_2" }), 422, "invalid_input"),
        (json!({ "server_type": "cx33" }), 412, "resource_unavailable"),
        (json!({ "server_type": "cx22" }), 422, "invalid_input"),
        (json!({ "server_type": "cx99" }), 404, "not_found"),
        (json!({ "location": "ash" }), 422, "invalid_input"),
        (json!({ "ssh_keys": ["nobody"] }), 404, "not_found"),
        (json!({ "user_data": "x".repeat((32 << 10) + 1) }), 422, "invalid_input"),
        (json!({ "datacenter": "fsn1-dc14" }), 422, "invalid_input"),
    ] {
        let answer = create(more.clone()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{more}");
    }
    assert_eq!(client.cloud.resources("servers").len(), 1, "nothing is left of them");
    // Another location has it, and so has no location at all: some that has.
    assert_eq!(create(json!({ "server_type": "cx33", "location": "nbg1" })).await.status, 201);
    let anywhere = create(json!({ "name": "web3", "server_type": "cx33", "location": null })).await;
    assert_eq!(anywhere.fields(), [""; 0], "{}", anywhere.body);
}

#[tokio::test]
async fn power_is_what_the_machine_says() {
    let client = Client::start().await;
    let id = client.server("web1").await;
    let made = client.post(
        "/servers",
        json!({ "name": "web2", "server_type": "cax11", "image": "debian-13", "start_after_create": false }),
    );
    let made = made.await;
    assert!(made["root_password"].is_string(), "there is no key");
    client.over(&made["action"]).await;
    assert_eq!(client.shown(made["server"]["id"].as_u64().unwrap()).await["status"], "off");

    client.machines.make_deaf(id);
    client.act(id, "shutdown", Value::Null).await;
    assert_eq!(client.shown(id).await["status"], "running", "the action succeeds, and the guest does not care");
    client.act(id, "poweroff", Value::Null).await;
    assert_eq!(client.shown(id).await["status"], "off");
    client.act(id, "poweron", Value::Null).await;
    client.act(id, "reset", Value::Null).await;
    client.act(id, "reboot", Value::Null).await;
    client.machines.halt(id);
    assert_eq!(client.shown(id).await["status"], "off", "it went off by itself");
}

#[tokio::test]
async fn a_rebuild_serves_the_old_user_data_unless_there_is_new() {
    let client = Client::start().await;
    let id = client.server_with("web1", json!({ "user_data": "old" })).await;
    client.act(id, "rebuild", json!({ "image": "debian-12" })).await;
    let machine = client.machines.machine(id).unwrap();
    assert_eq!((machine.image.as_str(), machine.user_data.as_str()), ("debian-12", "old"));
    client.act(id, "rebuild", json!({ "image": "debian-13", "user_data": "new" })).await;
    assert_eq!(client.machines.machine(id).unwrap().user_data, "new");
    assert_eq!(client.shown(id).await["status"], "running");

    let half =
        client.call("POST", &format!("/servers/{id}/actions/change_protection"), json!({ "delete": true })).await;
    assert_eq!(half.code(), "invalid_input", "both go together");
    client.act(id, "change_protection", json!({ "delete": true, "rebuild": true })).await;
    let rebuild = format!("/servers/{id}/actions/rebuild");
    assert_eq!(client.refused("POST", &rebuild, json!({ "image": "debian-13" })).await, refusal(423, "protected"));
    assert_eq!(client.refused("DELETE", &format!("/servers/{id}"), Value::Null).await, refusal(423, "protected"));
}

#[tokio::test]
async fn a_server_is_changed_while_it_is_off() {
    let client = Client::start().await;
    let id = client.server("web1").await;
    let path = |verb: &str| format!("/servers/{id}/actions/{verb}");
    let bigger = json!({ "server_type": "cx33", "upgrade_disk": true });
    assert_eq!(client.refused("POST", &path("change_type"), bigger.clone()).await, refusal(422, "server_not_stopped"));
    let group = client.post("/placement_groups", json!({ "name": "apart", "type": "spread" })).await["placement_group"]
        ["id"]
        .clone();
    client.act(id, "poweroff", Value::Null).await;
    client.act(id, "add_to_placement_group", json!({ "placement_group": group })).await;
    client.act(id, "change_type", bigger).await;
    let server = client.shown(id).await;
    assert_eq!((&server["server_type"]["name"], &server["primary_disk_size"]), (&json!("cx33"), &json!(80)));
    assert_eq!((&server["status"], &server["placement_group"]["servers"]), (&json!("running"), &json!([id])));
    client.act(id, "remove_from_placement_group", Value::Null).await;
    client.act(id, "poweroff", Value::Null).await;
    for wanted in ["cx23", "cax21", "cx22", "cpx11"] {
        let refused =
            client.refused("POST", &path("change_type"), json!({ "server_type": wanted, "upgrade_disk": false })).await;
        assert_eq!(refused, refusal(422, "invalid_server_type"), "{wanted}");
    }
    client.act(id, "enable_backup", Value::Null).await;
    assert_eq!(client.shown(id).await["backup_window"], "22-02");
    client.act(id, "disable_backup", Value::Null).await;
    let image = client.act(id, "create_image", json!({ "description": "before" })).await["image"]["id"].clone();
    client.act(id, "rebuild", json!({ "image": image })).await;
    client.act(id, "enable_rescue", json!({ "type": "linux64" })).await;
    client.act(id, "disable_rescue", Value::Null).await;
    client.act(id, "attach_iso", json!({ "iso": "debian-13.1.0-amd64-netinst.iso" })).await;
    client.act(id, "detach_iso", Value::Null).await;
    client.act(id, "reset_password", Value::Null).await;
    client.act(id, "request_console", Value::Null).await;
    let ip = client.shown(id).await["public_net"]["ipv4"]["ip"].clone();
    client.act(id, "change_dns_ptr", json!({ "ip": ip, "dns_ptr": "web1.example.org" })).await;
    assert_eq!(client.shown(id).await["public_net"]["ipv4"]["dns_ptr"], "web1.example.org");
    client.succeed("PUT", &format!("/servers/{id}"), json!({ "name": "web2", "labels": { "a": "b" } })).await;
}

#[tokio::test]
async fn primary_ips_can_outlive_their_server() {
    let client = Client::start().await;
    let kept =
        client.post("/primary_ips", json!({ "name": "kept", "type": "ipv4", "location": "fsn1" })).await["primary_ip"]
            .clone();
    assert_eq!((&kept["assignee_type"], &kept["assignee_id"]), (&json!("unassigned"), &Value::Null));
    let public = json!({ "ipv4": kept["id"], "enable_ipv6": false });
    let elsewhere = json!({ "name": "web0", "server_type": "cx23", "image": "debian-13", "location": "hel1", "public_net": public });
    assert_eq!(client.refused("POST", "/servers", elsewhere).await, refusal(422, "primary_ip_datacenter_mismatch"));
    let id = client.server_with("web1", json!({ "public_net": public })).await;
    let net = client.shown(id).await["public_net"].clone();
    assert_eq!((&net["ipv4"]["ip"], &net["ipv6"]), (&kept["ip"], &Value::Null));
    let ip = format!("/primary_ips/{}", kept["id"]);
    let unassign = format!("{ip}/actions/unassign");
    assert_eq!(client.refused("POST", &unassign, Value::Null).await, refusal(422, "server_not_stopped"));
    client.act(id, "poweroff", Value::Null).await;
    client.done("POST", &unassign, Value::Null).await;
    client.done("POST", &format!("{ip}/actions/assign"), json!({ "assignee_id": id, "assignee_type": "server" })).await;
    let second = client.refused(
        "POST",
        "/primary_ips",
        json!({ "name": "x", "type": "ipv4", "assignee_id": id, "assignee_type": "server" }),
    );
    assert_eq!(second.await, refusal(422, "server_has_ipv4"));
    client.done("DELETE", &format!("/servers/{id}"), Value::Null).await;
    assert_eq!(client.get(&ip).await["primary_ip"]["assignee_type"], "unassigned");
    client.succeed("DELETE", &ip, Value::Null).await;
}
