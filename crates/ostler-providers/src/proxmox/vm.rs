//! One VM on its node.

use super::{
    Machine,
    client::Client,
    error::ProxmoxError,
    form::{Form, encode},
    task,
    wire::{Resource, VmConfig, VmStatus},
};
use ostler_core::{event::EventKind, ports::Reporter};
use std::time::Duration;

/// A VM, which may not exist.
pub struct Vm<'a> {
    /// How its node is reached.
    pub client: &'a Client,
    /// What is known of it.
    pub machine: &'a Machine,
}

/// What is found under a machine's VMID.
pub enum Found {
    /// No VM at all.
    Absent,
    /// A VM that is not ours.
    Other,
    /// Ours, whole.
    Whole(VmConfig),
    /// Ours, and its worker was killed on the node: it stays locked.
    Broken,
}

/// The same at one moment.
pub enum Lookup {
    /// Nothing works on it.
    Settled(Found),
    /// The task of this UPID makes ours.
    InProgress(String),
}

/// The configuration of a VM, whoever made it; `None` where there is none of this VMID.
pub async fn config(client: &Client, node: &str, vmid: u64) -> Result<Option<VmConfig>, ProxmoxError> {
    match client.get(&format!("/nodes/{}/qemu/{vmid}/config", encode(node)), &Form::new()).await {
        Ok(config) => Ok(Some(config)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error),
    }
}

impl<'a> Vm<'a> {
    /// The VM of a record.
    pub fn of(client: &'a Client, machine: &'a Machine) -> Self {
        Self { client, machine }
    }

    /// `/nodes/NODE/qemu/VMID` and what follows.
    pub fn path(&self, rest: &str) -> String {
        format!("/nodes/{}/qemu/{}{rest}", encode(&self.machine.node), self.machine.vmid)
    }

    /// Its configuration, if there is a VM of this VMID on its node. One of ours that was migrated is an error: to take it for
    /// gone would leave it behind.
    async fn config(&self) -> Result<Option<VmConfig>, ProxmoxError> {
        let (vmid, node) = (self.machine.vmid, &self.machine.node);
        let config = self.config_on(node).await?;
        if config.is_some() {
            return Ok(config);
        }
        let query = Form::new().with("type", "vm");
        let all: Vec<Resource> = self.client.get("/cluster/resources", &query).await?;
        let there = all.into_iter().find(|found| found.vmid == u64::from(vmid) && found.node != *node);
        if let Some(Resource { node: there, .. }) = there
            && self.config_on(&there).await?.is_some_and(|config| self.is_marked(&config))
        {
            return Err(ProxmoxError::Moved { vmid, node: node.clone(), there });
        }
        Ok(None)
    }

    async fn config_on(&self, node: &str) -> Result<Option<VmConfig>, ProxmoxError> {
        config(self.client, node, self.machine.vmid.into()).await
    }

    /// Its configuration, if it carries the mark of the machine's operation.
    pub async fn ours(&self) -> Result<Option<VmConfig>, ProxmoxError> {
        Ok(self.config().await?.filter(|config| self.is_marked(config)))
    }

    fn is_marked(&self, config: &VmConfig) -> bool {
        config.text("description").is_some_and(|text| text.contains(&self.machine.operation.to_string()))
    }

    /// What there is, after any task that still makes it has ended.
    pub async fn find(&self, reporter: &dyn Reporter) -> Result<Found, ProxmoxError> {
        let mut waited = false;
        loop {
            match self.look_up().await? {
                Lookup::InProgress(upid) => {
                    // How it ends is seen by what there is then.
                    let what = format!("create VM {}", self.machine.vmid);
                    match task::finish(self.client, &upid, &what, reporter).await {
                        Ok(()) | Err(ProxmoxError::Task { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                // It may have ended between the two looks.
                Lookup::Settled(Found::Broken) if !waited => {
                    waited = true;
                    tokio::time::sleep(self.client.patience.poll).await;
                }
                Lookup::Settled(found) => return Ok(found),
            }
        }
    }

    /// What there is at this moment.
    pub async fn look_up(&self) -> Result<Lookup, ProxmoxError> {
        let Some(config) = self.config().await? else { return Ok(Lookup::Settled(Found::Absent)) };
        if self.is_marked(&config) {
            return Ok(Lookup::Settled(Found::Whole(config)));
        }
        if config.text("lock").as_deref() != Some(self.machine.lock()) {
            return Ok(Lookup::Settled(Found::Other));
        }
        let Machine { node, vmid, template, cloning, seen, .. } = self.machine;
        let ours = match cloning {
            Some(upid) => vec![upid.clone()],
            None => {
                let mut all = task::makings(self.client, node, *vmid, *template).await?;
                all.retain(|upid| !seen.contains(upid));
                all
            }
        };
        if ours.is_empty() {
            return Ok(Lookup::Settled(Found::Other));
        }
        for upid in ours {
            if task::runs(self.client, &upid).await? {
                return Ok(Lookup::InProgress(upid));
            }
        }
        // Which of several clonings of one template made this VM, no task says afterwards: it may be somebody's who cloned another.
        let certain = template.is_none() || cloning.is_some();
        Ok(Lookup::Settled(if certain { Found::Broken } else { Found::Other }))
    }

    /// Whether it runs.
    pub async fn runs(&self) -> Result<bool, ProxmoxError> {
        let status: VmStatus = self.client.get(&self.path("/status/current"), &Form::new()).await?;
        Ok(status.status == "running")
    }

    /// Starts it, unless it runs.
    pub async fn start(&self, reporter: &dyn Reporter) -> Result<(), ProxmoxError> {
        if self.runs().await? {
            return Ok(());
        }
        self.act("/status/start", Form::new(), "start", reporter).await
    }

    /// Asks the guest to shut down, and takes the power away after `grace`.
    pub async fn shut_down(&self, grace: Duration) -> Result<(), ProxmoxError> {
        let form = Form::new().with("timeout", grace.as_secs()).with("forceStop", 1);
        self.act("/status/shutdown", form, "shut down", &Silent).await
    }

    /// Takes its power away.
    pub async fn power_off(&self) -> Result<(), ProxmoxError> {
        self.act("/status/stop", Form::new(), "stop", &Silent).await
    }

    /// Removes it, with its disks and what names it elsewhere. Volumes that only have its number stay: they may be others'.
    pub async fn destroy(&self) -> Result<(), ProxmoxError> {
        let answer = self.client.delete(&self.path(""), &Form::new().with("purge", 1)).await?;
        self.await_task(answer, "destroy", &Silent).await
    }

    /// Grows its first disk to `bytes`.
    pub async fn grow(&self, bytes: u64) -> Result<(), ProxmoxError> {
        let form = Form::new().with("disk", "scsi0").with("size", format!("{}M", bytes >> 20));
        let answer = self.client.put(&self.path("/resize"), &form).await?;
        self.await_task(answer, "grow the disk of", &Silent).await
    }

    /// Makes it a template; it must be off.
    pub async fn make_template(&self) -> Result<(), ProxmoxError> {
        self.act("/template", Form::new(), "make a template of", &Silent).await
    }

    async fn act(&self, path: &str, form: Form, verb: &str, reporter: &dyn Reporter) -> Result<(), ProxmoxError> {
        let upid: String = self.client.post(&self.path(path), &form).await?;
        task::finish(self.client, &upid, &format!("{verb} VM {}", self.machine.vmid), reporter).await
    }

    async fn await_task(
        &self,
        answer: Option<serde_json::Value>,
        verb: &str,
        reporter: &dyn Reporter,
    ) -> Result<(), ProxmoxError> {
        match answer.as_ref().and_then(|answer| answer.as_str()) {
            Some(upid) => task::finish(self.client, upid, &format!("{verb} VM {}", self.machine.vmid), reporter).await,
            // 8.4 resizes at once.
            None => Ok(()),
        }
    }
}

/// For tasks whose log nobody needs to read unless they fail.
pub struct Silent;

#[async_trait::async_trait]
impl Reporter for Silent {
    async fn report(&self, _: EventKind) {}
}
