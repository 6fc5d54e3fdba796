//! Templates and what is cloned from them (`clone_vm` and `template` of PVE/API2/Qemu.pm).

use super::{
    api::{Refusal, Reply, Request},
    schema::Parameters,
    state::{State, Vm, Volume},
    tasks::{self, Worker},
    vms::{check_lock, get, property},
};
use std::{
    fs::File,
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

/// Types of storages whose volumes can be cloned without a copy, and whether a clone's name tells its base. (A thin volume is nobody's child.)
const SHARING: &[(&str, bool)] =
    &[("dir", true), ("nfs", true), ("zfspool", true), ("rbd", true), ("btrfs", true), ("lvmthin", false)];

pub(super) fn clone(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    let (from, to) = (request.vmid(), request.get("newid").parse::<u32>().unwrap_or(0));
    state.grants.all(&format!("/vms/{from}"), &["VM.Clone"])?;
    state.grants.all(&format!("/vms/{to}"), &["VM.Allocate"])?;
    let source = get(&mut state, from)?;
    check_lock(source).map_err(Refusal::died)?;
    let (config, is_template) = (source.config.clone(), source.is_template());
    let full = if request.get("full").is_empty() { !is_template } else { request.get("full") == "1" };
    if !full && !request.get("storage").is_empty() {
        return Err(Refusal::died("parameter 'storage' not allowed for linked clones"));
    }
    let disk = config.get("scsi0").and_then(|value| value.split(',').next()).unwrap_or_default().to_owned();
    let lies_on = disk.split(':').next().unwrap_or_default();
    let storage = if request.get("storage").is_empty() { lies_on } else { request.get("storage") }.to_owned();
    let found = state.storages.get(&storage);
    let found = found.ok_or_else(|| Refusal::died(format!("storage '{storage}' does not exist")))?;
    let sharing = SHARING.iter().find(|(kind, _)| *kind == found.kind);
    let can_share = sharing.is_some() && disk.contains(":base-");
    if !full && !can_share {
        return Err(Refusal::died(format!("Linked clone feature is not supported for drive 'scsi0' ({disk})")));
    }
    state.grants.all(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    for card in config.iter().filter(|(key, _)| key.starts_with("net")).map(|(_, card)| card) {
        let bridge = property(card, "bridge").unwrap_or_default();
        let tag = property(card, "tag").map(|tag| format!("/{tag}")).unwrap_or_default();
        state.grants.all(&format!("/sdn/zones/localnetwork/{bridge}{tag}"), &["SDN.Use"])?;
    }
    if state.vms.contains_key(&to) {
        return Err(Refusal::died(format!("unable to create VM {to}: config file already exists")));
    }
    let locked = [("lock".to_owned(), "clone".to_owned())].into();
    state.vms.insert(to, Vm { config: locked, ..Vm::default() });
    let volume = match (full, sharing) {
        (false, Some((_, true))) => format!("{storage}:{}/vm-{to}-disk-0", disk.split(':').nth(1).unwrap_or_default()),
        _ => format!("{storage}:vm-{to}-disk-0"),
    };
    let wanted = request.parameters.clone();
    let broken = volume.clone();
    let copied = Copy { to, disk, volume, full, config, wanted };
    let work = move |worker: Worker| async move { copied.make(&worker) };
    let undone = move |state: &mut State| drop(state.vms.remove(&to));
    let killed = move |node: &super::Node| {
        let path = node.path(&format!("images/vm-{to}-disk-0"));
        let _ = std::fs::write(&path, "half a clone");
        node.lock().add_volume(&broken, Some(to), path);
    };
    // It bears the VMID of what is cloned.
    tasks::begin(request.node, &mut state, "qmclone", &from.to_string(), work, undone, killed)
}

/// What a clone is made of.
struct Copy {
    to: u32,
    disk: String,
    volume: String,
    full: bool,
    config: Parameters,
    wanted: Parameters,
}

impl Copy {
    /// The worker of `qmclone`: the disk first, then the configuration in one piece.
    fn make(self, worker: &Worker) -> Result<(), String> {
        let Self { to, disk, volume, full, mut config, wanted } = self;
        let kind = if full { "full" } else { "linked" };
        worker.say(format!("create {kind} clone of drive scsi0 ({disk})"));
        let base = {
            let state = worker.node.lock();
            state.volumes.get(&disk).map(|volume| volume.path.clone()).ok_or("the template's disk is gone")?
        };
        let file = worker.node.path(&format!("images/vm-{to}-disk-0"));
        let mut command = Command::new("qemu-img");
        match full {
            true => command.args(["convert", "-q", "-f", format_of(&base), "-O", "raw"]).args([&base, &file]),
            false => command.args(["create", "-q", "-f", "qcow2", "-F", format_of(&base), "-b"]).args([&base, &file]),
        };
        run(&mut command)?;
        let size = config.get("scsi0").and_then(|value| value.split_once(',')).map_or("", |(_, rest)| rest).to_owned();
        config.insert("scsi0".to_owned(), format!("{volume},{size}"));
        config.remove("template");
        for (key, card) in config.iter_mut().filter(|(key, _)| key.starts_with("net")) {
            let rest = card.split_once(',').map_or("", |(_, rest)| rest).to_owned();
            let number = key.trim_start_matches("net").parse::<u8>().unwrap_or(0);
            *card = format!("virtio=BC:24:11:00:{:02X}:{number:02X},{rest}", to % 256);
        }
        for key in ["name", "description"] {
            config.extend(wanted.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        let mut state = worker.node.lock();
        state.volumes.insert(volume, Volume { vmid: Some(to), path: file, base: (!full).then_some(disk) });
        state.vms.insert(to, Vm { config, ..Vm::default() });
        Ok(())
    }
}

pub(super) fn make(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    let vmid = request.vmid();
    state.grants.all(&format!("/vms/{vmid}"), &["VM.Allocate"])?;
    let vm = get(&mut state, vmid)?;
    check_lock(vm).map_err(Refusal::died)?;
    if vm.is_template() {
        return Err(Refusal::died("you can't convert a template to a template"));
    }
    if vm.running {
        return Err(Refusal::died("you can't convert a VM to template if VM is running"));
    }
    let work = move |worker: Worker| async move {
        convert(&mut worker.node.lock(), vmid);
        Ok(())
    };
    tasks::begin(request.node, &mut state, "qmtemplate", &vmid.to_string(), work, |_| {}, |_| {})
}

/// Makes a template of a VM: its disk becomes a base, and is called so.
pub(super) fn convert(state: &mut State, vmid: u32) {
    let Some(vm) = state.vms.get_mut(&vmid) else { return };
    vm.running = false;
    vm.config.insert("template".to_owned(), "1".to_owned());
    let Some(disk) = vm.config.get_mut("scsi0") else { return };
    let volume = disk.split(',').next().unwrap_or_default().to_owned();
    let base = volume.replace(&format!("vm-{vmid}-"), &format!("base-{vmid}-"));
    *disk = disk.replacen(&volume, &base, 1);
    if let Some(found) = state.volumes.remove(&volume) {
        state.volumes.insert(base, found);
    }
}

/// `volume_is_base_and_used` of PVE/Storage.pm: known where a clone's name tells its base.
pub(super) fn is_used(state: &State, volid: &str) -> bool {
    let kind = state.storages.get(volid.split(':').next().unwrap_or_default()).map(|storage| storage.kind);
    SHARING.iter().any(|(sharing, told)| Some(*sharing) == kind && *told) && state.is_leaned_on(volid)
}

/// Grows the file of a disk.
pub(super) fn grow(file: &Path, bytes: u64) -> Result<(), String> {
    run(Command::new("qemu-img").args(["resize", "-q", "-f", format_of(file)]).arg(file).arg(bytes.to_string()))
}

/// qcow2 by its first bytes; all else is raw.
pub(super) fn format_of(file: &Path) -> &'static str {
    let mut magic = [0; 4];
    let is_qcow2 = File::open(file).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"QFI\xfb";
    if is_qcow2 { "qcow2" } else { "raw" }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
