//! An image of Traefik for servers that reach no registry: the real program, as PyPI has it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What the image is called once [`IMPORT`] has run.
pub const IMAGE: &str = "ostler-test/traefik";

/// Makes the image on a server that has Docker, out of [`archive`] on its standard input.
pub const IMPORT: &str = "docker import --change 'ENTRYPOINT [\"traefik\"]' - ostler-test/traefik";

/// A tar archive of the image's files, about 190 MB, made once. `None`, and a line on stderr that says why, where the program is missing.
///
/// # Panics
/// If it is and `OSTLER_REQUIRE_TARGETS` is `1`; or if the archive can't be made.
pub fn archive() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let program = tools.join("traefik/bin/traefik");
    if !program.exists() {
        let why = "Traefik (target/tools/traefik) is not there; `cargo xtask setup` installs it";
        let required = std::env::var_os("OSTLER_REQUIRE_TARGETS").is_some_and(|value| value == "1");
        assert!(!required, "{why}");
        eprintln!("skipped: {why}");
        return None;
    }
    let archive = tools.join("traefik/image.tar");
    let lock = fs::File::create(tools.join("traefik/image.lock")).expect("a lock file");
    lock.lock().expect("a lock");
    if !archive.exists() {
        let unfinished = archive.with_extension("unfinished");
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "--mode=a+rX", "--transform=s,^traefik$,usr/local/bin/traefik,", "-cf"]);
        tar.arg(&unfinished).arg("-C").arg(program.parent().expect("a folder")).arg("traefik");
        // Traefik looks there for whom it trusts.
        let trusted = "/etc/ssl/certs/ca-certificates.crt";
        if Path::new(trusted).exists() {
            tar.args(["--dereference", "-C", "/", &trusted[1..]]);
        }
        assert!(tar.status().is_ok_and(|status| status.success()), "{tar:?} failed");
        fs::rename(&unfinished, &archive).expect("the archive gets its name");
    }
    Some(archive)
}
