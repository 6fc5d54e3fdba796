//! A server's life.

use super::lab::{Lab, said, tcp};
use ostler_core::{
    model::{MachineRecord, Power},
    ports::{Fence, Lifecycle, Pricing, Provider, Rebuilding, Reshaping, Volumes},
    spec::{HetznerAddress, HetznerNetwork, HetznerOptions, HetznerVolume, ImageRef, ProviderOptions, Size},
};
use ostler_testkit::hcloud::{READ_ONLY_TOKEN, TOKEN};
use serde_json::json;
use std::time::Duration;

const ANY: Size = Size { cpus: 1, memory: 0, disk: 0 };

#[tokio::test]
async fn a_server_lives_from_creation_to_removal() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    assert_eq!(lab.findings(&order).await, [""; 0]);
    let machine = lab.create(&mut order).await.unwrap();
    let seen = lab.observe(&machine).await;
    assert_eq!((seen.power, seen.ssh), (Power::Off, None), "{}", seen.detail);
    let server = lab.server();
    let labels = &server["labels"];
    assert_eq!(
        (&labels["ostler/operation"], &labels["ostler/state"], &labels["ostler/server"], &labels["ostler/role"]),
        (&json!(order.operation), &json!(order.owner), &json!("web1"), &json!("server"))
    );
    let made = lab.machines.machine(server["id"].as_u64().unwrap()).unwrap();
    assert_eq!((made.user_data.as_str(), made.root_password), (order.seed.user_data.as_str(), None));
    assert_eq!(made.public_keys.len(), 1, "without a key the vendor makes a password");

    let machine = lab.provider.start(&machine, &lab.log).await.unwrap();
    let machine = lab.provider.start(&machine, &lab.log).await.unwrap();
    assert_eq!(lab.cloud.requests_for("POST /servers/{id}/actions/poweron").len(), 1, "one that runs is left alone");
    let seen = lab.observe(&machine).await;
    assert_eq!((seen.power, seen.ssh), (Power::On, Some("198.18.0.1:22".parse().unwrap())));
    assert!(seen.detail.ends_with("cx23 in fsn1"), "{}", seen.detail);
    let moved = lab.provider.route_ssh(&machine, 2222).await.unwrap();
    assert_eq!(lab.observe(&moved).await.ssh, Some("198.18.0.1:2222".parse().unwrap()));
    lab.provider.scrub_seed(&machine).await.unwrap();

    lab.provider.stop(&machine, Duration::from_secs(1)).await.unwrap();
    assert_eq!(lab.observe(&machine).await.power, Power::Off);
    lab.provider.start(&machine, &lab.log).await.unwrap();
    lab.machines.make_deaf(server["id"].as_u64().unwrap());
    lab.provider.stop(&machine, Duration::from_millis(50)).await.unwrap();
    lab.provider.stop(&machine, Duration::ZERO).await.unwrap();
    assert_eq!(lab.observe(&machine).await.power, Power::Off, "a guest that does not heed the button loses its power");

    let left = lab.provider.left(&order).await;
    assert!(left.len() == 3 && left[0].contains("web1 at Hetzner (cx23 in fsn1)"), "{left:?}");
    lab.provider.remove(&order).await.unwrap();
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.provider.left(&order).await, [""; 0]);
    assert_eq!(lab.observe(&machine).await.power, Power::Absent);
    assert_eq!(lab.left(), [].into());
}

#[tokio::test]
async fn what_outlives_a_server_is_found_by_the_next_one() {
    let lab = Lab::new().await;
    let all = |options: &mut ostler_core::spec::HetznerOptions| {
        options.locations = vec!["nbg1".into(), "fsn1".into()];
        options.network = Some(HetznerNetwork { name: "inner".into(), range: "10.1.0.0/16".parse().unwrap() });
        options.volumes = vec![HetznerVolume { size: Some(20), ..HetznerVolume::raw("data") }];
        options.placement = Some("apart".into());
        options.ipv4 = HetznerAddress::Kept("web".into());
        (options.backups, options.protect) = (true, true);
    };
    let mut order = lab.order_with(all);
    let price = lab.provider.price(&order).await.unwrap().unwrap();
    assert_eq!(price.to_string(), "6.63 EUR a month (5.57 without VAT) for cx23 in nbg1");
    let machine = lab.create(&mut order).await.unwrap();
    // Once more, as after a crash: nothing is made twice.
    assert_eq!(lab.create(&mut order).await.unwrap(), machine);
    let server = lab.server();
    let (id, address) = (server["id"].clone(), server["public_net"]["ipv4"]["ip"].clone());
    assert_eq!(server["location"]["name"], "nbg1");
    assert_eq!(server["private_net"][0]["ip"], "10.1.0.2", "{}", server["private_net"]);
    assert_eq!(server["placement_group"]["name"], "apart");
    assert_eq!((&server["backup_window"], &server["protection"]["delete"]), (&json!("22-02"), &json!(true)));
    let volume = lab.cloud.resources("volumes").into_values().next().unwrap();
    assert_eq!((&volume["server"], &volume["size"], &volume["format"]), (&id, &json!(20), &json!(null)));
    let asked = lab.cloud.requests_for("POST /volumes");
    assert_eq!(asked[0].body["automount"], json!(false), "the vendor mounts nothing");

    lab.provider.remove(&order).await.unwrap();
    assert_eq!(
        lab.left(),
        [("volumes", 1), ("primary_ips", 1)].into(),
        "a protected server goes when Ostler is told to"
    );
    let marked = lab.provider.marked(&order.options).await.unwrap();
    let marked: Vec<_> =
        marked.iter().map(|it| (it.what.split(' ').next().unwrap(), it.in_use, it.price.is_some())).collect();
    assert_eq!(marked, [("volume", false, true), ("Primary", false, true)]);

    // Its volume and its address say where the next server must be.
    let mut again = lab.order_with(|options| {
        all(options);
        options.locations = vec!["fsn1".into(), "nbg1".into()];
    });
    lab.create(&mut again).await.unwrap();
    let server = lab.server();
    assert_eq!((&server["public_net"]["ipv4"]["ip"], &server["location"]["name"]), (&address, &json!("nbg1")));
    assert_eq!(server["volumes"], json!([volume["id"]]));
    let elsewhere = lab.order_with(|options| {
        all(options);
        options.locations = vec!["fsn1".into()];
    });
    let findings = lab.findings(&elsewhere).await;
    assert!(
        findings[0].starts_with("volume `data` is in nbg1, Primary IP `web` is in nbg1: none of cx23"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_key_or_network_of_somebody_else_is_used_and_stays() {
    let lab = Lab::new().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let post = async |path: &str, body: serde_json::Value| {
        let request = http.post(format!("{}{path}", lab.cloud.url())).bearer_auth(ostler_testkit::hcloud::TOKEN);
        let answer = request.body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success());
    };
    post("/ssh_keys", json!({ "name": "mine", "public_key": format!("{} me@desk", super::lab::KEY) })).await;
    let subnet = json!({ "type": "cloud", "network_zone": "eu-central", "ip_range": "10.0.1.0/24" });
    post("/networks", json!({ "name": "inner", "ip_range": "10.0.0.0/16", "subnets": [subnet] })).await;
    post("/placement_groups", json!({ "name": "apart", "type": "spread" })).await;
    let mut order = lab.order_with(|options| {
        options.network = Some(HetznerNetwork { name: "inner".into(), range: "10.9.0.0/16".parse().unwrap() });
        options.placement = Some("apart".into());
    });
    lab.create(&mut order).await.unwrap();
    assert_eq!(lab.server()["private_net"][0]["ip"], "10.0.1.1");
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left(), [("networks", 1), ("placement_groups", 1), ("ssh_keys", 1)].into());
}

#[tokio::test]
async fn a_server_becomes_another_type_and_keeps_its_disk() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    let machine = lab.create(&mut order).await.unwrap();
    let machine = lab.provider.start(&machine, &lab.log).await.unwrap();
    let options = |types: &[&str], locations: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        lab.order_with(|options| (options.types, options.locations) = (words(types), words(locations))).options
    };
    let look = async |types: &[&str], locations: &[&str]| {
        let reshape = lab.provider.preflight_reshape(&machine, ANY, &options(types, locations)).await.unwrap();
        let findings = reshape.findings.into_iter().map(|finding| finding.message);
        (reshape.changes, findings.collect::<Vec<_>>())
    };
    assert_eq!(look(&["cx33", "cx23"], &["hel1", "fsn1"]).await, (vec![], vec![]), "what it is, is allowed");
    assert_eq!(look(&["cx33"], &["fsn1"]).await.0, ["type cx23 -> cx33"]);
    assert_eq!(look(&["cx23"], &["hel1"]).await.1, ["web1 is in fsn1, and a server can't be moved"]);
    assert_eq!(
        look(&["cax11"], &["fsn1"]).await.1,
        ["cx23 can't become cax11: their processors are of different kinds"]
    );

    lab.provider.stop(&machine, Duration::ZERO).await.unwrap();
    let machine = lab.provider.reshape(&machine, ANY, &options(&["cx33"], &["fsn1"])).await.unwrap();
    let machine = lab.provider.start(&machine, &lab.log).await.unwrap();
    let seen = lab.observe(&machine).await;
    assert!(seen.power == Power::On && seen.detail.ends_with("cx33 in fsn1"), "{}", seen.detail);
    assert_eq!(lab.server()["primary_disk_size"], 40, "the way back is open");
}

#[tokio::test]
async fn volumes_backups_protection_and_firewall_change_while_it_runs() {
    let lab = Lab::new().await;
    let volume = |name: &str, size: u32| HetznerVolume { size: Some(size), ..HetznerVolume::raw(name) };
    let mut order = lab.order_with(|options| options.volumes = vec![volume("data", 10), volume("old", 10)]);
    let mut machine = lab.create(&mut order).await.unwrap();
    machine = lab.provider.start(&machine, &lab.log).await.unwrap();
    let options = |change: &dyn Fn(&mut HetznerOptions)| lab.order_with(|options| change(options)).options;
    let look = async |machine: &MachineRecord, options: &ProviderOptions| {
        let reshape = lab.provider.preflight_reshape(machine, ANY, options).await.unwrap();
        assert!(reshape.changes.is_empty(), "nothing for which it must be off");
        (reshape.adjustments, reshape.findings.into_iter().map(|finding| finding.message).collect::<Vec<_>>())
    };
    let none: [&str; 0] = [];
    assert_eq!(look(&machine, &order.options).await, (vec![], vec![]));

    let more = options(&|options| {
        options.volumes = vec![volume("data", 20), volume("new", 10)];
        (options.backups, options.protect, options.firewall) = (true, true, false);
    });
    let (changes, findings) = look(&machine, &more).await;
    assert_eq!(findings, none);
    assert_eq!(
        changes,
        [
            "volume data 10 GB -> 20 GB (1.05 EUR a month (0.88 without VAT))",
            "volume new made and attached (10 GB, 0.52 EUR a month (0.44 without VAT))",
            "volume old detached and kept (10 GB, 0.52 EUR a month (0.44 without VAT))",
            "backups on (0.83 EUR a month (0.70 without VAT))",
            "protection on",
            "firewall of Hetzner off",
            "labels",
        ]
    );
    machine = lab.provider.adjust(&machine, &more, &lab.log).await.unwrap();
    let attached = || {
        let volumes = lab.cloud.resources("volumes").into_values();
        let mut shown: Vec<_> =
            volumes.map(|it| (it["name"].to_string(), it["size"].clone(), !it["server"].is_null())).collect();
        shown.sort_by(|a, b| a.0.cmp(&b.0));
        shown
    };
    let shown = |name: &str, size: u64, on: bool| (format!("\"{name}\""), json!(size), on);
    let all = [shown("data", 20, true), shown("new", 10, true), shown("old", 10, true)];
    assert_eq!(attached(), all, "its system may be using the old one");
    let again = lab.provider.adjust(&machine, &more, &lab.log).await.unwrap();
    assert_eq!(again, machine);
    machine = lab.provider.release(&machine, &more).await.unwrap();
    assert_eq!(attached()[2], shown("old", 10, false));
    assert_eq!(look(&machine, &more).await, (vec![], vec![]));
    let server = lab.server();
    assert_eq!((&server["backup_window"], &server["protection"]["delete"]), (&json!("22-02"), &json!(true)));
    assert_eq!(server["labels"]["ostler/server"], "web1");
    assert!(!lab.left().contains_key("firewalls"), "{:?}", lab.left());

    // Back again; what somebody switched on by hand stays.
    let back = options(&|options| options.volumes = vec![HetznerVolume::raw("data")]);
    let says = "volume new detached and kept (10 GB, 0.52 EUR a month (0.44 without VAT))";
    assert_eq!(
        look(&machine, &back).await.0,
        [says, "backups off, which deletes those that there are", "protection off", "firewall of Hetzner on", "labels"]
    );
    machine = lab.provider.adjust(&machine, &back, &lab.log).await.unwrap();
    lab.provider.admit(&machine, &[tcp(22)]).await.unwrap();
    machine = lab.provider.release(&machine, &back).await.unwrap();
    assert_eq!(look(&machine, &back).await, (vec![], vec![]));
    let server = lab.server();
    assert_eq!(server["public_net"]["firewalls"].as_array().map(Vec::len), Some(1));
    assert_eq!((&server["backup_window"], &server["protection"]["delete"]), (&json!(null), &json!(false)));
    let smaller = options(&|options| options.volumes = vec![volume("data", 10)]);
    assert_eq!(look(&machine, &smaller).await.1, ["the volume `data` has 20 GB, and can't shrink to 10"]);

    let mounts = lab.provider.mounts(&machine, &back).unwrap();
    assert_eq!(mounts, Some(vec![]), "it is a raw device, and the server lets go of what it mounted earlier");
    let kept = lab.provider.kept(&machine).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|it| it.what.split_once(' ').unwrap().1.split_once(' ').unwrap().1).collect();
    assert_eq!(kept, ["data at Hetzner (20 GB)"]);
    lab.provider.stop(&machine, Duration::ZERO).await.unwrap();
    lab.provider.erase(&machine).await.unwrap();
    lab.provider.erase(&machine).await.unwrap();
    assert_eq!(attached(), [shown("new", 10, false), shown("old", 10, false)], "what is not its own any more stays");
}

#[tokio::test]
async fn a_volume_of_somebody_else_is_used_and_stays() {
    let lab = Lab::new().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().post(format!("{}/volumes", lab.cloud.url())).bearer_auth(TOKEN);
    let body = json!({ "name": "theirs", "size": 10, "location": "fsn1" });
    assert!(request.body(body.to_string()).send().await.unwrap().status().is_success());
    let mut order = lab.order_with(|options| options.volumes = vec![HetznerVolume::raw("theirs")]);
    assert_eq!(lab.findings(&order).await, [""; 0]);
    let machine = lab.create(&mut order).await.unwrap();
    assert_eq!(lab.findings(&order).await, [""; 0], "a creation that is gone on with has it already");
    let other = lab.order_with(|options| options.volumes = vec![HetznerVolume::raw("theirs")]);
    let findings = lab.findings(&other).await;
    assert!(findings.contains(&"the volume `theirs` is attached to another server".to_owned()), "{findings:?}");
    lab.provider.stop(&machine, Duration::ZERO).await.unwrap();
    lab.provider.erase(&machine).await.unwrap();
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left(), [("volumes", 1)].into());
}

#[tokio::test]
async fn what_is_not_there_any_more_is_said() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    order.openings = vec![tcp(22)];
    let machine = lab.create(&mut order).await.unwrap();
    lab.provider.remove(&order).await.unwrap();
    let failure = lab.provider.start(&machine, &lab.log).await.unwrap_err();
    assert_eq!(said(&failure), "the server `web1` is not there");
    lab.provider.stop(&machine, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_rebuild_keeps_the_address_and_serves_no_old_seed() {
    let lab = Lab::new().await;
    let mut order = lab.order_with(|options| options.protect = true);
    let machine = lab.create(&mut order).await.unwrap();
    let machine = lab.provider.start(&machine, &lab.log).await.unwrap();
    let moved = lab.provider.route_ssh(&machine, 2222).await.unwrap();
    let before = lab.observe(&machine).await;
    order.found = Some(moved);
    order.seed.user_data = "#cloud-config\n# NEW-KEY\n".into();
    assert_eq!(lab.provider.preflight_rebuild(&order).await.unwrap(), []);
    let rebuilt = lab.provider.rebuild(&order, &lab.log).await.unwrap();
    assert_eq!(lab.observe(&rebuilt).await, before, "a fresh system listens where it did at first");
    let server = lab.server();
    assert_eq!(server["protection"]["rebuild"], true);
    let made = lab.machines.machine(server["id"].as_u64().unwrap()).unwrap();
    assert_eq!(made.user_data, order.seed.user_data);
    order.seed.user_data = "x".repeat((32 << 10) + 1);
    lab.provider.rebuild(&order, &lab.log).await.unwrap_err();
    assert_eq!(lab.cloud.requests_for("POST /servers/{id}/actions/rebuild").len(), 1);

    // What would be refused is said before it is begun.
    order.image_ref = ImageRef::Named("debian-99".into());
    let lab = lab.with_token(READ_ONLY_TOKEN);
    let found = lab.provider.preflight_rebuild(&order).await.unwrap();
    let found: Vec<_> = found.iter().map(|finding| (finding.fatal, finding.message.as_str())).collect();
    let says = ["the token of `hc` may only read", "Hetzner has no image `debian-99` for x86"];
    assert_eq!(found, says.map(|says| (true, says)));
}
