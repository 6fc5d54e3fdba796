//! Provider `local` against the real QEMU, with machines that have firmware and no system: seconds, not minutes.

use crate::support::{Lab, MIB, edit_json, images_of, read_json};
use ostler_core::{
    Blame,
    model::{Finding, MachineRecord, Power},
    ports::{Lifecycle, Provider, Reshaping},
    spec::{Address, Forward, LocalOptions, ProviderOptions, Size},
};
use ostler_providers::local::LocalProvider;
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

fn forwarding(host: Option<u16>, guest: u16) -> ProviderOptions {
    ProviderOptions::Local(LocalOptions { forward: vec![Forward { host, guest }] })
}

fn fatal(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|finding| finding.fatal).map(|finding| finding.message.as_str()).collect()
}

#[tokio::test]
async fn a_machine_lives_from_creation_to_removal() {
    let mut lab = Lab::emulated();
    let order = lab.order("web1");
    assert_eq!(fatal(&lab.provider.preflight(&order).await.unwrap()), Vec::<&str>::new());

    let machine = lab.create(&order).await;
    assert_eq!(lab.observe(&machine).await.power, Power::Off);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(lab.home(&order)), 0o700);
    assert_eq!(mode(lab.home(&order).join("seed.iso")), 0o600);

    lab.start(&machine).await;
    let seen = lab.observe(&machine).await;
    assert_eq!((seen.power, seen.slowness), (Power::On, 5));
    let ssh = seen.ssh.unwrap();
    assert!(seen.detail.contains(&format!("tcg, {ssh} -> 22")), "{}", seen.detail);
    TcpStream::connect(ssh).expect("the port leads somewhere");
    assert!(lab.log.notices().iter().any(|notice| notice.contains("emulated")), "{:?}", lab.log.notices());

    let pid = lab.pid(&machine).await;
    lab.start(&machine).await;
    assert_eq!(lab.pid(&machine).await, pid, "a machine that runs is left alone");

    lab.provider.stop(&machine, Duration::ZERO).await.unwrap();
    lab.provider.stop(&machine, Duration::ZERO).await.unwrap();
    let seen = lab.observe(&machine).await;
    assert_eq!((seen.power, seen.ssh), (Power::Off, Some(ssh)), "the port is kept");

    lab.start(&machine).await;
    let pid = lab.pid(&machine).await;
    assert_eq!(lab.provider.left(&order).await, [lab.home(&order).display().to_string()]);
    lab.provider.remove(&order).await.unwrap();
    lab.provider.remove(&order).await.unwrap();
    assert_eq!(lab.provider.left(&order).await, [""; 0]);
    assert_eq!(lab.observe(&machine).await.power, Power::Absent);
    assert_eq!(fs::read_dir(lab.state().join("machines")).unwrap().count(), 0);
    let left = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(!left.contains("web1"), "{left}");
}

#[tokio::test]
async fn a_machine_whose_ostler_died_before_it_noted_the_process_is_found() {
    let mut lab = Lab::emulated();
    let order = lab.order("web1");
    let machine = lab.create(&order).await;
    lab.start(&machine).await;
    let pid = lab.pid(&machine).await;

    let home = lab.home(&order);
    edit_json(&home.join("machine.json"), |json| {
        json["run"] = serde_json::json!({ "state": "starting", "accel": "tcg" })
    });
    fs::remove_file(home.join("qemu.pid")).unwrap();

    assert_eq!(lab.pid(&machine).await, pid);
    lab.start(&machine).await;
    assert_eq!(lab.pid(&machine).await, pid, "no twin");
    assert_eq!(read_json(&home.join("machine.json"))["run"]["process"]["pid"], pid);
}

#[tokio::test]
async fn a_creation_is_completed_by_its_own_operation_and_by_no_other() {
    let mut lab = Lab::emulated();
    let order = lab.order("web1");
    let machine = lab.create(&order).await;
    let before = read_json(&lab.home(&order).join("machine.json"));
    fs::remove_file(lab.home(&order).join("disk.qcow2")).unwrap();
    fs::remove_file(lab.home(&order).join("seed.iso")).unwrap();

    assert_eq!(lab.create(&order).await, machine);
    assert_eq!(read_json(&lab.home(&order).join("machine.json")), before);
    lab.start(&machine).await;

    let mut other = order.clone();
    other.operation = ostler_core::ids::OperationId::new();
    let failure = lab.try_create(&other).await.unwrap_err();
    assert!(failure.message.contains("exists already"), "{failure}");
    lab.provider.remove(&other).await.unwrap();
    assert_eq!(lab.observe(&machine).await.power, Power::On, "what another operation made is no trace of this order");

    other.owner = ostler_core::ids::StateId::new();
    for failure in [lab.try_create(&other).await.unwrap_err(), lab.provider.remove(&other).await.unwrap_err()] {
        assert!(failure.message.contains("belongs to another state directory"), "{failure}");
        assert_eq!(failure.blame, Blame::User);
    }
    assert!(fatal(&lab.provider.preflight(&other).await.unwrap())[0].contains("another state directory"));
}

#[tokio::test]
async fn a_taken_port_is_refused_if_ordered_and_replaced_if_chosen() {
    let mut lab = Lab::emulated();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let mut order = lab.order("web1");
    order.options = forwarding(Some(taken), 80);
    let findings = lab.provider.preflight(&order).await.unwrap();
    assert!(fatal(&findings)[0].contains(&format!("port {taken} of 127.0.0.1")), "{findings:?}");
    let failure = lab.try_create(&order).await.unwrap_err();
    assert_eq!(failure.blame, Blame::Configuration);
    assert!(failure.advice(|action| format!("{action:?}")).unwrap().contains("local.forward"));

    order.options = forwarding(None, 80);
    let machine = lab.create(&order).await;
    let first = lab.observe(&machine).await;
    let _squatter = TcpListener::bind(first.ssh.unwrap()).unwrap();
    lab.start(&machine).await;
    let second = lab.observe(&machine).await;
    assert_ne!(second.ssh, first.ssh);
    assert_eq!(second.forwards, first.forwards, "what is free is kept");
    assert_eq!(second.forwards[0].1, 80);
    TcpStream::connect(second.ssh.unwrap()).unwrap();
}

#[tokio::test]
async fn a_scrubbed_seed_is_gone_from_folder_and_guest() {
    let mut lab = Lab::emulated();
    let order = lab.order("web1");
    let machine = lab.create(&order).await;
    let seed = lab.home(&order).join("seed.iso");
    assert!(contains(&fs::read(&seed).unwrap(), "SECRET-KEY"));
    lab.start(&machine).await;
    for _ in 0..2 {
        lab.provider.scrub_seed(&machine).await.unwrap();
        let left = fs::read(&seed).unwrap();
        assert!(!contains(&left, "SECRET-KEY"));
        assert!(contains(&left, "instance-id: i-1") && contains(&left, "version: 2"));
        assert!(!lab.home(&order).join("seed.iso.old").exists());
        let open = open_files(lab.pid(&machine).await);
        assert!(open.iter().any(|path| path.ends_with("/web1/seed.iso")), "{open:?}");
        assert!(!open.iter().any(|path| path.contains("(deleted)") && path.contains("seed")), "{open:?}");
    }
    lab.create(&order).await;
    assert!(!contains(&fs::read(&seed).unwrap(), "SECRET-KEY"), "a resumed creation does not bring it back");
}

#[tokio::test]
async fn a_machine_that_is_off_takes_another_shape() {
    let mut lab = Lab::emulated();
    let order = lab.order("web1");
    let machine = lab.create(&order).await;
    let local = forwarding(None, 443);
    let bigger = Size { cpus: 1, memory: 96 * MIB, disk: 32 * MIB };
    let reshape = lab.provider.preflight_reshape(&machine, bigger, &local).await.unwrap();
    assert_eq!(
        reshape.changes,
        ["memory 64 MiB -> 96 MiB", "disk 16 MiB -> 32 MiB", "forwarded ports none -> any:443"]
    );
    assert_eq!(fatal(&reshape.findings), Vec::<&str>::new());

    lab.start(&machine).await;
    let failure = lab.provider.reshape(&machine, bigger, &local).await.unwrap_err();
    assert!(failure.message.contains("is running"), "{failure}");
    lab.provider.stop(&machine, Duration::ZERO).await.unwrap();
    lab.provider.reshape(&machine, bigger, &local).await.unwrap();
    lab.provider.reshape(&machine, bigger, &local).await.unwrap();
    lab.start(&machine).await;
    assert_eq!(lab.observe(&machine).await.forwards[0].1, 443);

    assert!(lab.provider.preflight_reshape(&machine, bigger, &local).await.unwrap().changes.is_empty());
    let smaller = Size { disk: 16 * MIB, ..bigger };
    let reshape = lab.provider.preflight_reshape(&machine, smaller, &local).await.unwrap();
    assert!(fatal(&reshape.findings)[0].contains("can't shrink"), "{reshape:?}");
}

#[tokio::test]
async fn preflight_names_everything_that_is_wrong_at_once() {
    let mut lab = Lab::emulated();
    let mut order = lab.order("web1");
    order.size = Size { cpus: 4096, memory: 1 << 50, disk: MIB / 2 };
    order.networks[0].address = Address::Static("fd00::2/64".parse().unwrap());
    let findings = lab.provider.preflight(&order).await.unwrap();
    let refused = fatal(&findings).join("\n");
    for part in ["too small for image", "MiB of memory", "IPv4 on the first card"] {
        assert!(refused.contains(part), "{part} in\n{refused}");
    }
    assert!(findings.iter().any(|finding| !finding.fatal && finding.message.contains("4096 processors")));

    let without_qemu = LocalProvider::new(lab.state(), images_of(&lab.state()), "/nonexistent");
    let findings = without_qemu.preflight(&order).await.unwrap();
    assert!(fatal(&findings).contains(&"`qemu-system-x86_64` is not installed"), "{findings:?}");
    assert!(findings.iter().any(|finding| {
        finding.hints.iter().any(|hint| hint.in_words(|next| next.to_string()).contains("apt install"))
    }));
}

#[tokio::test]
async fn a_start_that_fails_says_what_qemu_said() {
    let mut lab = Lab::emulated();
    let order = lab.order("web1");
    let machine = lab.create(&order).await;
    fs::write(lab.home(&order).join("disk.qcow2"), "not a disk").unwrap();
    let failure = lab.provider.start(&machine, &lab.log).await.unwrap_err();
    assert!(failure.message.contains("not in qcow2 format"), "{failure:?}");
    assert_eq!(lab.observe(&machine).await.power, Power::Off);
}

#[tokio::test]
async fn a_thousand_machines_are_observed_at_a_glance() {
    let mut lab = Lab::emulated();
    let order = lab.order("web0");
    let first = lab.create(&order).await;
    lab.start(&first).await;
    let mut records = vec![first.clone()];
    for n in 1..1000 {
        let name = format!("web{n}");
        let home = lab.home(&order).with_file_name(&name);
        fs::create_dir(&home).unwrap();
        fs::copy(lab.home(&order).join("machine.json"), home.join("machine.json")).unwrap();
        edit_json(&home.join("machine.json"), |json| json["server"] = name.as_str().into());
        records.push(MachineRecord(first.0.replace("web0", &name)));
    }
    let records: Vec<&MachineRecord> = records.iter().collect();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let seen = lab.provider.observe(&records).await.unwrap();
        best = best.min(began.elapsed());
        assert!(seen.len() == 1000 && seen.iter().all(|one| one.power == Power::On));
    }
    println!("1000 machines observed in {best:?}");
    // 0.1 s on a quiet machine, without optimisation; other tests run beside this one.
    assert!(best < Duration::from_secs(1), "{best:?}");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn open_files(pid: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

#[tokio::test]
async fn what_is_left_without_a_record_is_found_also_where_its_folder_is_gone() {
    let mut lab = Lab::emulated();
    let order = lab.order("web1");
    let found = async |lab: &Lab| {
        let all = lab.provider.marked(&order.options).await.unwrap();
        all.into_iter().map(|it| (it.what, it.operation, it.owner)).collect::<Vec<_>>()
    };
    assert_eq!(found(&lab).await, []);
    assert!(!lab.state().join("machines").exists(), "a look makes nothing");
    let machine = lab.create(&order).await;
    lab.start(&machine).await;
    let (pid, folder) = (lab.pid(&machine).await, lab.home(&order));
    for foreign in ["notes", ".new-web2"] {
        fs::create_dir(lab.state().join("machines").join(foreign)).unwrap();
    }
    let runs = format!("machine folder {}, runs as process {pid}", folder.display());
    let half = format!("machine folder {}, half made or half removed", folder.with_file_name(".new-web2").display());
    let mark = (Some(order.operation), Some(order.owner));
    assert_eq!(found(&lab).await, [(half.clone(), None, None), (runs, mark.0, mark.1)]);

    // A machine that runs on deleted files is no machine to any command, and holds its memory and its ports.
    fs::remove_dir_all(&folder).unwrap();
    let process = format!("QEMU process {pid} (guest=web1), whose machine folder is gone");
    assert_eq!(found(&lab).await, [(half.clone(), None, None), (process, None, None)]);
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    let begun = Instant::now();
    while found(&lab).await.len() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(10), "QEMU does not end");
        tokio::time::sleep(Duration::from_millis(10)).await; // awaits the condition above
    }
    assert_eq!(found(&lab).await, [(half, None, None)]);
}
