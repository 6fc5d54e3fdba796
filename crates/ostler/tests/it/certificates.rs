//! Certificates as a user sees them: of a real authority (pebble), by the LEGO that ships, proved by a real DNS server (BIND).

use jiff::{SignedDuration, Timestamp};
use ostler_core::{
    certificate::{self, Certificate, CertificateRecord, Order, Place},
    ports::{CertificateProfile, Document, Output, Session, Store, Transport},
    secret::Secret,
    spec::SecretRef,
    subject::SubjectKind,
};
use ostler_store::SeaStore;
use ostler_testkit::{
    environment::{Finished, TestEnvironment, marked_processes},
    nameserver::{self, Nameserver},
    pebble::{FORBIDDEN, Pebble},
};
use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// An Ostler with a zone and an authority.
struct Bench {
    environment: TestEnvironment,
    named: Nameserver,
    pebble: Pebble,
    store: SeaStore,
}

impl Bench {
    /// `None`: a program is missing, which is told.
    async fn new() -> Option<Self> {
        let named = Nameserver::start(&["example.test"])?;
        let pebble = Pebble::start(named.address())?;
        if !ostler_acme::has_lego() {
            eprintln!("skipped: this build carries no LEGO; `cargo xtask bundle` makes it");
            return None;
        }
        let environment = TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"));
        let store = SeaStore::open_sqlite(&environment.state_dir()).await.unwrap();
        store.put_secret(None, "tsig", &Secret::new(nameserver::SECRET)).await.unwrap();
        Some(Self { environment, named, pebble, store })
    }

    fn order(&self, names: &[&str]) -> Order {
        Order {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            zones: vec![self.named.zone("example.test", SecretRef::Secret("tsig".into()))],
            authority: self.pebble.authority(),
            profile: Some(CertificateProfile::Shortlived),
        }
    }

    async fn put(&self, record: &CertificateRecord) {
        let name = record.order.names[0].clone();
        let subject = self.store.claim_name(SubjectKind::Certificate, &name).await.unwrap();
        let text = serde_json::to_string(record).unwrap();
        self.store.put_document(&Document { subject, name, text }).await.unwrap();
    }

    async fn record(&self, name: &str) -> CertificateRecord {
        let subject = self.store.subject(SubjectKind::Certificate, name).await.unwrap().unwrap();
        serde_json::from_str(&self.store.document(subject).await.unwrap().unwrap()).unwrap()
    }

    async fn certificate(&self, name: &str) -> Certificate {
        let subject = self.store.subject(SubjectKind::Certificate, name).await.unwrap().unwrap();
        let record = self.record(name).await;
        let issued = record.issued.unwrap();
        let key = self.store.secret(Some(subject), &format!("key-{}", &issued.fingerprint[..16])).await.unwrap();
        Certificate { names: record.order.names, issued, key: key.unwrap() }
    }

    /// Neither a file of LEGO's nor a TXT record.
    async fn assert_nothing_is_left(&self) {
        let folder = self.environment.state_dir().join("acme");
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [""; 0]);
        assert_eq!(self.store.documents(SubjectKind::Zone).await.unwrap(), []);
    }

    /// Starts a renewal that waits for a server of the zone that never answers; returns once its LEGO runs and the record is made.
    async fn renew_without_end(&self, name: &str, arguments: &[&str]) -> std::process::Child {
        let mut record = self.record(name).await;
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        record.order.zones[0].nameservers.push(silent);
        self.put(&record).await;
        let mut command = self.environment.command(&[&["cert", "renew", name], arguments].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while self.store.documents(SubjectKind::Zone).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        child
    }

    /// Processes of LEGO and of its hook.
    fn legos(&self) -> Vec<(i32, String)> {
        let folder = self.environment.state_dir().join("lego").to_string_lossy().into_owned();
        marked_processes(&[folder])
    }
}

fn json(finished: &Finished) -> serde_json::Value {
    serde_json::from_str(&finished.stdout).unwrap()
}

#[tokio::test]
async fn issued_renewed_by_wish_and_by_age_and_never_without_need() {
    let Some(bench) = Bench::new().await else { return };
    let name = "shop.example.test";
    bench.put(&CertificateRecord::new(bench.order(&[name, "*.shop.example.test"]))).await;
    let Finished { stdout, .. } = bench.environment.run(&["cert", "renew", "--due"]).ok();
    assert_eq!(stdout, "shop.example.test: renewed\n");
    bench.assert_nothing_is_left().await;
    let first = bench.certificate(name).await;
    verify(&bench, &first);

    let rows = json(&bench.environment.run(&["cert", "list", "--output", "json"]).ok());
    assert_eq!(rows[0]["names"], serde_json::json!([name, "*.shop.example.test"]));
    assert_eq!(rows[0]["serial"], first.issued.serial);
    let next: Timestamp = rows[0]["next_renewal"].as_str().unwrap().parse().unwrap();
    let days = next.duration_since(Timestamp::now()).as_hours() / 24;
    assert!((2..=3).contains(&days), "{days} days of 6");
    let table = bench.environment.run(&["cert", "list"]).ok().stdout;
    assert!(
        table.starts_with("NAMES") && table.contains("shop.example.test *.shop.example.test  127.0.0.1:"),
        "{table}"
    );

    let Finished { stdout, .. } = bench.environment.run(&["cert", "renew", "--due"]).ok();
    assert_eq!(stdout, "shop.example.test: not due\n");

    // The authority wishes it at once: it is asked, and knows what is replaced.
    let pem = first.issued.chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    bench.pebble.wish_renewal(pem, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let record = bench.record(name).await;
    bench.put(&CertificateRecord { window: None, ..record }).await;
    let Finished { stdout, .. } = bench.environment.run(&["cert", "renew", "--due"]).ok();
    assert_eq!(stdout, "shop.example.test: renewed\n");
    let second = bench.certificate(name).await;
    assert_ne!((&second.issued.serial, second.key.expose()), (&first.issued.serial, first.key.expose()));
    verify(&bench, &second);
    assert!(bench.pebble.log().contains("is a replacement of"), "{}", bench.pebble.log());
    assert!(bench.record(name).await.attempts[1].wished);

    // By age.
    let mut record = bench.record(name).await;
    let issued = record.issued.as_mut().unwrap();
    issued.not_before = Timestamp::now() - SignedDuration::from_hours(6 * 24);
    issued.not_after = Timestamp::now() + SignedDuration::from_hours(1);
    bench.put(&record).await;
    let Finished { stdout, .. } = bench.environment.run(&["cert", "renew", "--due"]).ok();
    assert_eq!(stdout, "shop.example.test: renewed\n");
    // Requests don't count: pebble rejects some of them to see whether they come again.
    let log = bench.pebble.log();
    assert!(log.contains("There are now 1 accounts") && !log.contains("There are now 2 accounts"), "{log}");
    // Neither keys of certificates nor the account's lie in a file as they are.
    let mut searching = Command::new("grep");
    let found = searching.args(["-rlaE", "PRIVATE KEY|BEGIN EC"]).arg(bench.environment.state_dir()).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let lego = bench.environment.state_dir().join("lego");
    assert_eq!(found.lines().filter(|file| !Path::new(file).starts_with(&lego)).collect::<Vec<_>>(), [""; 0]);
    bench.assert_nothing_is_left().await;
}

#[tokio::test]
async fn one_that_is_refused_keeps_no_other_back_and_the_authority_is_left_alone_then() {
    let Some(bench) = Bench::new().await else { return };
    bench.put(&CertificateRecord::new(bench.order(&[FORBIDDEN]))).await;
    bench.put(&CertificateRecord::new(bench.order(&["shop.example.test"]))).await;
    let Finished { code, stdout, stderr } = bench.environment.run(&["cert", "renew", "--due"]);
    assert_eq!((code, stdout.as_str()), (4, "shop.example.test: renewed\n"), "{stderr}");
    assert!(stderr.contains("did not issue a certificate for forbidden.example.test"), "{stderr}");
    assert!(stderr.contains("rejectedIdentifier") || stderr.contains("policy"), "{stderr}");
    let rows = json(&bench.environment.run(&["cert", "list", "--output", "json"]).ok());
    assert!(rows[0]["last_failure"].as_str().unwrap().contains("did not issue"), "{rows}");
    assert_eq!(rows[1]["last_failure"], serde_json::Value::Null);
    for _ in 0..2 {
        assert_eq!(bench.environment.run(&["cert", "renew", FORBIDDEN]).code, 4);
    }
    let Finished { stderr, .. } = bench.environment.run(&["cert", "renew", FORBIDDEN]);
    assert!(stderr.contains("no certificate for forbidden.example.test is ordered before"), "{stderr}");
    assert!(stderr.contains("the last 3 orders for these names failed"), "{stderr}");
    bench.assert_nothing_is_left().await;
    let Finished { code, stderr, .. } = bench.environment.run(&["cert", "renew", "nowhere.example.test"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("there is no certificate `nowhere.example.test`"), "{stderr}");
}

#[tokio::test]
async fn killed_at_any_end_it_leaves_nothing_and_goes_on() {
    let Some(bench) = Bench::new().await else { return };
    let name = "shop.example.test";
    let record = CertificateRecord::new(bench.order(&[name]));
    bench.put(&record).await;

    // A record that never gets to all servers.
    let output = bench.renew_without_end(name, &["--timeout", "2"]).await.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("_acme-challenge.shop.example.test"), "{stderr}");
    bench.assert_nothing_is_left().await;

    // LEGO is killed.
    let child = bench.renew_without_end(name, &[]).await;
    let (pid, _) = bench.legos().into_iter().min().expect("LEGO runs");
    kill(pid);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    bench.assert_nothing_is_left().await;

    // Ostler is killed: LEGO ends with it, and the next one takes away what is left.
    let mut child = bench.renew_without_end(name, &[]).await;
    assert!(!bench.legos().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    while !bench.legos().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The failures above are of this test's making.
    bench.put(&record).await;
    bench.environment.run(&["cert", "renew", name]).ok();
    bench.assert_nothing_is_left().await;
    verify(&bench, &bench.certificate(name).await);
}

#[tokio::test]
async fn traefik_serves_what_is_delivered_and_only_then_the_old_one_goes() {
    let Some(bench) = Bench::new().await else { return };
    let traefik = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/traefik/bin/traefik");
    if !traefik.exists() {
        return eprintln!("skipped: Traefik (target/tools/traefik) is not there; `cargo xtask setup` installs it");
    }
    let name = "*.example.test";
    bench.put(&CertificateRecord::new(bench.order(&[name]))).await;
    bench.environment.run(&["cert", "renew", "--due"]).ok();
    let first = bench.certificate(name).await;

    let folder = bench.environment.path().join("traefik");
    for part in ["dynamic", "certificates"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut running = Command::new(&traefik)
        .arg(format!("--providers.file.directory={}", folder.join("dynamic").display()))
        .args(["--providers.file.watch=true", "--global.checknewversion=false"])
        .arg(format!("--entrypoints.web.address=127.0.0.1:{port}"))
        .arg("--entrypoints.web.http.tls=true")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let path = folder.to_str().unwrap();
    let place = Place { folder: path, seen_as: path, port, root: "" };
    let files = || {
        let mut names: Vec<String> = fs::read_dir(folder.join("certificates"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let of = |certificate: &Certificate| {
        ["crt", "key"].map(|kind| format!("_.example.test-{}.{kind}", &certificate.issued.fingerprint[..16]))
    };
    let steps = async {
        certificate::deliver(&Here, &first, &place).await.unwrap();
        assert_eq!(files(), of(&first));
        bench.environment.run(&["cert", "renew", "--due"]).ok();
        let second = bench.certificate(name).await;
        certificate::deliver(&Here, &second, &place).await.unwrap();
        assert_eq!(files(), of(&second));
        // Done again, it changes nothing.
        certificate::deliver(&Here, &second, &place).await.unwrap();
        assert_eq!(files(), of(&second));
        let mode = fs::metadata(folder.join("certificates").join(&of(&second)[1])).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o640);
    };
    let result = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(steps)).await;
    running.kill().unwrap();
    running.wait().unwrap();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Whether the certificate is of the authority and for its names, and the key is its own.
fn verify(bench: &Bench, certificate: &Certificate) {
    let file = |name: &str, text: &str| bench.environment.write(name, text).into_os_string().into_string().unwrap();
    let (root, chain) = (file("root.pem", &bench.pebble.root()), file("chain.pem", &certificate.issued.chain));
    for name in &certificate.names {
        let host = name.replace('*', "any");
        openssl(&["verify", "-CAfile", &root, "-untrusted", &chain, "-verify_hostname", &host, &chain], "");
    }
    let of_chain = openssl(&["x509", "-in", &chain, "-noout", "-pubkey"], "");
    assert_eq!(openssl(&["pkey", "-pubout"], certificate.key.expose()), of_chain);
    let serial = openssl(&["x509", "-in", &chain, "-noout", "-serial"], "");
    assert_eq!(serial.trim(), format!("serial={}", certificate.issued.serial));
}

fn openssl(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("openssl");
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn kill(pid: i32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

/// A login to this very machine.
struct Here;

#[async_trait::async_trait]
impl Session for Here {
    async fn run(&self, script: &str, stdin: &[u8]) -> ostler_core::Result<Output> {
        let mut command = Command::new("sh");
        let mut child = command
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok(Output { status: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    fn offered_methods(&self) -> Vec<String> {
        Vec::new()
    }

    fn transport(&self) -> Transport {
        unreachable!("nobody logs in")
    }

    async fn close(self: Box<Self>) {}
}
