//! Packages are fetched while Ansible is still connecting and looking: on a slow server that is ten seconds and more.

use crate::{ports::Session, reach::RUN_AS_ROOT};
use std::collections::BTreeSet;

const FETCH: &str = include_str!("scripts/prefetch.sh");

/// Fetches the index to the server's disk, or where that is fresh what is missing of `packages`, and installs nothing. Whether that
/// works is no matter here: the task that installs them meets the same trouble, and says so.
pub(crate) async fn fetch(session: &dyn Session, packages: &BTreeSet<String>) {
    // Names come from the metadata of modules and apps; anything that is no package name is not for a shell.
    let plain = |name: &&String| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let names: Vec<&str> = packages.iter().filter(plain).map(String::as_str).collect();
    if !names.is_empty() {
        let _ = session.run(&format!("{RUN_AS_ROOT} -- {}", names.join(" ")), FETCH.as_bytes()).await;
    }
}
