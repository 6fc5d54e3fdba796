//! What stands in the way of a machine, found before anything is touched.

use super::{
    Place,
    accel::{self, Kvm},
    disk::{self, MIB},
    error::LocalError,
    machine::{self, Home, Machine, check_ours},
    net::subnets,
    ports, power,
    qemu::DISK,
};
use ostler_core::{
    Classify,
    hint::Hint,
    ids::ServerName,
    model::{Finding, MachineOrder, Reshape},
    spec::{Address, Forward, Size},
};
use std::{collections::BTreeSet, fs, path::Path};

/// All findings about an order; `image` is what it boots from, if that is at hand.
pub async fn order(place: &Place, order: &MachineOrder, image: Option<&Path>) -> Result<Vec<Finding>, LocalError> {
    let mut findings = Vec::new();
    let home = Home::new(&place.machines(), &order.server);
    let existing = match home.load() {
        Ok(Some(machine)) => match check_ours(&machine, order) {
            Ok(()) => Some(machine),
            Err(error) => return Ok(vec![refusal(&error)]),
        },
        Ok(None) => None,
        Err(error) => return Ok(vec![refusal(&error)]),
    };
    let boot = power::this_boot()?;
    let runs = existing.as_ref().is_some_and(|machine| power::running(&home, machine, boot).is_some());

    let programs = [place.programs.qemu(), place.programs.qemu_img()];
    let missing: Vec<&LocalError> = programs.iter().filter_map(|found| found.as_ref().err()).collect();
    findings.extend(missing.iter().map(|error| refusal(error)));
    if let Some(image) = image.filter(|_| missing.is_empty()) {
        findings.extend(too_big(place, order, image).await);
    }
    findings.extend(disk_space(&place.state, order.size.disk));
    findings.extend(processors(order.size));
    if !runs {
        findings.extend(memory(order.size, 0));
        findings.extend(forwards(place, &order.server, order.options.forward(), &[]));
    }
    if let Err(error) = subnets(&order.networks) {
        findings.push(refusal(&LocalError::from(error)));
    }
    let deaf = order.networks.iter().all(|card| matches!(card.address, Address::Static(_)) && card.dns.is_empty());
    if deaf {
        let message = "no card has DHCP or a name server: the server won't resolve names".to_owned();
        findings.push(warning(message, "set `dns` on the first network"));
    }
    if let Kvm::Broken(why) = accel::kvm(&place.state, boot) {
        let message = accel::emulation_notice(order.server.as_str(), &why);
        let hints = accel::kvm_hint().map(Hint::from).into_iter().collect();
        findings.push(Finding { fatal: false, message, hints });
    }
    Ok(findings)
}

/// What another size and other options would change, and what stands in the way. That the machine runs does not: whoever
/// reshapes it stops it first.
pub async fn reshape(
    place: &Place,
    home: &Home,
    machine: &Machine,
    size: Size,
    forward: &[Forward],
) -> Result<Reshape, LocalError> {
    let mut findings = Vec::new();
    let runs = power::running(home, machine, power::this_boot()?).is_some();
    let has = disk::info(&place.programs, &home.file(DISK)).await?.virtual_size;
    if size.disk < has {
        let (has, wanted) = (has / MIB, size.disk / MIB);
        findings.push(refusal(&LocalError::Shrink { server: machine.server.clone(), has, wanted }));
    }
    if size.disk > has {
        findings.extend(disk_space(&place.state, size.disk));
    }
    if size.cpus > machine.size.cpus {
        findings.extend(processors(size));
    }
    // What the machine has now is free once it is off.
    findings.extend(memory(size, if runs { machine.size.memory } else { 0 }));
    let ours: Vec<u16> = if runs { ports::kept(machine).collect() } else { Vec::new() };
    findings.extend(forwards(place, &machine.server, forward, &ours));
    Ok(Reshape { changes: changes(machine, has, size, forward), findings, ..Reshape::default() })
}

fn changes(machine: &Machine, disk: u64, size: Size, forward: &[Forward]) -> Vec<String> {
    let mut changes = Vec::new();
    let mut compare = |what: &str, old: u64, new: u64, unit: &str| {
        if old != new {
            changes.push(format!("{what} {old}{unit} -> {new}{unit}"));
        }
    };
    compare("cpus", machine.size.cpus.into(), size.cpus.into(), "");
    compare("memory", machine.size.memory / MIB, size.memory / MIB, " MiB");
    compare("disk", disk / MIB, size.disk / MIB, " MiB");
    let forwards = |orders: &mut dyn Iterator<Item = Forward>| -> String {
        let all: Vec<String> = orders
            .map(|order| format!("{}:{}", order.host.map_or("any".to_owned(), |port| port.to_string()), order.guest))
            .collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    };
    let old = forwards(&mut machine.forwards.iter().map(|forward| forward.order));
    let new = forwards(&mut forward.iter().copied());
    if old != new {
        changes.push(format!("forwarded ports {old} -> {new}"));
    }
    changes
}

/// The image does not fit on the disk, or can't be read.
async fn too_big(place: &Place, order: &MachineOrder, image: &Path) -> Option<Finding> {
    match disk::info(&place.programs, image).await {
        Err(error) => Some(refusal(&error)),
        Ok(info) if info.virtual_size > order.size.disk => Some(refusal(&LocalError::ImageTooBig {
            image: image.to_owned(),
            needs: disk::mib_up(info.virtual_size),
            wanted: order.size.disk / MIB,
        })),
        Ok(_) => None,
    }
}

/// A fresh Debian with a few apps takes about 2 GiB: less is refused. A disk may grow to its full size: less than that
/// is worth a warning, for thin disks are there to be promised more often than they exist.
fn disk_space(state: &Path, disk: u64) -> Option<Finding> {
    let existing = state.ancestors().find(|folder| folder.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    let free = stat.f_bavail * stat.f_frsize / MIB;
    let (least, full) = (2048, disk / MIB);
    if free < least {
        let message = format!("only {free} MiB are free under `{}`, {least} are needed", existing.display());
        Some(Finding { fatal: true, message, hints: vec!["make room, or use another state directory".into()] })
    } else if free < full {
        let message =
            format!("the disk may grow to {full} MiB, and {free} MiB are free under `{}`", existing.display());
        Some(warning(message, "make room before the server fills its disk: a full host stops it"))
    } else {
        None
    }
}

/// `MemAvailable` is what can be had without swapping (proc_meminfo(5)).
fn memory(size: Size, given_back: u64) -> Option<Finding> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024 + given_back / MIB;
    let wanted = size.memory / MIB;
    (available < wanted).then(|| Finding {
        fatal: true,
        message: format!("the server wants {wanted} MiB of memory, and this machine has {available} MiB left"),
        hints: vec!["set a smaller `memory`, or stop another server".into()],
    })
}

fn processors(size: Size) -> Option<Finding> {
    let has = std::thread::available_parallelism().ok()?.get();
    (size.cpus as usize > has).then(|| {
        let message = format!("the server wants {} processors, and this machine has {has}", size.cpus);
        warning(message, "it works, but no faster than with fewer")
    })
}

/// `ours` are ports that the server's own QEMU listens on now.
fn forwards(place: &Place, server: &ServerName, forward: &[Forward], ours: &[u16]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    let all = machine::all(&place.machines());
    for port in forward.iter().filter_map(|forward| forward.host) {
        let other = all.iter().find(|other| other.server != *server && ports::kept(other).any(|kept| kept == port));
        let taken = if !seen.insert(port) {
            "the same server asks for it twice".to_owned()
        } else if let Some(other) = other {
            format!("it belongs to server `{}`", other.server)
        } else if ours.contains(&port) {
            continue;
        } else if let Err(error) = ports::check(port) {
            error.to_string()
        } else {
            continue;
        };
        findings.push(Finding {
            fatal: true,
            message: format!("port {port} of 127.0.0.1 can't be forwarded: {taken}"),
            hints: vec!["stop what listens there, or set another host port in `local.forward`".into()],
        });
    }
    findings
}

fn refusal(error: &LocalError) -> Finding {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    Finding { fatal: true, message, hints: error.hints() }
}

fn warning(message: String, hint: &str) -> Finding {
    Finding { fatal: false, message, hints: vec![hint.into()] }
}
