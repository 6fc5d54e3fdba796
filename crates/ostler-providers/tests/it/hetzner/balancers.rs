//! Load balancers, and the servers behind them.

use super::lab::{IMPATIENT, Lab, provider, said};
use crate::support::Log;
use ostler_core::{
    Result,
    ids::ServerName,
    model::{MachineOrder, MachineRecord},
    ports::{Balancing, Lifecycle, Pricing, Reshaping},
    spec::{
        HetznerAddress, HetznerBalancer, HetznerHealth, HetznerHttpCheck, HetznerNetwork, HetznerService,
        ProviderOptions, Size,
    },
};
use ostler_testkit::hcloud::{ActionFault, Fault, TOKEN};
use serde_json::{Value, json};
use std::time::Duration;

const ANY: Size = Size { cpus: 1, memory: 0, disk: 0 };

fn service(listen: u16, to: u16) -> HetznerService {
    let health = HetznerHealth { port: to, http: None, interval: 15, timeout: 10, retries: 3 };
    HetznerService { http: false, listen, to, proxy_protocol: false, health }
}

fn front(services: &[HetznerService]) -> HetznerBalancer {
    HetznerBalancer {
        name: "front".into(),
        balancer_type: "lb11".into(),
        location: "fsn1".into(),
        network: None,
        services: services.to_vec(),
    }
}

fn behind(lab: &Lab, balancer: Option<HetznerBalancer>) -> ProviderOptions {
    lab.order_with(|options| options.load_balancer = balancer).options
}

/// The only load balancer.
fn balancer(lab: &Lab) -> Value {
    let all = lab.cloud.resources("load_balancers");
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_values().next().unwrap()
}

/// Ids of the servers behind it.
fn targets(balancer: &Value) -> Vec<u64> {
    balancer["targets"].as_array().unwrap().iter().map(|target| target["server"]["id"].as_u64().unwrap()).collect()
}

/// A server that runs; it is behind no load balancer yet.
async fn made(lab: &Lab, name: &str, options: &ProviderOptions, like: Option<&MachineOrder>) -> MachineOrder {
    let mut order = MachineOrder { server: ServerName::parse(name).unwrap(), options: options.clone(), ..lab.order() };
    if let Some(like) = like {
        order.owner = like.owner;
    }
    let machine = lab.create(&mut order).await.unwrap();
    order.found = Some(lab.provider.start(&machine, &lab.log).await.unwrap());
    order
}

fn record(order: &MachineOrder) -> &MachineRecord {
    order.found.as_ref().unwrap()
}

/// As `up` does once the server is proved; what was kept is found by the next one also where this fails.
async fn join(lab: &Lab, order: &mut MachineOrder, options: &ProviderOptions) -> Result<()> {
    let log = Log::default();
    let joined = lab.provider.join(record(order), options, &log, &lab.log).await;
    order.found = joined.as_ref().ok().cloned().or(log.kept()).or(order.found.take());
    order.options = options.clone();
    joined.map(drop)
}

/// What a plan says of it.
async fn look(lab: &Lab, order: &MachineOrder, options: &ProviderOptions) -> (Vec<String>, Vec<String>) {
    let reshape = lab.provider.preflight_reshape(record(order), ANY, options).await.unwrap();
    assert!(reshape.changes.is_empty(), "nothing for which it must be off");
    (reshape.adjustments, reshape.findings.into_iter().map(|finding| finding.message).collect())
}

#[tokio::test]
async fn one_comes_with_its_first_server_and_goes_with_its_last() {
    let lab = Lab::new().await;
    let options = behind(&lab, Some(front(&[service(443, 8443)])));
    let mut planned = lab.order();
    planned.options = options.clone();
    let price = lab.provider.price(&planned).await.unwrap().unwrap();
    assert_eq!(
        price.to_string(),
        "4.75 EUR a month (3.99 without VAT) for cx23 in fsn1, and 6.41 EUR a month (5.39 without VAT) for the load balancer front, \
         which its servers share"
    );
    assert_eq!(lab.findings(&planned).await, [""; 0]);
    let mut one = made(&lab, "web1", &options, None).await;
    assert!(!lab.left().contains_key("load_balancers"), "nobody is sent to a server that is half made");
    assert_eq!(
        look(&lab, &one, &options).await.0,
        ["load balancer front made (lb11 in fsn1, 6.41 EUR a month (5.39 without VAT))", "behind load balancer front"]
    );
    join(&lab, &mut one, &options).await.unwrap();
    let first = balancer(&lab);
    let id = |name: &str| lab.cloud.resources("servers").into_iter().find(|(_, it)| it["name"] == name).unwrap().0;
    assert_eq!(targets(&first), [id("web1")]);
    assert_eq!(
        (&first["labels"]["ostler/state"], &first["labels"]["ostler/role"]),
        (&json!(one.owner), &json!("load-balancer"))
    );
    let ip = first["public_net"]["ipv4"]["ip"].as_str().unwrap();
    let notice = lab.log.notices().pop().unwrap();
    assert!(notice.starts_with(&format!("web1 is behind the load balancer front ({ip}, ")), "{notice}");
    let detail = lab.observe(record(&one)).await.detail;
    assert!(detail.contains(&format!(", behind front ({ip}, ")) && detail.ends_with(", healthy"), "{detail}");
    lab.cloud.health("web1", "unhealthy");
    let detail = lab.observe(record(&one)).await.detail;
    assert!(detail.ends_with("), unhealthy on 443"), "{detail}");

    // Doing it again changes nothing.
    let requests = lab.cloud.requests().len();
    join(&lab, &mut one, &options).await.unwrap();
    assert!(lab.cloud.requests()[requests..].iter().all(|seen| seen.endpoint.starts_with("GET ")));
    assert_eq!(look(&lab, &one, &options).await, (vec![], vec![]));

    let mut two = made(&lab, "web2", &options, Some(&one)).await;
    assert_eq!(look(&lab, &two, &options).await.0, ["behind load balancer front"]);
    join(&lab, &mut two, &options).await.unwrap();
    assert_eq!(targets(&balancer(&lab)), [id("web1"), id("web2")]);

    // The first one goes: out of the targets, then away.
    for _ in 0..2 {
        lab.provider.leave(record(&one)).await.unwrap();
    }
    assert_eq!(targets(&balancer(&lab)), [id("web2")]);
    lab.provider.remove(&one).await.unwrap();
    assert_eq!(balancer(&lab)["id"], first["id"]);
    let marked = lab.provider.marked(&options).await.unwrap();
    let row = marked.iter().find(|it| it.what.starts_with("load balancer ")).unwrap();
    assert!(row.what.ends_with(" front at Hetzner (lb11 in fsn1)"), "{}", row.what);
    assert_eq!(
        (row.in_use, row.price.as_ref().unwrap().to_string().as_str()),
        (true, "6.41 EUR a month (5.39 without VAT)")
    );
    lab.provider.leave(record(&two)).await.unwrap();
    lab.provider.remove(&two).await.unwrap();
    assert_eq!(lab.left(), [].into());
}

#[tokio::test]
async fn services_checks_and_type_change_while_it_runs() {
    let lab = Lab::new().await;
    let old = behind(&lab, Some(front(&[service(80, 80), service(443, 443)])));
    let mut order = made(&lab, "web1", &old, None).await;
    join(&lab, &mut order, &old).await.unwrap();
    let mut checked = service(443, 8443);
    checked.proxy_protocol = true;
    checked.health.http =
        Some(HetznerHttpCheck { path: "/ping".into(), domain: Some("example.org".into()), tls: true });
    let mut wanted = front(&[checked, service(25, 25)]);
    wanted.balancer_type = "lb21".into();
    let new = behind(&lab, Some(wanted.clone()));
    assert_eq!(
        look(&lab, &order, &new).await.0,
        [
            "load balancer front: port 80 removed",
            "load balancer front lb11 -> lb21 (19.52 EUR a month (16.40 without VAT))",
            "load balancer front: port 443 changed",
            "load balancer front: port 25 added",
        ]
    );
    // An answer is lost, and one is refused for a while.
    lab.cloud.fail("POST /load_balancers/{id}/actions/add_service", Fault::ActAndDrop);
    lab.cloud.fail("POST /load_balancers/{id}/actions/change_type", Fault::ActAndDrop);
    lab.cloud
        .fail("POST /load_balancers/{id}/actions/update_service", Fault::Error("locked", "load balancer is locked"));
    join(&lab, &mut order, &new).await.unwrap();
    assert_eq!(look(&lab, &order, &new).await, (vec![], vec![]));
    let has = balancer(&lab);
    assert_eq!((&has["load_balancer_type"]["name"], has["services"].as_array().unwrap().len()), (&json!("lb21"), 2));
    let shown = &has["services"][0];
    assert_eq!(
        (&shown["destination_port"], &shown["proxyprotocol"], &shown["health_check"]["http"]["path"]),
        (&json!(8443), &json!(true), &json!("/ping"))
    );
    // Back to a check by TCP, of which the vendor may keep what it asked for before.
    let back = behind(&lab, Some(HetznerBalancer { services: vec![service(443, 8443)], ..wanted.clone() }));
    join(&lab, &mut order, &back).await.unwrap();
    assert_eq!(look(&lab, &order, &back).await, (vec![], vec![]));

    // What can't be changed is refused with what to do.
    let moved =
        behind(&lab, Some(HetznerBalancer { location: "hel1".into(), network: Some("inner".into()), ..wanted }));
    assert_eq!(
        look(&lab, &order, &moved).await.1,
        [
            "the load balancer `front` is in fsn1, and can't be moved",
            "the load balancer `front` reaches its servers by another network than its `network` says",
        ]
    );
    let unknown = HetznerBalancer { balancer_type: "lb99".into(), location: "mars1".into(), ..front(&[]) };
    let mut planned = lab.order();
    planned.server = ServerName::parse("web2").unwrap();
    planned.options = behind(&lab, Some(HetznerBalancer { name: "other".into(), ..unknown }));
    assert_eq!(
        lab.findings(&planned).await,
        ["Hetzner has no load balancer type `lb99`", "Hetzner has no location `mars1`"]
    );
}

#[tokio::test]
async fn the_spec_names_another_one_or_none() {
    let lab = Lab::new().await;
    let old = behind(&lab, Some(front(&[service(443, 443)])));
    let new = behind(&lab, Some(HetznerBalancer { name: "other".into(), ..front(&[service(443, 443)]) }));
    let mut order = made(&lab, "web1", &old, None).await;
    join(&lab, &mut order, &old).await.unwrap();
    let changes = look(&lab, &order, &new).await.0;
    assert_eq!(changes[0], "no longer behind load balancer front, which is removed");
    // Cut off after each change: what is left to do is found.
    lab.cloud.fail_action("delete_load_balancer", ActionFault::Error("server_error", "broken"));
    join(&lab, &mut order, &new).await.unwrap_err();
    assert_eq!(targets(&balancer(&lab)), [0; 0]);
    lab.cloud.fail_times("POST /load_balancers", 2, Fault::ActAndDrop);
    join(&lab, &mut order, &new).await.unwrap();
    assert_eq!(balancer(&lab)["name"], "other", "no twin, and nothing of the old one");
    let none = behind(&lab, None);
    assert_eq!(look(&lab, &order, &none).await.0, ["no longer behind load balancer other, which is removed"]);
    join(&lab, &mut order, &none).await.unwrap();
    assert!(!lab.left().contains_key("load_balancers"));
    assert_eq!(look(&lab, &order, &none).await, (vec![], vec![]));
}

#[tokio::test]
async fn it_reaches_its_servers_by_a_private_network() {
    let lab = Lab::new().await;
    let options = lab
        .order_with(|options| {
            options.network = Some(HetznerNetwork { name: "inner".into(), range: "10.0.0.0/16".parse().unwrap() });
            options.ipv4 = HetznerAddress::None;
            let balancer = HetznerBalancer { network: Some("inner".into()), ..front(&[service(443, 443)]) };
            options.load_balancer = Some(HetznerBalancer { location: "ash".into(), ..balancer });
        })
        .options;
    let mut order = made(&lab, "web1", &options, None).await;
    // Its zone has no subnet yet.
    join(&lab, &mut order, &options).await.unwrap();
    let has = balancer(&lab);
    assert_eq!((&has["targets"][0]["use_private_ip"], has["private_net"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(look(&lab, &order, &options).await, (vec![], vec![]));
    lab.provider.leave(record(&order)).await.unwrap();
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.left(), [].into(), "the network goes after what is in it");
}

#[tokio::test]
async fn that_of_somebody_else_is_refused_and_untouched() {
    let lab = Lab::new().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().post(format!("{}/load_balancers", lab.cloud.url())).bearer_auth(TOKEN);
    let body = json!({ "name": "front", "load_balancer_type": "lb11", "location": "fsn1" });
    assert!(request.body(body.to_string()).send().await.unwrap().status().is_success());
    let theirs = balancer(&lab);
    let options = behind(&lab, Some(front(&[service(443, 443)])));
    let mut planned = lab.order();
    planned.options = options.clone();
    let says = "the project has a load balancer `front` already, which Ostler did not make for this state";
    assert_eq!(lab.findings(&planned).await, [says]);
    // One that came after the plan.
    let mut order = made(&lab, "web1", &behind(&lab, None), None).await;
    assert_eq!(look(&lab, &order, &options).await.1, [says]);
    assert_eq!(said(&join(&lab, &mut order, &options).await.unwrap_err()), says);
    lab.provider.leave(record(&order)).await.unwrap();
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(balancer(&lab), theirs);
}

/// Every request that changes a load balancer here.
const CHANGES: [&str; 5] = [
    "POST /load_balancers",
    "POST /load_balancers/{id}/actions/add_target",
    "POST /load_balancers/{id}/actions/remove_target",
    "POST /load_balancers/{id}/actions/add_service",
    "DELETE /load_balancers/{id}",
];

/// Killed while any of them is under way, carried out or not, another Ostler goes on with what was kept: there is no twin, and no orphan.
#[tokio::test]
async fn killed_at_each_request_and_gone_on_with() {
    for endpoint in CHANGES {
        for fault in [Fault::Stall, Fault::ActAndStall] {
            let case = format!("{endpoint} ({fault:?})");
            let lab = Lab::new().await;
            let one = behind(&lab, Some(front(&[service(443, 443)])));
            let two = behind(&lab, Some(front(&[service(443, 443), service(80, 80)])));
            let mut order = made(&lab, "web1", &one, None).await;
            lab.cloud.fail(endpoint, fault.clone());
            // The phase that sends the request is cut off there, and done again by the next process.
            let mut struck = false;
            for phase in 0..4 {
                for _ in 0..2 {
                    // A process of its own knows nothing but the record.
                    let lab = &lab;
                    let process = provider(&lab.dir, TOKEN, IMPATIENT);
                    let log = Log::default();
                    let work = async {
                        match phase {
                            0 => process.join(record(&order), &one, &log, &lab.log).await.map(Some),
                            1 => process.join(record(&order), &two, &log, &lab.log).await.map(Some),
                            2 => process.leave(record(&order)).await.map(|()| None),
                            _ => process.remove(&order).await.map(|()| None),
                        }
                    };
                    let cut = async {
                        while struck || lab.cloud.requests_for(endpoint).is_empty() {
                            tokio::time::sleep(Duration::from_millis(2)).await; // awaits the condition above
                        }
                    };
                    let done = tokio::select! {
                        done = work => Some(done.unwrap_or_else(|failure| panic!("{case}: {failure:?}"))),
                        () = cut => None,
                    };
                    let is_done = done.is_some();
                    order.found = done.flatten().or(log.kept()).or(order.found.take());
                    if is_done {
                        break;
                    }
                    struck = true;
                }
                if phase < 2 {
                    let has = balancer(&lab);
                    assert_eq!(
                        (targets(&has).len(), has["services"].as_array().unwrap().len()),
                        (1, phase + 1),
                        "{case}"
                    );
                }
            }
            assert!(struck, "{case} did not happen");
            assert_eq!(lab.left(), [].into(), "{case}");
        }
    }
}
