//! Where servers come from.

use crate::{
    error::{Blame, Failure, Result},
    model::{Finding, MachineOrder, MachineRecord, Observed, Reshape},
    ports::{Images, Reporter},
    spec::{ProviderOptions, ServerSpec, Size, TemplateDigest},
};
use async_trait::async_trait;
use std::path::PathBuf;

/// Keeps what a provider has chosen before it acts on it, so that it finds after a crash what it may have made. It is the
/// `found` of the next order for the same machine.
#[async_trait]
pub trait Keep: Send + Sync {
    /// Durable when it returns; what was kept before is replaced.
    async fn keep(&self, chosen: &MachineRecord) -> Result<()>;
}

/// A source of servers. Every method may be called again after a crash at any point, and is right then too.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Everything that would make `create` fail, and what deserves a warning, all at once. Touches nothing.
    async fn preflight(&self, order: &MachineOrder) -> Result<Vec<Finding>>;

    /// What [`Provider::image`] would answer in place of the image: a template for the order, for people. Touches nothing.
    async fn template(&self, _order: &MachineOrder) -> Result<Option<String>> {
        Ok(None)
    }

    /// Gets what the machine boots from; the answer is the `image` of later orders. Most providers take a file of this machine.
    async fn image(&self, order: &MachineOrder, images: &dyn Images, reporter: &dyn Reporter) -> Result<PathBuf> {
        images.ensure(&order.image_ref, reporter).await
    }

    /// Makes the machine, not yet started. If one of this order's operation exists in whole or part, adopts and completes
    /// it. After a failure, what exists is what [`Provider::remove`] of the same order removes.
    async fn create(&self, order: &MachineOrder, keep: &dyn Keep, reporter: &dyn Reporter) -> Result<MachineRecord>;

    /// The record with what the spec says now of the way to the provider itself: its address, its token. Most have no such way.
    fn reached_by(&self, machine: &MachineRecord, _spec: &ServerSpec) -> Result<MachineRecord> {
        Ok(machine.clone())
    }

    /// Starts it; returns the record with what was chosen (accelerator, ports). A machine that runs is left alone.
    async fn start(&self, machine: &MachineRecord, reporter: &dyn Reporter) -> Result<MachineRecord>;

    /// Asks the guest to shut down, and takes the power away after `grace`. One that is off is left alone.
    async fn stop(&self, machine: &MachineRecord, grace: std::time::Duration) -> Result<()>;

    /// What the machines are seen to be doing, in the order given.
    async fn observe(&self, machines: &[&MachineRecord]) -> Result<Vec<Observed>>;

    /// Whether the machine's virtual hardware differs from this, and the findings that stand in the way of changing it.
    /// Touches nothing.
    async fn preflight_reshape(
        &self,
        machine: &MachineRecord,
        size: Size,
        options: &ProviderOptions,
    ) -> Result<Reshape>;

    /// Gives it this size and these provider options. The machine must be off, and disks only grow. The file system grows
    /// at the next boot.
    async fn reshape(&self, machine: &MachineRecord, size: Size, options: &ProviderOptions) -> Result<MachineRecord>;

    /// The record with which the machine's sshd is reached once it listens on `port` of the machine; the way that there was
    /// keeps working. Nothing has to listen there yet.
    async fn route_ssh(&self, machine: &MachineRecord, port: u16) -> Result<MachineRecord>;

    /// Takes every secret out of what the machine was seeded with, so that neither guest nor disk shows it any more.
    async fn scrub_seed(&self, machine: &MachineRecord) -> Result<()>;

    /// Makes a template of it, for orders that ask for these contents. The machine must be off, and its guest hold nothing that is its
    /// own; its seed is removed. [`Provider::remove`] removes it as before, unless clones hang on it.
    async fn make_template(&self, _machine: &MachineRecord, contents: &TemplateDigest) -> Result<()> {
        Err(Failure::new(Blame::Bug, format!("this provider makes no templates, and was asked for {contents}")))
    }

    /// Removes every trace of what `order` made, running or not. What does not exist is removed already.
    async fn remove(&self, order: &MachineOrder) -> Result<()>;

    /// What [`Provider::remove`] of the same order would remove, for people: `VM 100 on pve1`. Asked where something else has
    /// failed; so what can't be found out now is told as what there may be. A provider that makes nothing has nothing to tell.
    async fn left(&self, _order: &MachineOrder) -> Vec<String> {
        Vec::new()
    }

    /// The last `lines` lines of the serial console, without control sequences; empty if there is none.
    async fn console_tail(&self, machine: &MachineRecord, lines: usize) -> Result<Vec<String>>;
}
