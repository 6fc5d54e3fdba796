//! Removes what was made, and nothing else.

use super::{
    Machine,
    client::Client,
    error::ProxmoxError,
    form::{Form, encode},
    host::Host,
    storage, task,
    vm::{Found, Lookup, Silent, Vm},
    wire::Volume,
};

/// Removes the VM with its disks, and the seed. What does not exist is removed already.
pub async fn all(client: &Client, host: &Host, machine: &Machine) -> Result<(), ProxmoxError> {
    let vm = Vm::of(client, machine);
    // What a killed worker made is in no configuration. The VMID was free of volumes, and was ours from then on.
    let mut disks: Vec<String> = machine.disk.iter().cloned().collect();
    match vm.find(&Silent).await? {
        // Volumes are named by VMID and number: what bears the name of our disk now is the other VM's.
        Found::Other => disks.clear(),
        Found::Absent if machine.disk.is_none() => disks = made_since(client, machine).await?,
        Found::Absent => {}
        Found::Whole(_) => {
            if vm.runs().await? {
                vm.power_off().await?;
            }
            destroy(&vm).await?;
        }
        Found::Broken => {
            disks = made_since(client, machine).await?;
            if !host.is(&machine.node) {
                let Machine { vmid, node, .. } = machine.clone();
                return Err(ProxmoxError::Locked { vmid, node, lock: machine.lock(), volumes: disks });
            }
            host.unlock(machine.vmid).await?;
            destroy(&vm).await?;
        }
    }
    // Somebody may have taken the VM away and left its disk.
    for disk in disks {
        if !is_there(client, machine, &disk).await? {
            continue;
        }
        if host.is(&machine.node) {
            host.free(&disk).await?;
            continue;
        }
        match remove_volume(client, machine, &disk).await {
            // It takes `Datastore.Allocate` on the storage of everybody's disks, which the token had better not have.
            Err(ProxmoxError::Refused { status: 403, .. }) => {
                return Err(ProxmoxError::Stray { volume: disk, node: machine.node.clone() });
            }
            removed => removed?,
        }
    }
    seed(client, machine).await
}

/// Removes the seed, if it is there.
pub async fn seed(client: &Client, machine: &Machine) -> Result<(), ProxmoxError> {
    if is_there(client, machine, &machine.seed).await? {
        remove_volume(client, machine, &machine.seed).await?;
    }
    Ok(())
}

/// What [`all`] would remove, for people. What the node does not say now is told as what there may be.
pub async fn left(client: &Client, machine: &Machine) -> Vec<String> {
    let name = format!("VM {} on {}", machine.vmid, machine.node);
    seen(client, machine, &name)
        .await
        .unwrap_or_else(|_| vec![format!("{name} and {}, if they were made: the node does not say", machine.seed)])
}

async fn seen(client: &Client, machine: &Machine, name: &str) -> Result<Vec<String>, ProxmoxError> {
    let (vm, mut volumes) = match Vm::of(client, machine).look_up().await? {
        Lookup::Settled(Found::Other) => (None, Vec::new()),
        Lookup::Settled(Found::Absent) => (None, made_since(client, machine).await?),
        Lookup::Settled(Found::Whole(config)) => (Some(name.to_owned()), config.volume("scsi0").into_iter().collect()),
        Lookup::Settled(Found::Broken) => (Some(format!("{name}, half made")), made_since(client, machine).await?),
        Lookup::InProgress(_) => (Some(format!("{name}, being made")), made_since(client, machine).await?),
    };
    if is_there(client, machine, &machine.seed).await? {
        volumes.push(machine.seed.clone());
    }
    Ok(vm.into_iter().chain(volumes).collect())
}

async fn destroy(vm: &Vm<'_>) -> Result<(), ProxmoxError> {
    match vm.destroy().await {
        Err(ProxmoxError::Task { exit, .. }) if exit.contains("in use by linked clone") => {
            Err(ProxmoxError::Cloned { vmid: vm.machine.vmid, node: vm.machine.node.clone() })
        }
        Err(error) if !error.is_absence() => Err(error),
        _ => Ok(()),
    }
}

/// Volumes that bear the machine's VMID and did not before it was ours.
async fn made_since(client: &Client, machine: &Machine) -> Result<Vec<String>, ProxmoxError> {
    let mut volumes = storage::volumes_of(client, &machine.node, &machine.storage, machine.vmid).await?;
    volumes.retain(|volume| !machine.before.contains(volume));
    Ok(volumes)
}

fn content_of(machine: &Machine, volume: &str) -> String {
    storage::content_path(&machine.node, storage::of_volume(volume))
}

async fn is_there(client: &Client, machine: &Machine, volume: &str) -> Result<bool, ProxmoxError> {
    let volumes: Vec<Volume> = client.get(&content_of(machine, volume), &Form::new()).await?;
    Ok(volumes.iter().any(|found| found.volid == volume))
}

async fn remove_volume(client: &Client, machine: &Machine, volume: &str) -> Result<(), ProxmoxError> {
    let path = format!("{}/{}", content_of(machine, volume), encode(volume));
    match client.delete(&path, &Form::new()).await?.as_ref().and_then(|answer| answer.as_str()) {
        Some(upid) => match task::finish(client, upid, &format!("remove {volume}"), &Silent).await {
            Err(error) if !error.is_absence() => Err(error),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}
