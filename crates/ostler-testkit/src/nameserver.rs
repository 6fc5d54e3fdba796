//! A throw-away authoritative DNS server: BIND's `named` with a zone that takes dynamic updates signed by a key of its own.
//!
//! It ends, and its files go, with the process that has it, however that ends ([`crate::keeper`]).

use crate::keeper::Keeper;
use ostler_core::spec::{DnsOptions, SecretRef, ZoneSpec};
use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    process::Command,
};

/// The key's name.
pub const KEY: &str = "ostler-key";
/// The key, in base64: of `0123456789abcdef0123456789abcdef`.
pub const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// What it signs by.
pub const ALGORITHM: &str = "hmac-sha256";

/// Becomes the server with the settings in the directory `$1`, and tells its log.
const SERVER: &str = r#"exec named -g -c "$1/named.conf""#;

/// A running server. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Nameserver {
    _keeper: Keeper,
    address: SocketAddr,
}

impl Nameserver {
    /// A server of these zones. `None`, and a line on standard error that says so, where BIND is not installed.
    ///
    /// # Panics
    /// If it is installed but does not start, or if it is not installed and `OSTLER_REQUIRE_NAMED` is `1`.
    pub fn start(zones: &[&str]) -> Option<Self> {
        let installed = Command::new("named").arg("-v").output().is_ok_and(|output| output.status.success());
        if !installed {
            let required = std::env::var_os("OSTLER_REQUIRE_NAMED").is_some_and(|value| value == "1");
            assert!(!required, "named is not installed, but OSTLER_REQUIRE_NAMED is 1");
            eprintln!("skipped: named is not installed (Debian package bind9)");
            return None;
        }
        // Another process may take the port before the server does.
        let mut log = String::new();
        for _ in 0..3 {
            match launch(zones) {
                Ok(server) => return Some(server),
                Err(error) => log = error.to_string(),
            }
        }
        panic!("named does not start: {log}");
    }

    /// Where it answers, by UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its zones as a spec has them, without what holds the key.
    pub fn zone(&self, name: &str, secret: SecretRef) -> ZoneSpec {
        ZoneSpec {
            name: name.to_owned(),
            dns: DnsOptions::Rfc2136 {
                server: self.address,
                key: KEY.to_owned(),
                algorithm: ALGORITHM.to_owned(),
                secret,
            },
            nameservers: vec![self.address],
        }
    }
}

fn launch(zones: &[&str]) -> io::Result<Nameserver> {
    let dir = tempfile::Builder::new().prefix("ostler-named-").tempdir()?;
    let address = free_port()?;
    fs::write(dir.path().join("named.conf"), settings(dir.path(), address.port(), zones))?;
    for zone in zones {
        let text = format!(
            "$ORIGIN {zone}.\n$TTL 60\n@ IN SOA ns.{zone}. root.{zone}. 1 3600 600 86400 1\n@ IN NS ns.{zone}.\nns IN A 127.0.0.1\n"
        );
        fs::write(dir.path().join(format!("{zone}.zone")), text)?;
    }
    let mut keeper = Keeper::start(dir, SERVER, &[])?;
    let log = keeper.log().expect("it is piped");
    // It says so once it has read all its zones.
    let mut said = String::new();
    let mut lines = BufReader::new(log);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(io::Error::other(said));
        }
        said.push_str(&line);
        if line.trim_end().ends_with("running") {
            break;
        }
    }
    std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
    Ok(Nameserver { _keeper: keeper, address })
}

/// A port that is free for both protocols.
fn free_port() -> io::Result<SocketAddr> {
    loop {
        let stream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = stream.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

fn settings(dir: &std::path::Path, port: u16, zones: &[&str]) -> String {
    let dir = dir.display();
    let mut text = format!(
        "options {{ directory \"{dir}\"; pid-file none; session-keyfile \"{dir}/session.key\"; managed-keys-directory \"{dir}\";\n\
         listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; notify no;\n\
         allow-transfer {{ none; }}; }};\ncontrols {{ }};\n\
         key \"{KEY}\" {{ algorithm {ALGORITHM}; secret \"{SECRET}\"; }};\n"
    );
    for zone in zones {
        text.push_str(&format!(
            "zone \"{zone}\" {{ type primary; file \"{dir}/{zone}.zone\"; allow-update {{ key \"{KEY}\"; }}; }};\n"
        ));
    }
    text
}
