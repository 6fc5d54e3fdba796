//! What every provider keeps to, whatever it works with: the same suite over all of them. A new one gets a test of a few lines here.

use crate::{
    hetzner::lab as hetzner,
    proxmox::lab as proxmox,
    support::{self, Log},
};
use ostler_core::{
    ids::{OperationId, ServerName, StateId},
    model::{MachineOrder, MachineRecord, Marked, Observed, OpenPort, Power, Seed},
    ports::{Lifecycle, Origin, Provider},
    spec::{ExistingOptions, ImageRef, Network, Proto, ProviderOptions, Size},
};
use ostler_providers::existing::ExistingProvider;
use std::{io::Write, net::TcpListener, thread, time::Duration};

/// What stands in the seeds of all labs, and what no record may hold.
const SECRET: &str = "SECRET-KEY";

async fn look(provider: &dyn Provider, machine: &MachineRecord) -> Observed {
    provider.observe(&[machine]).await.unwrap().remove(0)
}

async fn fatal(provider: &dyn Provider, order: &MachineOrder) -> Vec<String> {
    let findings = provider.preflight(order).await.unwrap();
    let fatal: Vec<_> = findings.into_iter().filter(|finding| finding.fatal).collect();
    assert!(fatal.iter().all(|finding| !finding.hints.is_empty()), "each says what to do: {fatal:?}");
    fatal.into_iter().map(|finding| finding.message).collect()
}

/// What holds for records, however they came about.
async fn keeps_records(provider: &dyn Provider, machine: &MachineRecord) {
    let moved = provider.route_ssh(machine, 2222).await.unwrap();
    assert_eq!(provider.route_ssh(&moved, 2222).await.unwrap(), moved, "doing it again changes nothing");
    assert_eq!(look(provider, &moved).await.power, look(provider, machine).await.power);
    assert!(!machine.0.contains(SECRET) && !moved.0.contains(SECRET), "{}", machine.0);
    let other = MachineRecord("of another version".to_owned());
    let failure = provider.observe(&[&other]).await.unwrap_err();
    assert_eq!(failure.blame, ostler_core::Blame::Bug, "{failure:?}");
}

/// The life of a machine that the provider makes; `boots`: it can be switched on here.
async fn makes(provider: &dyn Provider, mut order: MachineOrder, boots: bool) {
    let Origin::Makes(lifecycle) = provider.origin() else { panic!("it makes no machines") };
    let log = Log::default();
    // Of nothing, nothing is left, and a look makes nothing.
    lifecycle.remove(&order).await.unwrap();
    for _ in 0..2 {
        assert_eq!(fatal(provider, &order).await, [""; 0]);
    }
    assert_eq!(marked(provider, &order).await, []);
    assert_eq!(lifecycle.left(&order).await, [""; 0]);

    // What was made is completed, and not made twice.
    let image = lifecycle.image(&order, &log).await.unwrap();
    let machine = lifecycle.create(&order, &image, &log, &log).await.unwrap();
    order.found = log.kept().or(Some(machine.clone()));
    assert_eq!(lifecycle.create(&order, &image, &log, &log).await.unwrap(), machine);
    order.found = Some(machine.clone());
    assert_eq!(fatal(provider, &order).await, [""; 0], "what is ours is in nobody's way");
    assert_eq!(look(provider, &machine).await.power, Power::Off);
    assert!(!lifecycle.left(&order).await.is_empty());
    keeps_records(provider, &machine).await;
    let mark = marked(provider, &order).await;
    assert!(mark.iter().any(|it| it.owner == Some(order.owner)), "{mark:?}");
    if let Some(rebuilding) = provider.rebuilding() {
        for _ in 0..2 {
            let findings = rebuilding.preflight_rebuild(&order).await.unwrap();
            assert!(findings.iter().all(|finding| !finding.fatal), "{findings:?}");
        }
    }
    if let Some(pricing) = provider.pricing() {
        let price = pricing.price(&order).await.unwrap().expect("it could be made");
        assert!(price.gross > 0.0 && !price.currency.is_empty(), "{price:?}");
    }

    let theirs = of_another_state(lifecycle, provider, &order).await;

    // What another operation would have made is none of its business.
    let another = MachineOrder { operation: OperationId::new(), found: None, ..order.clone() };
    lifecycle.remove(&another).await.unwrap();
    assert_eq!(look(provider, &machine).await.power, Power::Off);

    lifecycle.stop(&machine, Duration::ZERO).await.unwrap();
    let machine = if boots { runs(provider, &machine, &log).await } else { machine };
    for _ in 0..2 {
        lifecycle.scrub_seed(&machine).await.unwrap();
    }
    for _ in 0..2 {
        lifecycle.remove(&order).await.unwrap();
    }
    assert_eq!(look(provider, &machine).await.power, Power::Absent);
    assert_eq!(lifecycle.left(&order).await, [""; 0]);
    assert_eq!(marked(provider, &order).await, [], "nothing of it is left");
    assert!(!marked(provider, &theirs).await.is_empty(), "another's is untouched");
    lifecycle.remove(&theirs).await.unwrap();
    assert_eq!(marked(provider, &theirs).await, []);
}

/// What bears the mark of an order's operation. None of it is taken for another state's.
async fn marked(provider: &dyn Provider, order: &MachineOrder) -> Vec<Marked> {
    let lifecycle = provider.origin().lifecycle().expect("it makes machines");
    let mut all = lifecycle.marked(&order.options).await.unwrap();
    assert_eq!(lifecycle.marked(&order.options).await.unwrap(), all, "a look changes nothing");
    all.retain(|it| it.operation == Some(order.operation));
    assert!(all.iter().all(|it| !it.what.is_empty() && it.owner.is_none_or(|owner| owner == order.owner)), "{all:?}");
    all
}

/// A machine that another state has where these are made: its mark says so.
async fn of_another_state(lifecycle: &dyn Lifecycle, provider: &dyn Provider, order: &MachineOrder) -> MachineOrder {
    let log = Log::default();
    let (operation, owner) = (OperationId::new(), StateId::new());
    let server = ServerName::parse("theirs").unwrap();
    let mut order = MachineOrder { server, operation, owner, found: None, ..order.clone() };
    let image = lifecycle.image(&order, &log).await.unwrap();
    let machine = lifecycle.create(&order, &image, &log, &log).await.unwrap();
    order.found = Some(machine);
    let mark = marked(provider, &order).await;
    assert!(mark.iter().any(|it| it.owner == Some(owner)), "{mark:?}");
    order
}

async fn runs(provider: &dyn Provider, machine: &MachineRecord, log: &Log) -> MachineRecord {
    let lifecycle = provider.origin().lifecycle().expect("it makes machines");
    let machine = lifecycle.start(machine, log).await.unwrap();
    assert_eq!(lifecycle.start(&machine, log).await.unwrap(), machine, "one that runs is left alone");
    assert_eq!(look(provider, &machine).await.power, Power::On);
    if let Some(fence) = provider.fence() {
        for openings in [&[OpenPort { port: 22, proto: Proto::Tcp }][..], &[]] {
            fence.admit(&machine, openings).await.unwrap();
            fence.admit(&machine, openings).await.unwrap();
        }
    }
    for _ in 0..2 {
        lifecycle.stop(&machine, Duration::ZERO).await.unwrap();
    }
    assert_eq!(look(provider, &machine).await.power, Power::Off);
    machine
}

#[tokio::test]
async fn local_keeps_to_it() {
    let mut lab = support::Lab::emulated();
    let order = lab.order("web1");
    makes(&lab.provider, order, false).await;
}

#[tokio::test]
async fn proxmox_keeps_to_it() {
    let lab = proxmox::Lab::new().await;
    makes(&lab.provider, lab.order(), true).await;
}

#[tokio::test]
async fn hetzner_keeps_to_it() {
    let lab = hetzner::Lab::new().await;
    makes(&lab.provider, lab.order(), true).await;
}

#[tokio::test]
async fn existing_keeps_to_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().flatten().for_each(|mut it| drop(it.write_all(b"SSH-2.0-test\r\n"))));
    let options = ExistingOptions {
        address: "127.0.0.1".into(),
        port,
        user: "root".into(),
        password: None,
        key: None,
        host_key: None,
    };
    let order = MachineOrder {
        server: ServerName::parse("web1").unwrap(),
        operation: OperationId::new(),
        owner: StateId::new(),
        size: Size { cpus: 1, memory: 1 << 30, disk: 8 << 30 },
        networks: vec![Network::default()],
        image_ref: ImageRef::Named("debian-13".into()),
        template: None,
        seed: Seed::empty(),
        options: ProviderOptions::Existing(options),
        login_key: None,
        openings: Vec::new(),
        found: None,
    };
    let provider = ExistingProvider;
    // So it has nothing either that could be left or found: only what makes machines marks them.
    let Origin::Adopts(adoption) = provider.origin() else { panic!("it makes machines") };
    for _ in 0..2 {
        assert_eq!(fatal(&provider, &order).await, [""; 0]);
    }
    let machine = adoption.adopt(&order).unwrap();
    assert_eq!(adoption.adopt(&order).unwrap(), machine);
    assert_eq!(look(&provider, &machine).await.ssh, Some(([127, 0, 0, 1], port).into()));
    keeps_records(&provider, &machine).await;
}
