//! Providers whose machines are files: one that makes them, and one that adopts what is there.

use super::{FakeWorld, Guest, Machine, WEB};
use async_trait::async_trait;
use ostler_core::{
    Blame, Failure, Result,
    model::{Finding, ImageHandle, MachineOrder, MachineRecord, Marked, Observed, OpenPort, Power, Reshape},
    ports::{
        Adoption, Balancing, Fence, Keep, Lifecycle, Origin, Provider, Rebuilding, Reporter, Reshaping, Templates,
    },
    spec::{LocalOptions, Proto, ProviderOptions, Size, TemplateDigest},
};
use serde_json::Value;
use std::{ops::Deref, path::Path, time::Duration};

/// Makes machines of the world.
pub struct Maker(pub FakeWorld);

/// Takes over machines that are in the world already.
pub struct Adopter(pub FakeWorld);

impl Deref for Maker {
    type Target = FakeWorld;

    fn deref(&self) -> &FakeWorld {
        &self.0
    }
}

impl Deref for Adopter {
    type Target = FakeWorld;

    fn deref(&self) -> &FakeWorld {
        &self.0
    }
}

#[async_trait]
impl Provider for Maker {
    fn origin(&self) -> Origin<'_> {
        Origin::Makes(self)
    }

    fn reshaping(&self) -> Option<&dyn Reshaping> {
        Some(self)
    }

    fn rebuilding(&self) -> Option<&dyn Rebuilding> {
        Some(self)
    }

    fn templates(&self) -> Option<&dyn Templates> {
        Some(self)
    }

    fn fence(&self) -> Option<&dyn Fence> {
        Some(self)
    }

    fn balancing(&self) -> Option<&dyn Balancing> {
        Some(self)
    }

    async fn preflight(&self, order: &MachineOrder) -> Result<Vec<Finding>> {
        self.faults
            .around("provider.preflight", async {
                let there = self.dir.machine(order.server.as_str());
                let foreign = there.filter(|found| (found.operation, found.owner) != (order.operation, order.owner));
                let taken = foreign.map(|machine| Finding {
                    fatal: true,
                    message: format!("there is a machine {} of {}", machine.name, machine.owner),
                    hints: Vec::new(),
                });
                Ok(taken.into_iter().collect())
            })
            .await
    }

    async fn observe(&self, machines: &[&MachineRecord]) -> Result<Vec<Observed>> {
        self.0.observe(machines).await
    }

    async fn route_ssh(&self, machine: &MachineRecord, _: u16) -> Result<MachineRecord> {
        self.0.route_ssh(machine).await
    }
}

#[async_trait]
impl Lifecycle for Maker {
    async fn image(&self, _: &MachineOrder, _: &dyn Reporter) -> Result<ImageHandle> {
        self.faults
            .around("provider.image", async {
                self.dir.write("images/image", &"");
                Ok(ImageHandle(self.dir.path("images/image").to_str().expect("UTF-8").to_owned()))
            })
            .await
    }

    async fn create(
        &self,
        order: &MachineOrder,
        image: &ImageHandle,
        _: &dyn Keep,
        _: &dyn Reporter,
    ) -> Result<MachineRecord> {
        self.faults
            .around("provider.create", async {
                let mut machine = match self.dir.machine(order.server.as_str()) {
                    Some(found) if (found.operation, found.owner) == (order.operation, order.owner) => found,
                    Some(other) => {
                        return Err(refusal(format!("{} is the machine of {}", other.name, other.operation)));
                    }
                    None => {
                        self.dir.say(&format!("made {}", order.server));
                        Machine {
                            name: order.server.to_string(),
                            operation: order.operation,
                            owner: order.owner,
                            size: order.size,
                            local: LocalOptions { forward: order.options.forward().to_vec() },
                            complete: false,
                            on: false,
                            seed: None,
                            template: false,
                            fence: order.options.fenced().then(|| tcp(&order.openings)),
                            balanced: false,
                            guest: None,
                        }
                    }
                };
                self.dir.put_machine(&machine);
                self.faults.middle("provider.create")?;
                if !Path::new(&image.0).exists() {
                    return Err(refusal(format!("there is no image {}", image.0)));
                }
                machine.complete = true;
                machine.seed = Some(order.seed.clone());
                self.dir.put_machine(&machine);
                Ok(MachineRecord(machine.name))
            })
            .await
    }

    async fn start(&self, machine: &MachineRecord, _: &dyn Reporter) -> Result<MachineRecord> {
        self.faults
            .around("provider.start", async {
                let mut found = self.get(machine)?;
                if !found.complete {
                    return Err(refusal(format!("{} is half made", found.name)));
                }
                if found.template {
                    return Err(refusal(format!("{} is a template", found.name)));
                }
                if !found.on {
                    self.dir.say(&format!("started {}", found.name));
                }
                found.on = true;
                if found.guest.is_none() {
                    found.guest = Some(first_boot(&found.seed.as_ref().expect("not scrubbed before").user_data));
                }
                self.dir.put_machine(&found);
                Ok(machine.clone())
            })
            .await
    }

    async fn stop(&self, machine: &MachineRecord, _: Duration) -> Result<()> {
        self.faults
            .around("provider.stop", async {
                let found = self.get(machine)?;
                if found.on {
                    self.takes_no_traffic(&found);
                    self.dir.say(&format!("stopped {}", found.name));
                }
                self.dir.put_machine(&Machine { on: false, ..found });
                Ok(())
            })
            .await
    }

    async fn scrub_seed(&self, machine: &MachineRecord) -> Result<()> {
        self.faults
            .around("provider.scrub_seed", async {
                let found = self.get(machine)?;
                self.dir.put_machine(&Machine { seed: None, ..found });
                Ok(())
            })
            .await
    }

    async fn remove(&self, order: &MachineOrder) -> Result<()> {
        self.faults
            .around("provider.remove", async {
                let found = self.dir.machine(order.server.as_str());
                if let Some(machine) = found.filter(|m| (m.operation, m.owner) == (order.operation, order.owner)) {
                    self.takes_no_traffic(&machine);
                    self.faults.middle("provider.remove")?;
                    self.dir.remove(&format!("machines/{}.json", machine.name));
                    self.dir.say(&format!("removed {}", machine.name));
                }
                Ok(())
            })
            .await
    }

    async fn left(&self, order: &MachineOrder) -> Vec<String> {
        let ours = |m: &Machine| (m.operation, m.owner) == (order.operation, order.owner);
        let found = self.dir.machine(order.server.as_str()).filter(ours);
        found.map(|machine| format!("machine {}", machine.name)).into_iter().collect()
    }

    async fn marked(&self, _: &ProviderOptions) -> Result<Vec<Marked>> {
        self.faults
            .around("provider.marked", async {
                let mark = |Machine { name, operation, owner, .. }| Marked {
                    what: format!("machine {name}"),
                    owner: Some(owner),
                    operation: Some(operation),
                    in_use: false,
                    price: None,
                };
                Ok(self.dir.machines().into_iter().map(mark).collect())
            })
            .await
    }
}

#[async_trait]
impl Reshaping for Maker {
    async fn preflight_reshape(
        &self,
        machine: &MachineRecord,
        size: Size,
        options: &ProviderOptions,
    ) -> Result<Reshape> {
        self.faults
            .around("provider.preflight_reshape", async {
                let found = self.get(machine)?;
                let differs = found.size != size || found.local.forward != options.forward();
                Ok(Reshape { changes: differs.then(|| "size".to_owned()).into_iter().collect(), ..Reshape::default() })
            })
            .await
    }

    async fn reshape(&self, machine: &MachineRecord, size: Size, options: &ProviderOptions) -> Result<MachineRecord> {
        self.faults
            .around("provider.reshape", async {
                let found = self.get(machine)?;
                if found.on {
                    return Err(refusal(format!("{} is on", found.name)));
                }
                let local = LocalOptions { forward: options.forward().to_vec() };
                self.dir.put_machine(&Machine { size, local, ..found });
                Ok(machine.clone())
            })
            .await
    }
}

#[async_trait]
impl Rebuilding for Maker {
    async fn preflight_rebuild(&self, _: &MachineOrder) -> Result<Vec<Finding>> {
        self.faults.around("provider.preflight_rebuild", async { Ok(Vec::new()) }).await
    }

    async fn rebuild(&self, order: &MachineOrder, _: &dyn Reporter) -> Result<MachineRecord> {
        self.faults
            .around("provider.rebuild", async {
                let machine = MachineRecord(order.server.to_string());
                let found = self.get(&machine)?;
                self.takes_no_traffic(&found);
                let (seed, guest) = (Some(order.seed.clone()), Some(first_boot(&order.seed.user_data)));
                self.dir.say(&format!("rebuilt {}", found.name));
                self.dir.put_machine(&Machine { on: true, seed, guest, ..found });
                Ok(machine)
            })
            .await
    }
}

#[async_trait]
impl Fence for Maker {
    async fn admit(&self, machine: &MachineRecord, openings: &[OpenPort]) -> Result<()> {
        self.faults
            .around("provider.admit", async {
                let found = self.get(machine)?;
                self.dir.put_machine(&Machine { fence: Some(tcp(openings)), ..found });
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl Balancing for Maker {
    async fn join(
        &self,
        machine: &MachineRecord,
        options: &ProviderOptions,
        _: &dyn Keep,
        _: &dyn Reporter,
    ) -> Result<MachineRecord> {
        let balanced = options.hetzner().is_some_and(|options| options.load_balancer.is_some());
        self.balance(machine, balanced).await?;
        Ok(machine.clone())
    }

    async fn leave(&self, machine: &MachineRecord) -> Result<()> {
        self.balance(machine, false).await
    }
}

impl Maker {
    /// Nothing is asked for where nothing changes.
    async fn balance(&self, machine: &MachineRecord, balanced: bool) -> Result<()> {
        let Some(found) = self.dir.machine(&machine.0).filter(|found| found.balanced != balanced) else {
            return Ok(());
        };
        let call = if balanced { "provider.join" } else { "provider.leave" };
        self.faults
            .around(call, async {
                let done = if balanced { "joined" } else { "left" };
                self.dir.say(&format!("{done} {}", found.name));
                self.dir.put_machine(&Machine { balanced, ..found });
                Ok(())
            })
            .await
    }
}

fn tcp(openings: &[OpenPort]) -> Vec<u16> {
    openings.iter().filter(|opening| opening.proto == Proto::Tcp).map(|opening| opening.port).collect()
}

#[async_trait]
impl Templates for Maker {
    async fn template(&self, _: &MachineOrder) -> Result<Option<String>> {
        Ok(None)
    }

    async fn make_template(&self, machine: &MachineRecord, _: &TemplateDigest) -> Result<()> {
        self.faults
            .around("provider.make_template", async {
                let found = self.get(machine)?;
                if found.on {
                    return Err(refusal(format!("{} is on", found.name)));
                }
                self.dir.put_machine(&Machine { template: true, seed: None, ..found });
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl Provider for Adopter {
    fn origin(&self) -> Origin<'_> {
        Origin::Adopts(self)
    }

    async fn preflight(&self, _: &MachineOrder) -> Result<Vec<Finding>> {
        self.faults.around("provider.preflight", async { Ok(Vec::new()) }).await
    }

    async fn observe(&self, machines: &[&MachineRecord]) -> Result<Vec<Observed>> {
        self.0.observe(machines).await
    }

    async fn route_ssh(&self, machine: &MachineRecord, _: u16) -> Result<MachineRecord> {
        self.0.route_ssh(machine).await
    }
}

impl Adoption for Adopter {
    fn adopt(&self, order: &MachineOrder) -> Result<MachineRecord> {
        self.faults.around_now("provider.adopt", || Ok(MachineRecord(order.server.to_string())))
    }
}

impl FakeWorld {
    async fn observe(&self, machines: &[&MachineRecord]) -> Result<Vec<Observed>> {
        let observe = |machine: &&MachineRecord| {
            let found = self.dir.machine(&machine.0);
            let power = found.as_ref().map_or(Power::Absent, |m| if m.on { Power::On } else { Power::Off });
            let leads_to_web = |m: &Machine| m.local.forward.iter().any(|forward| forward.guest == WEB.port());
            let forwards = found.iter().filter(|m| m.on && leads_to_web(m)).map(|_| (WEB, WEB.port())).collect();
            let ssh = found.filter(|m| m.on).map(|m| m.address());
            Observed { power, ssh, detail: String::new(), forwards, slowness: 1 }
        };
        self.faults.around("provider.observe", async { Ok(machines.iter().map(observe).collect()) }).await
    }

    async fn route_ssh(&self, machine: &MachineRecord) -> Result<MachineRecord> {
        self.faults.around("provider.route_ssh", async { Ok(machine.clone()) }).await
    }

    fn takes_no_traffic(&self, machine: &Machine) {
        if machine.balanced {
            self.dir.say(&format!("traffic met {} while it was taken down", machine.name));
        }
    }

    fn get(&self, machine: &MachineRecord) -> Result<Machine> {
        self.dir.machine(&machine.0).ok_or_else(|| refusal(format!("there is no machine {}", machine.0)))
    }
}

/// What cloud-init makes of the seed.
fn first_boot(user_data: &str) -> Guest {
    let json = user_data.strip_prefix("#cloud-config\n").expect("it starts like this");
    let data: Value = serde_json::from_str(json).expect("JSON, which is YAML");
    let user = &data["users"][0];
    let keys = user["ssh_authorized_keys"].as_array().expect("a list of keys");
    Guest {
        user: user["name"].as_str().expect("a name").to_owned(),
        authorized_keys: keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        host_key: data["ssh_keys"]["ed25519_public"].as_str().expect("a key").to_owned(),
        ..Guest::default()
    }
}

fn refusal(message: String) -> Failure {
    Failure::new(Blame::Provider, message)
}
