//! Removes what was made, and nothing else.

use super::{
    Machine,
    client::Client,
    error::ProxmoxError,
    form::{Form, encode},
    host::Host,
    task,
    vm::{Found, Silent, Vm},
    wire::Volume,
};

/// Removes the VM with its disks, and the seed. What does not exist is removed already.
pub async fn all(client: &Client, host: &Host, machine: &Machine) -> Result<(), ProxmoxError> {
    let vm = Vm::of(client, machine);
    let found = vm.find(&Silent).await?;
    let is_alone = !matches!(found, Found::Other);
    let is_there = match found {
        Found::Absent | Found::Other => false,
        Found::Whole(_) => {
            if vm.runs().await? {
                vm.power_off().await?;
            }
            true
        }
        Found::Broken => {
            host.unlock(machine).await?;
            true
        }
    };
    if is_there {
        match vm.destroy().await {
            Err(error) if !error.is_absence() => return Err(error),
            _ => {}
        }
    }
    // Somebody may have taken the VM away and left its disk.
    for volume in machine.disk.iter().chain([&machine.seed]) {
        remove_volume(client, machine, volume).await?;
    }
    // What a killed worker made is in no configuration. The VMID was free of volumes, and was ours from then on.
    if machine.disk.is_none() && is_alone {
        for volume in volumes_of(client, &machine.node, &machine.storage, machine.vmid).await? {
            if !machine.before.contains(&volume) {
                remove_volume(client, machine, &volume).await?;
            }
        }
    }
    Ok(())
}

/// Volumes of a storage that bear a VMID.
pub async fn volumes_of(client: &Client, node: &str, storage: &str, vmid: u32) -> Result<Vec<String>, ProxmoxError> {
    let path = format!("/nodes/{}/storage/{}/content", encode(node), encode(storage));
    let volumes: Vec<Volume> = client.get(&path, &Form::new().with("vmid", vmid)).await?;
    Ok(volumes.into_iter().map(|volume| volume.volid).collect())
}

/// Removes a volume that is on record, if it is there.
async fn remove_volume(client: &Client, machine: &Machine, volume: &str) -> Result<(), ProxmoxError> {
    let Some((storage, _)) = volume.split_once(':') else { return Ok(()) };
    let content = format!("/nodes/{}/storage/{}/content", encode(&machine.node), encode(storage));
    let volumes: Vec<Volume> = client.get(&content, &Form::new()).await?;
    if !volumes.iter().any(|found| found.volid == volume) {
        return Ok(());
    }
    let answer = match client.delete(&format!("{content}/{}", encode(volume)), &Form::new()).await {
        Err(error) if error.is_absence() => return Ok(()),
        answer => answer?,
    };
    match answer.as_ref().and_then(|answer| answer.as_str()) {
        Some(upid) => task::finish(client, upid, &format!("remove {volume}"), &Silent).await,
        None => Ok(()),
    }
}
