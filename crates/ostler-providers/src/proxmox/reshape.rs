//! Another size for a VM that is there.

use super::{
    Machine,
    error::ProxmoxError,
    form::Form,
    vm::Vm,
    wire::{self, VmConfig},
};
use ostler_core::{
    Classify,
    model::{Finding, Reshape},
    spec::Size,
};

const MIB: u64 = 1 << 20;

/// What it has now; memory in MiB, disk in bytes.
struct Has {
    cores: u64,
    memory: u64,
    disk: u64,
}

impl Has {
    fn read(config: &VmConfig) -> Self {
        Self {
            cores: config.number("cores").unwrap_or(1) * config.number("sockets").unwrap_or(1),
            memory: config.number("memory").unwrap_or(512),
            disk: config.property("scsi0", "size").as_deref().and_then(wire::size).unwrap_or_default(),
        }
    }
}

/// What would change, and what stands in the way.
pub async fn preflight(vm: &Vm<'_>, machine: &Machine, size: Size) -> Result<Reshape, ProxmoxError> {
    let config = vm.ours().await?.ok_or_else(|| machine.absent())?;
    let has = Has::read(&config);
    let mut reshape = Reshape::default();
    if size.disk < has.disk {
        let error = shrink(machine, &has, size);
        reshape.findings.push(Finding { fatal: true, message: error.to_string(), hints: error.hints() });
    }
    let mut compare = |what: &str, old: u64, new: u64, unit: &str| {
        if old != new {
            reshape.changes.push(format!("{what} {old}{unit} -> {new}{unit}"));
        }
    };
    compare("cpus", has.cores, size.cpus.into(), "");
    compare("memory", has.memory, size.memory / MIB, " MiB");
    compare("disk", has.disk / MIB, size.disk / MIB, " MiB");
    Ok(reshape)
}

/// Gives it the size; it must be off.
pub async fn change(vm: &Vm<'_>, machine: &Machine, size: Size) -> Result<(), ProxmoxError> {
    let config = vm.ours().await?.ok_or_else(|| machine.absent())?;
    if vm.runs().await? {
        return Err(ProxmoxError::Running(machine.server.clone()));
    }
    let has = Has::read(&config);
    if size.disk < has.disk {
        return Err(shrink(machine, &has, size));
    }
    if (has.cores, has.memory) != (size.cpus.into(), size.memory / MIB) {
        let form = Form::new().with("sockets", 1).with("cores", size.cpus).with("memory", size.memory / MIB);
        vm.client.put(&vm.path("/config"), &form).await?;
    }
    if size.disk > has.disk {
        vm.grow(size.disk).await?;
    }
    Ok(())
}

fn shrink(machine: &Machine, has: &Has, size: Size) -> ProxmoxError {
    ProxmoxError::Shrink { server: machine.server.clone(), has: has.disk / MIB, wanted: size.disk / MIB }
}
