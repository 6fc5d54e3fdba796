//! A throw-away authority that issues certificates: pebble, which Let's Encrypt tests clients with. It asks one DNS server for all names.
//! A name that was proved once counts as proved for later orders of the same account, as at Let's Encrypt.
//!
//! It ends, and its files go, with the process that has it, however that ends ([`crate::keeper`]).

use crate::keeper::Keeper;
use ostler_core::ports::CertificateAuthority;
use std::{
    fs,
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

/// It issues none for this name and those below it.
pub const FORBIDDEN: &str = "forbidden.example.test";

const SERVER: &str = r#"exec env PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=10 PEBBLE_AUTHZREUSE=100 "$2" -config "$1/pebble.json" -dnsserver "$3" >&2"#;

/// A running authority. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Pebble {
    _keeper: Keeper,
    directory: SocketAddr,
    management: SocketAddr,
    certificate: String,
    log: Arc<Mutex<String>>,
}

impl Pebble {
    /// One that asks `dns`. `None`, and a line on standard error that says so, where pebble is not there.
    ///
    /// # Panics
    /// If it is there but does not start, or if it is not and `OSTLER_REQUIRE_TARGETS` is `1`.
    pub fn start(dns: SocketAddr) -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/pebble/usr/bin/pebble");
        if !program.exists() {
            let why = "pebble (target/tools/pebble) is not there; `cargo xtask setup` unpacks it";
            let required = std::env::var_os("OSTLER_REQUIRE_TARGETS").is_some_and(|value| value == "1");
            assert!(!required, "{why}");
            eprintln!("skipped: {why}");
            return None;
        }
        // Another process may take a port before it does.
        (0..3)
            .find_map(|_| launch(&program, dns).expect("pebble can be started"))
            .or_else(|| panic!("pebble ends at once"))
    }

    /// As an order has it.
    pub fn authority(&self) -> CertificateAuthority {
        CertificateAuthority { url: format!("https://{}/dir", self.directory), root: Some(self.certificate.clone()) }
    }

    /// What it signs by, in PEM.
    pub fn root(&self) -> String {
        self.manage("roots/0", &[])
    }

    /// Has it wish that a certificate, in PEM, be renewed between these times.
    pub fn wish_renewal(&self, certificate: &str, start: &str, end: &str) {
        let answer = serde_json::json!({ "suggestedWindow": { "start": start, "end": end } }).to_string();
        let body = serde_json::json!({ "Certificate": certificate, "ARIResponse": answer }).to_string();
        self.manage("set-renewal-info/", &["--data", &body]);
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic while held").clone()
    }

    fn manage(&self, path: &str, arguments: &[&str]) -> String {
        let url = format!("https://{}/{path}", self.management);
        let output = Command::new("curl").args(["-ksSf"]).args(arguments).arg(&url).output().expect("curl runs");
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a text")
    }
}

fn launch(program: &Path, dns: SocketAddr) -> io::Result<Option<Pebble>> {
    let dir = tempfile::Builder::new().prefix("ostler-pebble-").tempdir()?;
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let certificate = own.cert.pem();
    let file = |name: &str, text: &str| -> io::Result<PathBuf> {
        let path = dir.path().join(name);
        fs::write(&path, text).map(|()| path)
    };
    let (directory, management) = (free_port()?, free_port()?);
    let day = 24 * 60 * 60;
    let settings = serde_json::json!({ "pebble": {
        "listenAddress": directory.to_string(),
        "managementListenAddress": management.to_string(),
        "certificate": file("cert.pem", &certificate)?,
        "privateKey": file("key.pem", &own.signing_key.serialize_pem())?,
        "httpPort": 1,
        "tlsPort": 1,
        "retryAfter": { "authz": 1, "order": 1 },
        "domainBlocklist": [FORBIDDEN],
        "profiles": {
            "classic": { "description": "90 days", "validityPeriod": 90 * day },
            "tlsserver": { "description": "45 days", "validityPeriod": 45 * day },
            "shortlived": { "description": "6 days", "validityPeriod": 6 * day },
        },
    } });
    file("pebble.json", &settings.to_string())?;
    let arguments = [program.to_str().expect("a path in UTF-8"), &dns.to_string()];
    let mut keeper = Keeper::start(dir, SERVER, &arguments)?;
    let mut stream = keeper.log().expect("it is piped");
    let log = Arc::new(Mutex::new(String::new()));
    let (kept, ended) = (log.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let end = ended.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            kept.lock().expect("no panic while held").push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        end.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    while [directory, management].iter().any(|address| TcpStream::connect(address).is_err()) {
        if ended.load(std::sync::atomic::Ordering::SeqCst) {
            return Ok(None);
        }
        std::thread::yield_now();
    }
    Ok(Some(Pebble { _keeper: keeper, directory, management, certificate, log }))
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
