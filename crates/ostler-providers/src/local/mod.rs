//! Provider `local`: QEMU on this machine, without root and without a daemon.
//!
//! A machine is a folder ([`machine`]) and, while it is on, a QEMU process that belongs to nobody: it survives Ostler, and
//! any later Ostler finds it again ([`process`]). The folder is the only truth; the record in the store names it.
//!
//! ```text
//! STATE/accel.json                  whether KVM works, for this boot of this host
//! STATE/machines/SERVER/            0700
//!     machine.json                  what was ordered and chosen; written first
//!     disk.qcow2                    overlay on the image
//!     seed.iso                      for cloud-init, 0600; scrubbed once the server has keys of its own
//!     console.log, console.log.1    serial console of this and the last start
//!     qemu.log, qemu.pid            QEMU's own words and process id
//!     qmp.sock, qga.sock            control and guest agent
//! ```

mod accel;
pub(crate) mod console;
mod disk;
mod error;
mod iso;
mod machine;
mod marks;
mod net;
mod ports;
mod power;
mod preflight;
mod process;
mod programs;
mod qemu;
mod qmp;
pub(crate) mod seed;

pub use error::LocalError;
pub use net::NetworkError;
pub use qmp::QmpError;

use crate::image::ImageStore;
use async_trait::async_trait;
use machine::{Accel, Forwarded, Home, Machine, Run, check_ours};
use ostler_core::{
    Result,
    ids::{OperationId, ServerName, StateId},
    model::{Finding, ImageHandle, MachineOrder, MachineRecord, Marked, Observed, Power, Reshape},
    ports::{Consoles, Keep, Lifecycle, Origin, Provider, Reporter, Reshaping},
    spec::{Forward, ProviderOptions, Size},
};
use programs::Programs;
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};
use uuid::Uuid;

/// QEMU on this machine.
#[derive(Clone, Debug)]
pub struct LocalProvider {
    place: Place,
    images: ImageStore,
}

/// Where machines and programs are.
#[derive(Clone, Debug)]
struct Place {
    state: PathBuf,
    programs: Programs,
}

impl Place {
    fn machines(&self) -> PathBuf {
        self.state.join("machines")
    }
}

/// Content of a [`MachineRecord`]: which machine is meant. All else is in its folder, where it can't be out of date.
#[derive(Debug, Serialize, Deserialize)]
struct Key {
    server: ServerName,
    operation: OperationId,
    owner: StateId,
    /// Port of the guest that its sshd listens on.
    #[serde(default = "usual_ssh_port")]
    ssh: u16,
}

fn usual_ssh_port() -> u16 {
    22
}

impl LocalProvider {
    /// Keeps machines under `state`, an absolute path, boots them from `images`, and looks for QEMU in `search_path`, which is written as
    /// `PATH` is.
    pub fn new(state: PathBuf, images: ImageStore, search_path: impl Into<OsString>) -> Self {
        Self { place: Place { state, programs: Programs::new(search_path) }, images }
    }

    fn home(&self, server: &ServerName) -> Home {
        Home::new(&self.place.machines(), server)
    }

    /// The machine that a record names; `None` if it is gone, also if another one has its name now.
    fn find(&self, record: &MachineRecord) -> Result<(Key, Home, Option<Machine>), LocalError> {
        let key: Key = serde_json::from_str(&record.0)
            .map_err(|source| LocalError::BadRecord { record: record.0.clone(), source })?;
        let home = self.home(&key.server);
        let machine = home.load()?.filter(|found| found.operation == key.operation && found.owner == key.owner);
        Ok((key, home, machine))
    }

    fn get(&self, record: &MachineRecord) -> Result<(Home, Machine), LocalError> {
        let (key, home, machine) = self.find(record)?;
        machine.map(|machine| (home, machine)).ok_or(LocalError::Absent(key.server))
    }

    async fn make(&self, order: &MachineOrder, image: &Path) -> Result<Machine, LocalError> {
        net::subnets(&order.networks)?;
        let home = self.home(&order.server);
        let machine = match home.load()? {
            Some(machine) => {
                check_ours(&machine, order)?;
                machine
            }
            None => {
                let image = std::path::absolute(image).map_err(LocalError::file("find", image))?;
                let mut machine = new_machine(order, image);
                power::settle_ports(&self.place.machines(), &mut machine)?;
                home.make(&machine)?;
                machine
            }
        };
        let disk = home.file(qemu::DISK);
        if !disk::exists(&disk)? {
            disk::create(&self.place.programs, &disk, &machine.image, machine.size.disk).await?;
        }
        let seeded = disk::exists(&home.file(seed::SEED))?;
        if machine.scrubbed && !seeded {
            seed::replace(&home, &machine.meta_data, &machine.network_config)?;
        } else if !machine.booted || !seeded {
            // Until the first boot: a creation that is resumed may come with another host key.
            seed::write(&home, &order.seed)?;
        }
        Ok(machine)
    }

    async fn scrub(&self, home: &Home, machine: &mut Machine) -> Result<(), LocalError> {
        let qmp_failed = |source| LocalError::Qmp { server: machine.server.clone(), source };
        seed::replace(home, &machine.meta_data, &machine.network_config)?;
        if power::running(home, machine, power::this_boot()?).is_some() {
            let mut qmp = qmp::Qmp::connect(&home.path(), qemu::QMP).await.map_err(qmp_failed)?;
            qmp.change_medium(qemu::SEED_DRIVE, &home.file(seed::SEED)).await.map_err(qmp_failed)?;
        }
        seed::wipe(home)?;
        machine.scrubbed = true;
        home.save(machine)
    }

    async fn change(
        &self,
        home: &Home,
        mut machine: Machine,
        size: Size,
        forward: &[Forward],
    ) -> Result<(), LocalError> {
        if power::running(home, &machine, power::this_boot()?).is_some() {
            return Err(LocalError::Running(machine.server));
        }
        let disk = home.file(qemu::DISK);
        let has = disk::info(&self.place.programs, &disk).await?.virtual_size;
        if size.disk < has {
            let (has, wanted) = (has / disk::MIB, size.disk / disk::MIB);
            return Err(LocalError::Shrink { server: machine.server, has, wanted });
        }
        if size.disk > has {
            disk::grow(&self.place.programs, &disk, size.disk).await?;
        }
        machine.size = size;
        let chosen =
            |order: &Forward| machine.forwards.iter().find(|old| old.order == *order).map_or(0, |old| old.host);
        machine.forwards = forward.iter().map(|order| Forwarded { order: *order, host: chosen(order) }).collect();
        power::settle_ports(&self.place.machines(), &mut machine)?;
        home.save(&machine)
    }

    /// Sees to it that a port of 127.0.0.1 leads to `port` of the guest, now and after each start.
    async fn add_ssh_way(&self, home: &Home, mut machine: Machine, port: u16) -> Result<(), LocalError> {
        if port == usual_ssh_port() || machine.ssh_moved.iter().any(|way| way.order.guest == port) {
            return Ok(());
        }
        let running = power::running(home, &machine, power::this_boot()?).is_some();
        let way = power::choose_way(&self.place.machines(), &machine, port)?;
        machine.ssh_moved.push(way);
        if running {
            let qmp_failed = |source| LocalError::Qmp { server: machine.server.clone(), source };
            let mut qmp = qmp::Qmp::connect(&home.path(), qemu::QMP).await.map_err(qmp_failed)?;
            qmp.add_forward(&qemu::added_forward(&machine, &way)?).await.map_err(qmp_failed)?;
        }
        home.save(&machine)
    }

    fn look(&self, record: &MachineRecord, boot: Uuid) -> Result<Observed, LocalError> {
        let (key, home, machine) = self.find(record)?;
        Ok(machine.map_or_else(absent, |machine| observed(&home, &machine, boot, key.ssh)))
    }
}

#[async_trait]
impl Provider for LocalProvider {
    fn origin(&self) -> Origin<'_> {
        Origin::Makes(self)
    }

    fn reshaping(&self) -> Option<&dyn Reshaping> {
        Some(self)
    }

    fn consoles(&self) -> Option<&dyn Consoles> {
        Some(self)
    }

    async fn preflight(&self, order: &MachineOrder) -> Result<Vec<Finding>> {
        let image = self.images.cached(&order.image_ref)?;
        Ok(preflight::order(&self.place, order, image.as_deref()).await?)
    }

    /// Two small files are read for each machine; QEMU is not asked.
    async fn observe(&self, machines: &[&MachineRecord]) -> Result<Vec<Observed>> {
        let boot = power::this_boot()?;
        machines.iter().map(|record| Ok(self.look(record, boot)?)).collect()
    }

    async fn route_ssh(&self, machine: &MachineRecord, port: u16) -> Result<MachineRecord> {
        let (home, found) = self.get(machine)?;
        self.add_ssh_way(&home, found.clone(), port).await?;
        Ok(record(&found, port))
    }
}

#[async_trait]
impl Lifecycle for LocalProvider {
    async fn image(&self, order: &MachineOrder, reporter: &dyn Reporter) -> Result<ImageHandle> {
        let path = self.images.ensure(&order.image_ref, reporter).await?;
        let path = path.into_os_string().into_string().map_err(|path| LocalError::ImagePath(path.into()))?;
        Ok(ImageHandle(path))
    }

    async fn create(
        &self,
        order: &MachineOrder,
        image: &ImageHandle,
        _: &dyn Keep,
        _: &dyn Reporter,
    ) -> Result<MachineRecord> {
        Ok(record(&self.make(order, Path::new(&image.0)).await?, usual_ssh_port()))
    }

    async fn start(&self, machine: &MachineRecord, reporter: &dyn Reporter) -> Result<MachineRecord> {
        let (key, home, found) = self.find(machine)?;
        let found = found.ok_or(LocalError::Absent(key.server))?;
        Ok(record(&power::start(&self.place, &home, found, reporter).await?, key.ssh))
    }

    async fn stop(&self, machine: &MachineRecord, grace: Duration) -> Result<()> {
        match self.find(machine)? {
            (_, home, Some(machine)) => Ok(power::stop(&home, machine, grace).await?),
            (_, _, None) => Ok(()),
        }
    }

    async fn scrub_seed(&self, machine: &MachineRecord) -> Result<()> {
        let (home, mut machine) = self.get(machine)?;
        Ok(self.scrub(&home, &mut machine).await?)
    }

    /// A machine that another operation made is not a trace of this order, and stays; one of another owner is an error.
    async fn remove(&self, order: &MachineOrder) -> Result<()> {
        let home = self.home(&order.server);
        if let Some(machine) = home.load()? {
            match check_ours(&machine, order) {
                Err(LocalError::OtherOperation { .. }) => return Ok(()),
                checked => checked?,
            }
            power::end(&home, &machine).await?;
        }
        Ok(home.remove()?)
    }

    async fn left(&self, order: &MachineOrder) -> Vec<String> {
        let home = self.home(&order.server);
        match home.load() {
            Ok(Some(machine)) if check_ours(&machine, order).is_ok() => vec![home.path().display().to_string()],
            _ => Vec::new(),
        }
    }

    async fn marked(&self, _: &ProviderOptions) -> Result<Vec<Marked>> {
        Ok(marks::all(&self.place.machines(), power::this_boot()?)?)
    }
}

#[async_trait]
impl Reshaping for LocalProvider {
    async fn preflight_reshape(
        &self,
        machine: &MachineRecord,
        size: Size,
        options: &ProviderOptions,
    ) -> Result<Reshape> {
        let (home, machine) = self.get(machine)?;
        Ok(preflight::reshape(&self.place, &home, &machine, size, options.forward()).await?)
    }

    async fn reshape(&self, machine: &MachineRecord, size: Size, options: &ProviderOptions) -> Result<MachineRecord> {
        let (home, found) = self.get(machine)?;
        self.change(&home, found, size, options.forward()).await?;
        Ok(machine.clone())
    }
}

#[async_trait]
impl Consoles for LocalProvider {
    async fn console_tail(&self, machine: &MachineRecord, lines: usize) -> Result<Vec<String>> {
        match self.find(machine)? {
            (_, home, Some(_)) => Ok(console::tail(&home.file(console::CONSOLE), lines)?),
            (_, _, None) => Ok(Vec::new()),
        }
    }
}

fn new_machine(order: &MachineOrder, image: PathBuf) -> Machine {
    Machine {
        server: order.server.clone(),
        operation: order.operation,
        owner: order.owner,
        uuid: Uuid::new_v4(),
        image,
        size: order.size,
        networks: order.networks.clone(),
        ssh_port: 0,
        ssh_moved: Vec::new(),
        forwards: order.options.forward().iter().map(|&order| Forwarded { order, host: 0 }).collect(),
        meta_data: order.seed.meta_data.clone(),
        network_config: order.seed.network_config.clone(),
        booted: false,
        scrubbed: false,
        run: Run::Off,
    }
}

fn record(machine: &Machine, ssh: u16) -> MachineRecord {
    let key = Key { server: machine.server.clone(), operation: machine.operation, owner: machine.owner, ssh };
    MachineRecord(serde_json::to_string(&key).expect("a key has only text keys"))
}

fn observed(home: &Home, machine: &Machine, boot: Uuid, ssh: u16) -> Observed {
    let running = power::running(home, machine, boot);
    let moved = machine.ssh_moved.iter().find(|way| way.order.guest == ssh);
    let way = moved.map_or((machine.ssh_port, 22), |way| (way.host, ssh));
    let forwards = || std::iter::once(way).chain(machine.forwards.iter().map(|f| (f.host, f.order.guest)));
    let ports: Vec<String> = forwards().map(|(here, there)| format!("{} -> {there}", ports::local(here))).collect();
    Observed {
        power: if running.is_some() { Power::On } else { Power::Off },
        ssh: Some(ports::local(way.0)),
        detail: match running {
            Some((accel, process)) => format!("qemu pid {}, {}, {}", process.pid, accel.as_str(), ports.join(", ")),
            None => "off".to_owned(),
        },
        forwards: forwards().skip(1).map(|(here, there)| (ports::local(here), there)).collect(),
        slowness: running.map_or(Accel::Kvm, |(accel, _)| accel).slowness(),
    }
}

fn absent() -> Observed {
    Observed { power: Power::Absent, ssh: None, detail: "absent".to_owned(), forwards: Vec::new(), slowness: 1 }
}
