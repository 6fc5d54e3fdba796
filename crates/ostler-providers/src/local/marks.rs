//! What on this machine bears Ostler's mark: folders with a `machine.json`, what a crash left of one, and QEMU processes that work on files of a
//! folder that is gone. All of it lies in this state's directory; what another one holds is never looked at.

use super::{
    error::LocalError,
    machine::{Home, MACHINE},
    power, process,
};
use ostler_core::{
    ids::{OperationId, ServerName, StateId},
    model::Marked,
};
use serde::Deserialize;
use std::{collections::BTreeSet, fs, io::ErrorKind::NotFound, path::Path};
use uuid::Uuid;

/// What of `machine.json` says whose it is, whatever version wrote it.
#[derive(Deserialize)]
struct Mark {
    operation: OperationId,
    owner: StateId,
    uuid: Uuid,
}

/// Everything in the folder of machines.
pub fn all(machines: &Path, boot: Uuid) -> Result<Vec<Marked>, LocalError> {
    let entries = match fs::read_dir(machines) {
        Err(error) if error.kind() == NotFound => return Ok(Vec::new()),
        entries => entries.map_err(LocalError::file("read", machines))?,
    };
    let mut all = Vec::new();
    let mut known = BTreeSet::new();
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names.iter().filter_map(|name| name.to_str()) {
        let path = machines.join(name);
        let is_remains = [".new-", ".gone-"].iter().any(|start| name.starts_with(start));
        let mark: Option<Mark> = match fs::read(path.join(MACHINE)) {
            Ok(json) => serde_json::from_slice(&json).ok(),
            // It was removed just now, or is somebody's folder.
            Err(_) if !is_remains => continue,
            Err(_) => None,
        };
        known.extend(mark.as_ref().map(|mark| mark.uuid));
        let running = ServerName::parse(name).ok().and_then(|server| {
            let home = Home::new(machines, &server);
            power::running(&home, &home.load().ok()??, boot)
        });
        let state = match (running, &mark) {
            (Some((_, process)), _) => format!(", runs as process {}", process.pid),
            (None, _) if is_remains => ", half made or half removed".to_owned(),
            (None, None) => format!(", whose {MACHINE} is damaged"),
            (None, Some(_)) => String::new(),
        };
        all.push(Marked {
            what: format!("machine folder {}{state}", path.display()),
            owner: mark.as_ref().map(|mark| mark.owner),
            operation: mark.map(|mark| mark.operation),
            in_use: false,
            price: None,
        });
    }
    for qemu in process::qemus_with_files_in(machines).into_iter().filter(|qemu| !known.contains(&qemu.uuid)) {
        let what = format!("QEMU process {} ({}), whose machine folder is gone", qemu.pid, qemu.name);
        all.push(Marked { what, owner: None, operation: None, in_use: false, price: None });
    }
    Ok(all)
}
