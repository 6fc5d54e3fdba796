//! Turning machines on and off.

use super::{
    Place,
    accel::{self, Kvm, Proof},
    console, disk,
    error::LocalError,
    machine::{self, Accel, Forwarded, Home, Machine, Run},
    ports,
    process::{Process, boot_id, find_qemu},
    qemu::{self, DISK, LOG, PIDFILE, QMP},
    qmp::Qmp,
    seed::SEED,
};
use ostler_core::{
    event::{EventKind, Level},
    ports::Reporter,
    spec::Forward,
};
use std::{collections::BTreeSet, fs, path::Path, process::Stdio, time::Duration};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// Starts a machine, unless it runs; afterwards it runs with an accelerator that works.
pub async fn start(
    place: &Place,
    home: &Home,
    mut machine: Machine,
    reporter: &dyn Reporter,
) -> Result<Machine, LocalError> {
    for part in [DISK, SEED] {
        let path = home.file(part);
        if !disk::exists(&path)? {
            return Err(LocalError::Incomplete { server: machine.server, path });
        }
    }
    let boot = this_boot()?;
    let never_booted = !machine.booted;
    let kvm = accel::kvm(&place.state, boot);
    let running = running(home, &machine, boot);
    if let Some((accel, process)) = running {
        machine.run = Run::On { accel, process };
        home.save(&machine)?;
        if accel == Accel::Tcg || kvm != Kvm::Untried {
            return Ok(machine);
        }
    }
    let why = match kvm {
        Kvm::Works => return launch(place, home, machine, Accel::Kvm, boot).await.map(|(machine, _)| machine),
        Kvm::Broken(why) => {
            machine = launch(place, home, machine, Accel::Tcg, boot).await?.0;
            why
        }
        Kvm::Untried => {
            let launched = match running {
                Some((_, process)) => Ok((machine.clone(), process)),
                None => launch(place, home, machine.clone(), Accel::Kvm, boot).await,
            };
            let proof = match launched {
                Ok((launched, process)) => {
                    machine = launched;
                    accel::prove(home, process, boot).await
                }
                Err(LocalError::Launch { said, .. }) => Proof::Broken(format!("QEMU ended: {said}")),
                Err(error) => return Err(error),
            };
            let (why, of_the_host) = match proof {
                Proof::Alive => {
                    accel::remember(&place.state, boot, None)?;
                    return Ok(machine);
                }
                Proof::Broken(why) => (format!("KVM does not work here ({why})"), true),
                Proof::Silent(why) => (format!("KVM was given up ({why})"), false),
            };
            end(home, &machine).await?;
            if never_booted {
                // The guest may have died in the middle of a write; there is nothing on the disk to lose yet.
                fs::remove_file(home.file(DISK)).map_err(LocalError::file("remove", home.file(DISK)))?;
                disk::create(&place.programs, &home.file(DISK), &machine.image, machine.size.disk).await?;
            }
            machine = launch(place, home, machine, Accel::Tcg, boot).await?.0;
            if of_the_host {
                // Only now: had emulation failed as well, then not because of KVM.
                accel::remember(&place.state, boot, Some(why.clone()))?;
            }
            why
        }
    };
    let message = accel::emulation_notice(machine.server.as_str(), &why);
    reporter.report(EventKind::Notice { level: Level::Warning, message }).await;
    Ok(machine)
}

/// Asks the guest to shut down, and takes the power away after `grace`.
pub async fn stop(home: &Home, mut machine: Machine, grace: Duration) -> Result<(), LocalError> {
    if let Some((_, process)) = running(home, &machine, this_boot()?) {
        let deadline = Instant::now() + grace;
        // A guest that is still booting does not hear the button, so it is pressed again.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if let Ok(mut qmp) = Qmp::connect(&home.path(), QMP).await {
                let _ = qmp.power_button().await; // The deadline answers for a failure.
            }
            if process.ended_within(left.min(BUTTON)).await? {
                break;
            }
        }
        if !process.ended_within(Duration::ZERO).await? {
            // Not by the control socket: somebody else may hold it.
            process.terminate()?;
            process.ended_within(WRITE_OUT).await?;
        }
        end(home, &machine).await?;
    }
    if machine.run != Run::Off {
        machine.run = Run::Off;
        home.save(&machine)?;
    }
    Ok(())
}

/// Ends a machine's QEMU at once, if there is one.
pub async fn end(home: &Home, machine: &Machine) -> Result<(), LocalError> {
    let Some((_, process)) = running(home, machine, this_boot()?) else { return Ok(()) };
    process.kill()?;
    if process.ended_within(KILL).await? {
        Ok(())
    } else {
        Err(LocalError::WontEnd { server: machine.server.clone(), pid: process.pid, waited: KILL })
    }
}

/// The machine's QEMU, if it runs.
pub fn running(home: &Home, machine: &Machine, boot: Uuid) -> Option<(Accel, Process)> {
    match machine.run {
        Run::Off => None,
        Run::On { accel, process } => process.is_alive(boot).then_some((accel, process)),
        Run::Starting { accel } => find_qemu(machine.uuid, &home.file(PIDFILE), boot).map(|process| (accel, process)),
    }
}

/// Id of this boot of this host.
pub fn this_boot() -> Result<Uuid, LocalError> {
    boot_id().map_err(LocalError::file("read", "/proc/sys/kernel/random/boot_id"))
}

/// Starts QEMU for a machine that is off, with other ports where somebody took the chosen ones.
async fn launch(
    place: &Place,
    home: &Home,
    mut machine: Machine,
    accel: Accel,
    boot: Uuid,
) -> Result<(Machine, Process), LocalError> {
    let booted = machine.booted;
    let mut tries = 3;
    loop {
        tries -= 1;
        settle_ports(&place.machines(), &mut machine)?;
        machine.booted = true;
        machine.run = Run::Starting { accel };
        home.save(&machine)?;
        console::rotate(home)?;
        match spawn(place, home, &machine, accel, boot).await {
            Ok(process) => {
                machine.run = Run::On { accel, process };
                home.save(&machine)?;
                return Ok((machine, process));
            }
            Err(error) => {
                end(home, &machine).await?;
                let port_was_snatched = ports::kept(&machine).any(|port| ports::check(port).is_err());
                if port_was_snatched && tries > 0 {
                    continue;
                }
                machine.booted = booted;
                machine.run = Run::Off;
                home.save(&machine)?;
                return Err(error);
            }
        }
    }
}

/// Chooses or keeps the machine's ports, off those that other machines keep.
pub fn settle_ports(machines: &Path, machine: &mut Machine) -> Result<(), LocalError> {
    let all = machine::all(machines);
    let others = all.iter().filter(|other| other.server != machine.server);
    let others: BTreeSet<u16> = others.flat_map(ports::kept).collect();
    ports::settle(machine, &others)
}

/// A free port of 127.0.0.1 for one more way to the guest's sshd.
pub fn choose_way(machines: &Path, machine: &Machine, guest: u16) -> Result<Forwarded, LocalError> {
    let all = machine::all(machines);
    let taken: BTreeSet<u16> = all.iter().flat_map(ports::kept).chain(ports::kept(machine)).collect();
    let order = Forward { host: None, guest };
    Ok(Forwarded { order, host: ports::free(machine, &taken)? })
}

async fn spawn(place: &Place, home: &Home, machine: &Machine, accel: Accel, boot: Uuid) -> Result<Process, LocalError> {
    let program = place.programs.qemu()?;
    let failed = |said: String| LocalError::Launch { server: machine.server.clone(), said };
    let _ = fs::remove_file(home.file(LOG)); // What it said last time is no answer to this time.
    // QEMU daemonises itself: it leaves our session, points its standard streams elsewhere, and returns once all is set up.
    let run = tokio::process::Command::new(&program)
        .args(qemu::argv(machine, accel)?)
        .current_dir(home.path())
        .env_clear() // Nothing of ours belongs into a process that stays.
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = match timeout(SETUP, run).await {
        Ok(output) => output.map_err(LocalError::file("run", program))?,
        Err(_) => return Err(failed(format!("it was not ready after {} s", SETUP.as_secs()))),
    };
    if output.status.success()
        && let Some(process) = find_qemu(machine.uuid, &home.file(PIDFILE), boot)
    {
        return Ok(process);
    }
    let early = String::from_utf8_lossy(&output.stderr);
    Err(failed(early.lines().last().map_or_else(|| accel::last_words(home), str::to_owned)))
}

/// Time between two presses of the power button.
const BUTTON: Duration = Duration::from_secs(5);
/// QEMU needs it to write out its caches.
const WRITE_OUT: Duration = Duration::from_secs(10);
/// The kernel needs it to take a killed process apart.
const KILL: Duration = Duration::from_secs(20);
/// QEMU is ready in half a second on a quiet machine.
const SETUP: Duration = Duration::from_secs(60);
