//! Embeds LEGO, if `cargo xtask bundle` has made it.

use sha2::{Digest, Sha256};
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let bundle = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../target/bundle");
    fs::create_dir_all(&bundle)?; // or cargo would find it missing, and run this at every build
    let bundle = bundle.canonicalize()?;
    let file = bundle.join("lego.zst");
    let embedded = if file.is_file() {
        println!("cargo::rerun-if-changed={}", file.display());
        let sum: String = Sha256::digest(fs::read(&file)?).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("Some(({sum:?}, include_bytes!({file:?})))")
    } else {
        // Only while it is missing: downloads lie there, too.
        println!("cargo::rerun-if-changed={}", bundle.display());
        "None".to_owned()
    };
    let text = format!(
        "/// The sum of the packed program, and the program.\nconst EMBEDDED: Option<(&str, &[u8])> = {embedded};\n"
    );
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("lego.rs"), text)?;
    Ok(())
}
