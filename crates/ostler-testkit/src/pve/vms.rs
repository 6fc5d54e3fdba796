//! VMs: made, changed, started, stopped, removed.

use super::{
    NODE, Node,
    api::{Refusal, Reply, Request},
    grants::Grants,
    guest::Guest,
    schema::Parameters,
    state::{State, Vm},
    tasks::{self, Worker},
    templates,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

/// The privilege that a key of the configuration takes (`check_vm_modify_config_perm` of PVE/API2/Qemu.pm).
fn privilege(key: &str, value: &str) -> Option<&'static str> {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    Some(match stem {
        "vmid" | "node" | "start" | "digest" | "delete" => return None,
        "cores" | "sockets" | "cpu" | "numa" | "cpulimit" | "cpuunits" | "vcpus" => "VM.Config.CPU",
        "memory" | "balloon" | "shares" => "VM.Config.Memory",
        "kvm" | "scsihw" | "vga" | "machine" | "acpi" | "tablet" | "serial" | "rng" => "VM.Config.HWType",
        "net" => "VM.Config.Network",
        "scsi" | "ide" | "sata" if value.contains("media=cdrom") => "VM.Config.CDROM",
        "scsi" | "ide" | "sata" | "virtio" | "boot" => "VM.Config.Disk",
        "ciuser" | "cipassword" | "sshkeys" | "ipconfig" | "nameserver" | "searchdomain" | "ciupgrade" | "cicustom" => {
            "VM.Config.Cloudinit"
        }
        _ => "VM.Config.Options",
    })
}

fn check_keys(grants: &Grants, vmid: u32, parameters: &Parameters) -> Result<(), Refusal> {
    for (key, value) in parameters {
        if let Some(privilege) = privilege(key, value) {
            grants.all(&format!("/vms/{vmid}"), &[privilege])?;
        }
        if key.starts_with("net")
            && let Some(bridge) = property(value, "bridge")
        {
            let tag = property(value, "tag").map(|tag| format!("/{tag}")).unwrap_or_default();
            grants.all(&format!("/sdn/zones/localnetwork/{bridge}{tag}"), &["SDN.Use"])?;
        }
    }
    Ok(())
}

/// `bridge` of `virtio=MAC,bridge=vmbr0`.
pub(super) fn property<'v>(value: &'v str, key: &str) -> Option<&'v str> {
    value.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}

pub(super) fn get(state: &mut State, vmid: u32) -> Result<&mut Vm, Refusal> {
    get_on(state, vmid, NODE)
}

fn get_on<'s>(state: &'s mut State, vmid: u32, node: &str) -> Result<&'s mut Vm, Refusal> {
    let vm = state.vms.get_mut(&vmid).filter(|vm| vm.moved.unwrap_or(NODE) == node);
    vm.ok_or_else(|| Refusal::died(format!("Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")))
}

/// VMs of the cluster that the token may see.
pub(super) fn resources(request: &Request<'_>) -> Value {
    let state = request.node.lock();
    let seen = state.vms.iter().filter(|(vmid, _)| state.grants.may(&format!("/vms/{vmid}"), "VM.Audit"));
    seen.map(|(vmid, vm)| {
        json!({
            "id": format!("qemu/{vmid}"), "type": "qemu", "vmid": vmid, "node": vm.moved.unwrap_or(NODE),
            "name": vm.text("name"), "tags": vm.text("tags"), "template": u8::from(vm.is_template()),
        })
    })
    .collect()
}

/// Does what `qm unlock` and `pvesm free` wrote down.
pub(super) fn settle_host(node: &Node, state: &mut State) {
    let take = |verb: &str| {
        let calls = std::fs::read_to_string(node.path(verb)).unwrap_or_default();
        let _ = std::fs::remove_file(node.path(verb));
        calls
    };
    for vmid in take("unlock").lines().filter_map(|line| line.trim().parse().ok()) {
        if let Some(vm) = state.vms.get_mut(&vmid) {
            vm.config.remove("lock");
        }
    }
    for volume in take("free").lines() {
        state.remove_volume(volume.trim());
    }
}

pub(super) fn check_lock(vm: &Vm) -> Result<(), String> {
    vm.config.get("lock").map_or(Ok(()), |lock| Err(format!("VM is locked ({lock})")))
}

pub(super) fn config(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    settle_host(request.node, &mut state);
    state.grants.all(&format!("/vms/{}", request.vmid()), &["VM.Audit"])?;
    let vm = get_on(&mut state, request.vmid(), request.get("node"))?;
    let mut answer: BTreeMap<&str, Value> = BTreeMap::new();
    for (key, value) in &vm.config {
        // Numbers come as numbers, but for those that may be more.
        let number = value.parse::<u64>().ok().filter(|_| key != "memory");
        answer.insert(key, number.map_or_else(|| json!(value), |number| json!(number)));
    }
    answer.insert("digest", json!("0123456789abcdef0123456789abcdef01234567"));
    Ok(json!(answer))
}

pub(super) fn status(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    state.grants.all(&format!("/vms/{}", request.vmid()), &["VM.Audit"])?;
    let vm = get(&mut state, request.vmid())?;
    let running = vm.running && vm.guest.as_mut().is_none_or(Guest::runs);
    vm.running = running;
    Ok(json!({ "vmid": request.vmid(), "status": if running { "running" } else { "stopped" } }))
}

pub(super) fn create(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    let vmid = request.vmid();
    state.grants.all(&format!("/vms/{vmid}"), &["VM.Allocate"])?;
    let mut parameters = request.parameters.clone();
    parameters.remove("node");
    check_drives(&state, &parameters)?;
    check_keys(&state.grants, vmid, &parameters)?;
    if state.vms.contains_key(&vmid) {
        let words = format!("unable to create VM {vmid} - VM {vmid} already exists on node '{NODE}'");
        return Err(Refusal::died(words));
    }
    // The request itself takes the VMID; what it shall be stands in the configuration only when it is made.
    let locked = [("lock".to_owned(), "create".to_owned())].into();
    state.vms.insert(vmid, Vm { config: locked, ..Vm::default() });
    let work = move |worker: Worker| make(worker, vmid, parameters);
    let undone = move |state: &mut State| drop(state.vms.remove(&vmid));
    let killed = move |node: &Node| {
        let path = node.path(&format!("images/vm-{vmid}-disk-0"));
        let _ = std::fs::write(&path, "half a disk");
        node.lock().add_volume(&format!("local-lvm:vm-{vmid}-disk-0"), Some(vmid), path);
    };
    tasks::begin(request.node, &mut state, "qmcreate", &vmid.to_string(), work, undone, killed)
}

/// `check_storage_access`
fn check_drives(state: &State, parameters: &Parameters) -> Result<(), Refusal> {
    for (key, value) in parameters.iter().filter(|(key, _)| key.starts_with("scsi") && *key != "scsihw") {
        let file = value.split(',').next().unwrap_or_default().trim_start_matches("file=");
        let (storage, name) = file.split_once(':').unwrap_or((file, ""));
        if value.contains("media=cdrom") {
            state.grants.any(&format!("/storage/{storage}"), &["Datastore.AllocateSpace", "Datastore.Audit"])?;
            if file != "none" && !state.volumes.contains_key(file) {
                return Err(Refusal::died(format!("volume '{file}' does not exist")));
            }
            continue;
        }
        let Some(found) = state.storages.get(storage) else {
            return Err(Refusal::died(format!("storage '{storage}' does not exist")));
        };
        if name.parse::<f64>().is_ok() {
            state.grants.all(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
            if !found.content.contains("images") {
                let words = format!("storage '{storage}' does not support vm images");
                return Err(Refusal::parameter("storage", &words));
            }
        }
        if let Some(source) = property(value, "import-from") {
            let storage = source.split(':').next().unwrap_or_default();
            state.grants.any(&format!("/storage/{storage}"), &["Datastore.AllocateSpace", "Datastore.Audit"])?;
            if !state.volumes.contains_key(source) {
                return Err(Refusal::parameter(key, &format!("volume '{source}' does not exist")));
            }
        }
    }
    Ok(())
}

/// The worker of `qmcreate`: disks first, then the configuration in one piece.
async fn make(worker: Worker, vmid: u32, mut config: Parameters) -> Result<(), String> {
    let is_disk = |key: &str, value: &str| key.starts_with("scsi") && key != "scsihw" && !value.contains("media=cdrom");
    let disks: Vec<String> =
        config.iter().filter(|(key, value)| is_disk(key, value)).map(|(key, _)| key.clone()).collect();
    for (index, key) in disks.iter().enumerate() {
        let value = config[key].clone();
        let Some(source) = property(&value, "import-from") else { continue };
        let storage = value.split(':').next().unwrap_or_default();
        let volume = format!("{storage}:vm-{vmid}-disk-{index}");
        let (from, to) = {
            let mut state = worker.node.lock();
            let from = state.volumes.get(source).map(|volume| volume.path.clone()).ok_or("the image is gone")?;
            let to = worker.node.path(&format!("images/vm-{vmid}-disk-{index}"));
            state.add_volume(&volume, Some(vmid), to.clone());
            (from, to)
        };
        let size = match import(&worker, &from, &to).await {
            Ok(size) => size,
            Err(words) => {
                worker.node.lock().remove_volume(&volume);
                return Err(format!("unable to create VM {vmid} - {words}"));
            }
        };
        let rest: Vec<&str> = value.split(',').skip(1).filter(|part| !part.starts_with("import-from=")).collect();
        worker.say(format!("{key}: successfully created disk '{volume},size={}'", show_size(size)));
        let parts: Vec<String> = [volume]
            .into_iter()
            .chain(rest.into_iter().map(str::to_owned))
            .chain([format!("size={}", show_size(size))])
            .collect();
        config.insert(key.clone(), parts.join(","));
    }
    config.remove("vmid");
    config.insert("meta".to_owned(), "creation-qemu=10.1.2,ctime=1763700000".to_owned());
    let mut state = worker.node.lock();
    state.vms.insert(vmid, Vm { config, ..Vm::default() });
    Ok(())
}

/// Copies an image into a disk; returns its size.
async fn import(worker: &Worker, from: &Path, to: &Path) -> Result<u64, String> {
    let format = if from.extension().is_some_and(|ending| ending == "qcow2") { "qcow2" } else { "raw" };
    let copied = Command::new("qemu-img")
        .args(["convert", "-q", "-f", format, "-O", "raw"])
        .args([from, to])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if !copied.status.success() {
        return Err(String::from_utf8_lossy(&copied.stderr).trim().to_owned());
    }
    worker.say("transferred 0.0 B of 1.0 GiB (0.00%)");
    worker.say("transferred 1.0 GiB of 1.0 GiB (100.00%)");
    Ok(std::fs::metadata(to).map_err(|error| error.to_string())?.len())
}

/// `format_size` of PVE: the largest unit that leaves no rest.
fn show_size(bytes: u64) -> String {
    let units = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];
    let unit = units.iter().find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| bytes.to_string(), |(name, shift)| format!("{}{name}", bytes >> shift))
}

pub(super) fn configure(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    let vmid = request.vmid();
    check_keys(&state.grants, vmid, &request.parameters)?;
    check_drives(&state, &request.parameters)?;
    let deleted: Vec<String> =
        request.get("delete").split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect();
    if let Some(key) = deleted.iter().find(|key| request.parameters.contains_key(*key)) {
        return Err(Refusal::parameter("delete", &format!("duplicate key '{key}'")));
    }
    let config = get(&mut state, vmid)?.config.clone();
    for key in &deleted {
        if let Some(privilege) = privilege(key, config.get(key).map_or("", String::as_str)) {
            state.grants.all(&format!("/vms/{vmid}"), &[privilege])?;
        }
    }
    let vm = get(&mut state, vmid)?;
    check_lock(vm).map_err(Refusal::died)?;
    let changes = request.parameters.iter().filter(|(key, _)| !matches!(key.as_str(), "node" | "vmid" | "delete"));
    vm.config.extend(changes.map(|(key, value)| (key.clone(), value.clone())));
    vm.config.retain(|key, _| !deleted.contains(key));
    Ok(Value::Null)
}

pub(super) fn resize(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    let vmid = request.vmid();
    state.grants.all(&format!("/vms/{vmid}"), &["VM.Config.Disk"])?;
    get(&mut state, vmid)?;
    let (disk, wanted) = (request.get("disk").to_owned(), request.get("size").to_owned());
    let work = move |worker: Worker| async move {
        let mut state = worker.node.lock();
        let vm = get(&mut state, vmid).map_err(|refusal| refusal.message)?;
        check_lock(vm)?;
        let value = vm.config.get(&disk).cloned().ok_or_else(|| format!("disk '{disk}' does not exist"))?;
        let volume = value.split(',').next().unwrap_or_default().to_owned();
        let number = |text: &str| {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let shift = match &text[digits.len()..] {
                "K" => 10,
                "M" => 20,
                "G" => 30,
                "T" => 40,
                _ => 0,
            };
            digits.parse::<u64>().map(|number| number << shift).map_err(|error| error.to_string())
        };
        let (has, wanted) = (number(property(&value, "size").unwrap_or("0"))?, number(&wanted)?);
        if wanted < has {
            return Err("shrinking disks is not supported".to_owned());
        }
        let parts: Vec<&str> = value.split(',').filter(|part| !part.starts_with("size=")).collect();
        vm.config.insert(disk, format!("{},size={}", parts.join(","), show_size(wanted)));
        let path = &state.volumes.get(&volume).ok_or("no volume")?.path;
        templates::grow(path, wanted)
    };
    tasks::begin(request.node, &mut state, "resize", &vmid.to_string(), work, |_| {}, |_| {})
}

pub(super) fn start(request: &Request<'_>) -> Reply {
    let (mut state, vmid) = power(request)?;
    let work = move |worker: Worker| async move {
        let config = {
            let mut state = worker.node.lock();
            let vm = get(&mut state, vmid).map_err(|refusal| refusal.message)?;
            check_lock(vm)?;
            if vm.is_template() {
                return Err("you can't start a vm if it's a template".to_owned());
            }
            if vm.running {
                return Err(format!("VM {vmid} already running"));
            }
            vm.config.clone()
        };
        let guest = match worker.node.guest {
            Some(address) => Some(Guest::start(&worker.node, vmid, &config, address)?),
            None => None,
        };
        let mut state = worker.node.lock();
        let vm = get(&mut state, vmid).map_err(|refusal| refusal.message)?;
        (vm.running, vm.guest) = (true, guest);
        Ok(())
    };
    tasks::begin(request.node, &mut state, "qmstart", &vmid.to_string(), work, |_| {}, |_| {})
}

pub(super) fn stop(request: &Request<'_>) -> Reply {
    halt(request, "qmstop", Duration::ZERO)
}

pub(super) fn shut_down(request: &Request<'_>) -> Reply {
    let grace = request.get("timeout").parse().unwrap_or(60);
    halt(request, "qmshutdown", Duration::from_secs(grace))
}

fn halt(request: &Request<'_>, kind: &'static str, grace: Duration) -> Reply {
    let (mut state, vmid) = power(request)?;
    let force = kind == "qmstop" || request.get("forceStop") == "1";
    let work = move |worker: Worker| async move {
        let guest = {
            let mut state = worker.node.lock();
            let vm = get(&mut state, vmid).map_err(|refusal| refusal.message)?;
            vm.guest.take()
        };
        if let Some(mut guest) = guest
            && !guest.shut_down(grace).await
            && !force
        {
            let mut state = worker.node.lock();
            get(&mut state, vmid).map_err(|refusal| refusal.message)?.guest = Some(guest);
            return Err("VM quit/powerdown failed - got timeout".to_owned());
        }
        let mut state = worker.node.lock();
        get(&mut state, vmid).map_err(|refusal| refusal.message)?.running = false;
        Ok(())
    };
    tasks::begin(request.node, &mut state, kind, &vmid.to_string(), work, |_| {}, |_| {})
}

fn power<'n>(request: &'n Request<'_>) -> Result<(std::sync::MutexGuard<'n, State>, u32), Refusal> {
    let mut state = request.node.lock();
    let vmid = request.vmid();
    state.grants.all(&format!("/vms/{vmid}"), &["VM.PowerMgmt"])?;
    get(&mut state, vmid)?;
    Ok((state, vmid))
}

pub(super) fn destroy(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    settle_host(request.node, &mut state);
    let vmid = request.vmid();
    state.grants.all(&format!("/vms/{vmid}"), &["VM.Allocate"])?;
    let vm = get(&mut state, vmid)?;
    if vm.running {
        return Err(Refusal::died(format!("VM {vmid} is running - destroy failed")));
    }
    let unreferenced = request.get("destroy-unreferenced-disks") == "1";
    let work = move |worker: Worker| async move {
        let mut state = worker.node.lock();
        let vm = get(&mut state, vmid).map_err(|refusal| refusal.message)?;
        check_lock(vm)?;
        let is_template = vm.is_template();
        let named: Vec<String> =
            vm.config.values().filter_map(|value| value.split(',').next()).map(str::to_owned).collect();
        if is_template && let Some(base) = named.iter().find(|volid| templates::is_used(&state, volid)) {
            return Err(format!("base volume '{base}' is still in use by linked cloned"));
        }
        let ours = |volid: &String, bears: Option<u32>| bears == Some(vmid) && (unreferenced || named.contains(volid));
        let gone: Vec<String> = state
            .volumes
            .iter()
            .filter(|(volid, volume)| ours(volid, volume.vmid))
            .map(|(volid, _)| volid.clone())
            .collect();
        for volume in gone {
            state.remove_volume(&volume);
        }
        state.vms.remove(&vmid);
        Ok(())
    };
    tasks::begin(request.node, &mut state, "qmdestroy", &vmid.to_string(), work, |_| {}, |_| {})
}
