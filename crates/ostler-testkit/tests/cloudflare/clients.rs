//! The vendor's own client, PyPI's `cloudflare`, in a script. It works against the fake unchanged.
//!
//! Where it is missing the test says so and does nothing; with `OSTLER_REQUIRE_CLOUDFLARE=1` in the environment, as in continuous
//! integration, that is a failure instead.

use ostler_testkit::cloudflare::{ACCOUNT, FakeCloudflare, TOKEN};
use std::{fs, net::Ipv4Addr, path::Path, process::Command};

#[test]
fn the_python_client_leads_a_whole_life() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = crate_dir.join("../../target/tools/cloudflare");
    if !library.exists() {
        let required = std::env::var_os("OSTLER_REQUIRE_CLOUDFLARE").is_some_and(|value| value == "1");
        assert!(
            !required,
            "PyPI's cloudflare (target/tools/cloudflare) is not there, and OSTLER_REQUIRE_CLOUDFLARE is 1"
        );
        eprintln!("skipped: PyPI's cloudflare (target/tools/cloudflare) is not there");
        return;
    }
    let fake = FakeCloudflare::on_a_thread(Ipv4Addr::LOCALHOST.into()).expect("the fake starts");
    let limited = fake.token(&["Zone Read"]);
    let output = Command::new("python3")
        .args(["-", &fake.url(), TOKEN, ACCOUNT, &limited])
        .env("PYTHONPATH", &library)
        .stdin(fs::File::open(crate_dir.join("tests/cloudflare/life.py")).expect("the script"))
        .output()
        .expect("python3 runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    for family in ["dns_records", "apps", "service_tokens", "configurations"] {
        assert_eq!(fake.resources(family).len(), 0, "nothing is left of {family}");
    }
}
