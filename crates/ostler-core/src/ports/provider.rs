//! Where servers come from.
//!
//! A provider consists of parts, and not every provider has each of them. Whoever works with servers asks for the part that the work takes,
//! never which provider it is: so a new provider changes nothing here.

use crate::{
    error::Result,
    model::{Finding, ImageHandle, MachineOrder, MachineRecord, Marked, Mount, Observed, Price, Reshape},
    ports::Reporter,
    spec::{ProviderOptions, ServerSpec, Size, TemplateDigest},
};
use async_trait::async_trait;

pub use crate::model::OpenPort;

/// Keeps what a provider has chosen before it acts on it, so that it finds after a crash what it may have made. It is the
/// `found` of the next order for the same machine.
#[async_trait]
pub trait Keep: Send + Sync {
    /// Durable when it returns; what was kept before is replaced.
    async fn keep(&self, chosen: &MachineRecord) -> Result<()>;
}

/// A source of servers: what each can say of a server, and which parts it has. Every method, also of the parts, may be called again after a
/// crash at any point, and is right then too.
#[async_trait]
pub trait Provider: Send + Sync {
    /// How it comes by its servers.
    fn origin(&self) -> Origin<'_>;

    /// Changes virtual hardware; `None`: the hardware is what it is.
    fn reshaping(&self) -> Option<&dyn Reshaping> {
        None
    }

    /// Makes machines anew in their place; `None`: it can't.
    fn rebuilding(&self) -> Option<&dyn Rebuilding> {
        None
    }

    /// Makes templates; `None`: every machine is made from its image.
    fn templates(&self) -> Option<&dyn Templates> {
        None
    }

    /// Shows serial consoles; `None`: there are none that it could show.
    fn consoles(&self) -> Option<&dyn Consoles> {
        None
    }

    /// Lets traffic in before it reaches the machine; `None`: nothing of the provider's stands before its machines.
    fn fence(&self) -> Option<&dyn Fence> {
        None
    }

    /// Says what servers cost; `None`: nobody sends a bill for them.
    fn pricing(&self) -> Option<&dyn Pricing> {
        None
    }

    /// Attaches disks that outlive the machines; `None`: a machine has what goes with it.
    fn volumes(&self) -> Option<&dyn Volumes> {
        None
    }

    /// Puts machines behind load balancers; `None`: nothing of the provider's sends traffic to its machines.
    fn balancing(&self) -> Option<&dyn Balancing> {
        None
    }

    /// Everything that would make the creation or adoption of a server fail, and what deserves a warning, all at once. Touches nothing.
    async fn preflight(&self, order: &MachineOrder) -> Result<Vec<Finding>>;

    /// The record with what the spec says now of the way to the provider itself: its address, its token. Most have no such way.
    fn reached_by(&self, machine: &MachineRecord, _spec: &ServerSpec) -> Result<MachineRecord> {
        Ok(machine.clone())
    }

    /// What the machines are seen to be doing, in the order given.
    async fn observe(&self, machines: &[&MachineRecord]) -> Result<Vec<Observed>>;

    /// The record with which the machine's sshd is reached once it listens on `port` of the machine; the way that there was
    /// keeps working. Nothing has to listen there yet.
    async fn route_ssh(&self, machine: &MachineRecord, port: u16) -> Result<MachineRecord>;
}

/// How a provider comes by its servers.
#[derive(Clone, Copy)]
pub enum Origin<'a> {
    /// It makes them, switches them on and off, and removes them.
    Makes(&'a dyn Lifecycle),
    /// Somebody else does all that; Ostler takes them over, and gives them back.
    Adopts(&'a dyn Adoption),
}

impl<'a> Origin<'a> {
    /// The part that makes servers; `None` where they are adopted.
    pub fn lifecycle(self) -> Option<&'a dyn Lifecycle> {
        match self {
            Self::Makes(lifecycle) => Some(lifecycle),
            Self::Adopts(_) => None,
        }
    }

    /// Whether servers are there before Ostler.
    pub fn adopts(self) -> bool {
        self.lifecycle().is_none()
    }
}

/// Makes machines, switches them on and off, and removes them.
#[async_trait]
pub trait Lifecycle: Send + Sync {
    /// Gets what the machine boots from, to where the provider needs it.
    async fn image(&self, order: &MachineOrder, reporter: &dyn Reporter) -> Result<ImageHandle>;

    /// Makes the machine, not yet started, from what [`Lifecycle::image`] got for the same order. If one of this order's operation exists in
    /// whole or part, adopts and completes it. After a failure, what exists is what [`Lifecycle::remove`] of the same order removes.
    async fn create(
        &self,
        order: &MachineOrder,
        image: &ImageHandle,
        keep: &dyn Keep,
        reporter: &dyn Reporter,
    ) -> Result<MachineRecord>;

    /// Whether only QEMU's guest agent can tell which address a machine got by DHCP.
    fn needs_guest_agent(&self) -> bool {
        false
    }

    /// Starts it; returns the record with what was chosen (accelerator, ports). A machine that runs is left alone.
    async fn start(&self, machine: &MachineRecord, reporter: &dyn Reporter) -> Result<MachineRecord>;

    /// Asks the guest to shut down, and takes the power away after `grace`. One that is off is left alone.
    async fn stop(&self, machine: &MachineRecord, grace: std::time::Duration) -> Result<()>;

    /// Takes every secret out of what the machine was seeded with, so that neither guest nor disk shows it any more.
    async fn scrub_seed(&self, machine: &MachineRecord) -> Result<()>;

    /// Removes every trace of what `order` made, running or not. What does not exist is removed already.
    async fn remove(&self, order: &MachineOrder) -> Result<()>;

    /// What [`Lifecycle::remove`] of the same order would remove, for people: `VM 100 on pve1`. Asked where something else has
    /// failed; so what can't be found out now is told as what there may be.
    async fn left(&self, order: &MachineOrder) -> Vec<String>;

    /// Everything that bears Ostler's mark where servers with these options are made, whichever Ostler made it, and whether or not a record
    /// knows of it. Touches nothing.
    async fn marked(&self, options: &ProviderOptions) -> Result<Vec<Marked>>;
}

/// Takes over servers that are there already.
pub trait Adoption: Send + Sync {
    /// The record of the server that the order names.
    fn adopt(&self, order: &MachineOrder) -> Result<MachineRecord>;
}

/// Changes the virtual hardware of machines.
#[async_trait]
pub trait Reshaping: Send + Sync {
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

    /// Gives it what these options ask for and can be changed while it runs. What its system may be using stays until
    /// [`Reshaping::release`].
    async fn adjust(
        &self,
        machine: &MachineRecord,
        _options: &ProviderOptions,
        _keep: &dyn Keep,
    ) -> Result<MachineRecord> {
        Ok(machine.clone())
    }

    /// Takes away what these options no longer ask for. Its system has let go of that.
    async fn release(&self, machine: &MachineRecord, _options: &ProviderOptions) -> Result<MachineRecord> {
        Ok(machine.clone())
    }
}

/// Attaches disks that outlive the machines.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Those that the machine's system is to mount, in order; `None` where it has none, and never had any.
    fn mounts(&self, machine: &MachineRecord, options: &ProviderOptions) -> Result<Option<Vec<Mount>>>;

    /// Those of the machine, which [`Lifecycle::remove`] keeps, with their prices. Touches nothing.
    async fn kept(&self, machine: &MachineRecord) -> Result<Vec<Marked>>;

    /// Removes those of the machine that Ostler made, with all that is on them. The machine must be off, or gone.
    async fn erase(&self, machine: &MachineRecord) -> Result<()>;
}

/// Makes machines anew in their place.
#[async_trait]
pub trait Rebuilding: Send + Sync {
    /// Everything that would have the rebuild refused, all at once. Touches nothing.
    async fn preflight_rebuild(&self, order: &MachineOrder) -> Result<Vec<Finding>>;

    /// Gives the machine of the order an empty disk with the order's image, and boots it from the order's seed, and from no other. It keeps its
    /// address and what is attached to it. Its sshd listens on the port that a fresh system has.
    async fn rebuild(&self, order: &MachineOrder, reporter: &dyn Reporter) -> Result<MachineRecord>;
}

/// Makes templates of machines, and makes machines from them.
#[async_trait]
pub trait Templates: Send + Sync {
    /// The template that [`Lifecycle::image`] would answer in place of the image, for people. Touches nothing.
    async fn template(&self, order: &MachineOrder) -> Result<Option<String>>;

    /// Makes a template of it, for orders that ask for these contents. The machine must be off, and its guest hold nothing that is its
    /// own; its seed is removed. [`Lifecycle::remove`] removes it as before, unless clones hang on it.
    async fn make_template(&self, machine: &MachineRecord, contents: &TemplateDigest) -> Result<()>;
}

/// Shows serial consoles.
#[async_trait]
pub trait Consoles: Send + Sync {
    /// The last `lines` lines of the serial console, without control sequences; empty if there is none.
    async fn console_tail(&self, machine: &MachineRecord, lines: usize) -> Result<Vec<String>>;
}

/// Says what servers cost.
#[async_trait]
pub trait Pricing: Send + Sync {
    /// What the order's server would cost; `None` where nothing of the order can be had. Touches nothing.
    async fn price(&self, order: &MachineOrder) -> Result<Option<Price>>;
}

/// The provider's own firewall, in front of its machines.
#[async_trait]
pub trait Fence: Send + Sync {
    /// Lets in exactly these ports from everywhere (IPv4 and IPv6), and nothing else, before traffic reaches the machine.
    /// It is enforced when this returns.
    async fn admit(&self, machine: &MachineRecord, openings: &[OpenPort]) -> Result<()>;
}

/// The provider's own load balancers, which send traffic to machines.
#[async_trait]
pub trait Balancing: Send + Sync {
    /// Makes the load balancer that these options name what they say, and has it send traffic to the machine; one that they no longer name
    /// stops that first. The machine is proved to be what its spec says.
    async fn join(
        &self,
        machine: &MachineRecord,
        options: &ProviderOptions,
        keep: &dyn Keep,
        reporter: &dyn Reporter,
    ) -> Result<MachineRecord>;

    /// Has no load balancer send traffic to the machine, until [`Balancing::join`]. Of one that is gone, nothing is left to do.
    async fn leave(&self, machine: &MachineRecord) -> Result<()>;
}
