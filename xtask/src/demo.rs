//! `cargo xtask demo`: the main job, from nothing, on a fresh Debian machine with Rust.

use crate::{
    bundle, setup,
    shell::{ShellError, output, run},
};
use std::{path::Path, process::Command};

/// The state of the demo, apart from everybody's own.
const STATE_DIR: &str = "target/demo/state";
const SPEC: &str = "examples/demo.yaml";
const OSTLER: &str = "target/debug/ostler";

/// Builds Ostler, makes a server, and shows it.
pub fn run_demo() -> Result<(), Box<dyn std::error::Error>> {
    setup::run_setup(setup::For::Use)?;
    bundle::run(&bundle::Arguments::default())?;
    // A release build takes minutes more, and a server is not made any sooner by it.
    run(Command::new(env!("CARGO")).args(["build", "--package", "ostler"]))?;
    make_key()?;
    get_image()?;
    run(&mut ostler(&["up", SPEC]))?;
    show()?;
    Ok(())
}

/// A key of the demo's own, so that it neither needs nor touches yours.
fn make_key() -> Result<(), ShellError> {
    let key = Path::new("target/demo/id_ed25519");
    if key.exists() {
        return Ok(());
    }
    run(Command::new("mkdir").args(["-p", "target/demo"]))?;
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "ostler demo", "-f"]).arg(key))
}

/// Pulls Debian's image; where its site can't be reached, builds the same from packages, and says so.
fn get_image() -> Result<(), ShellError> {
    let images = output(&mut ostler(&["image", "list", "--output", "json"]))?;
    if images.contains("debian-13") {
        return Ok(());
    }
    if run(&mut ostler(&["image", "pull", "debian-13"])).is_ok() {
        return Ok(());
    }
    eprintln!("the demo goes on without the image site: it builds the image from Debian's packages");
    run(&mut ostler(&["image", "build", "debian-13"]))
}

/// Proves that the server serves, and says how to go on.
fn show() -> Result<(), ShellError> {
    let page = output(Command::new("curl").args(["-fsS", "--max-time", "20", "http://127.0.0.1:8080/"]))?;
    if !page.contains("<html") {
        return Err(ShellError::Unmet(format!("http://127.0.0.1:8080/ does not show a page but: {page}")));
    }
    run(&mut ostler(&["status", "web1"]))?;
    let ostler = format!("{OSTLER} --state-dir {STATE_DIR}");
    println!("\nIts nginx answers at http://127.0.0.1:8080/. Go on with:\n");
    println!("  {ostler} ssh web1");
    println!("  {ostler} up {SPEC}          # changes nothing, and says so");
    println!("  {ostler} logs web1");
    println!("  {ostler} destroy web1");
    Ok(())
}

fn ostler(arguments: &[&str]) -> Command {
    let mut command = Command::new(OSTLER);
    command.args(["--state-dir", STATE_DIR, "--non-interactive"]).args(arguments);
    command
}
