//! A machine as its provider sees it.

use crate::{
    hint::{Hint, Next, recorded},
    ids::{OperationId, ServerName, StateId},
    secret::Secret,
    spec::{ImageRef, Network, Proto, ProviderOptions, Size, TemplateDigest, VolumeFormat},
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Everything a provider needs to create a machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineOrder {
    /// Its name.
    pub server: ServerName,
    /// The operation that creates it. The machine carries it, so that a crashed creation is found and adopted.
    pub operation: OperationId,
    /// The state directory that owns it. The machine carries it too.
    pub owner: StateId,
    /// Virtual hardware.
    pub size: Size,
    /// Network cards.
    pub networks: Vec<Network>,
    /// What it boots from, as the spec names it.
    pub image_ref: ImageRef,
    /// What a template would hold that serves in place of the image; `None` where none may.
    pub template: Option<TemplateDigest>,
    /// What cloud-init is told.
    pub seed: Seed,
    /// What only its provider knows.
    pub options: ProviderOptions,
    /// Public half of the key that Ostler logs in with, as `ssh-ed25519 AAAA...`; `None` where the order only names what is to be removed.
    pub login_key: Option<String>,
    /// Ports that everybody may reach, for providers that have a firewall of their own.
    pub openings: Vec<OpenPort>,
    /// The provider's record so far: of a creation that came to an end, or what one that did not had kept.
    pub found: Option<MachineRecord>,
}

/// A port that everybody may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OpenPort {
    /// Its number.
    pub port: u16,
    /// Of which protocol.
    pub proto: Proto,
}

/// What a machine boots from, as its provider got it: a file on this machine, or something on the provider's side. Only the provider reads
/// it. Kept in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageHandle(pub String);

/// NoCloud seed: the three files, whole. Holds a private key until the seed is scrubbed; so its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// `meta-data`: YAML with `instance-id` and `local-hostname`.
    pub meta_data: String,
    /// `user-data`: starts with `#cloud-config`.
    pub user_data: String,
    /// `network-config`: version 2.
    pub network_config: String,
}

impl Seed {
    /// For an order that only names what is to be removed.
    pub fn empty() -> Self {
        Self { meta_data: String::new(), user_data: String::new(), network_config: String::new() }
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(********)")
    }
}

/// The provider's own record of a machine, as JSON that only the provider reads.
///
/// Kept in the store; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MachineRecord(pub String);

/// What a machine is seen to be doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Its power state.
    pub power: Power,
    /// Where its sshd is reached from here, once known.
    pub ssh: Option<SocketAddr>,
    /// One line for people: accelerator, process id, forwarded ports.
    pub detail: String,
    /// Forwarded ports as (address here, port there).
    pub forwards: Vec<(SocketAddr, u16)>,
    /// How much longer than usual everything takes: 1 with hardware virtualisation, 5 under emulation.
    pub slowness: u32,
}

/// Power state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Runs.
    On,
    /// Exists, does not run.
    Off,
    /// Does not exist.
    Absent,
}

/// One thing that stands in the way of creating or changing a machine, or deserves a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `true`: Ostler refuses.
    pub fatal: bool,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(rename = "hint", with = "recorded")]
    pub hints: Vec<Hint>,
}

impl Finding {
    /// The same with its hints as one that has words only, as [`Failure::in_words`](crate::error::Failure::in_words).
    pub fn in_words(self, called: impl Fn(&Next) -> String) -> Self {
        let all: Vec<_> = self.hints.iter().map(|hint| hint.in_words(&called)).collect();
        let hints = if all.is_empty() { Vec::new() } else { vec![all.join(". ").into()] };
        Self { hints, ..self }
    }
}

/// What changing a machine's virtual hardware would take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reshape {
    /// What would change while it is off, for people: `memory 1 GiB -> 2 GiB`. Empty: nothing.
    pub changes: Vec<String>,
    /// What would change while it runs: `backups on`. Empty: nothing.
    pub adjustments: Vec<String>,
    /// What stands in the way.
    pub findings: Vec<Finding>,
}

/// A volume that the server's own system mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Its name at the provider's.
    pub name: String,
    /// Path on the server that names this very volume's device; `None`: it is not attached yet.
    pub device: Option<String>,
    /// What it is formatted as where it holds nothing: `ext4`.
    pub format: VolumeFormat,
    /// Absolute path.
    pub mount: String,
}

/// What something costs a month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Without VAT.
    pub net: f64,
    /// With VAT, as the account has it.
    pub gross: f64,
    /// `EUR`
    pub currency: String,
    /// What it is the price of, for people; empty where that is said beside it.
    pub what: String,
}

impl std::fmt::Display for Price {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { net, gross, currency, what } = self;
        write!(f, "{gross:.2} {currency} a month")?;
        if (gross - net).abs() >= 0.005 {
            write!(f, " ({net:.2} without VAT)")?;
        }
        if what.is_empty() { Ok(()) } else { write!(f, " for {what}") }
    }
}

/// Something at a provider's that bears Ostler's mark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marked {
    /// For people: `server 4711 web1 at Hetzner (cx23 in fsn1)`.
    pub what: String,
    /// The state directory that it belongs to; `None`: the mark does not say.
    pub owner: Option<StateId>,
    /// The operation that made it; `None`: servers share it, or it outlives them.
    pub operation: Option<OperationId>,
    /// A server uses it. Only asked where no operation is named.
    pub in_use: bool,
    /// What it costs, where the provider says so.
    pub price: Option<Price>,
}

/// MAC address of a server's network card: locally administered, under QEMU's and KVM's usual prefix 52:54:00, and the
/// same for the life of the server.
pub fn mac_address(owner: StateId, server: &str, index: usize) -> String {
    // FNV-1a, 64 bits: a stable spread of ids is all that is needed here.
    let text = format!("{owner}/{server}/{index}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let [a, b, c, ..] = hash.to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

/// An ed25519 key pair.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// OpenSSH format, PEM.
    pub private: Secret,
    /// `ssh-ed25519 AAAA...`, without comment.
    pub public: String,
}
