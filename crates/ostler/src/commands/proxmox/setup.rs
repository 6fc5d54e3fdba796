//! `ostler proxmox setup`

use crate::{
    cli::Global,
    environment, output,
    wiring::{Session, WaitArguments},
};
use ostler_core::{Result, ports::Store};
use ostler_providers::proxmox::{Host, Setup};
use serde::Serialize;
use std::process::ExitCode;

/// Make roles, a user and a token for Ostler on this host. Again: the token is made anew.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the secret that keeps the token [default: the node's name]
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
    /// Storage of servers' disks.
    #[arg(long, value_name = "STORAGE", default_value = "local-lvm")]
    storage: String,
    /// Storage of images and seeds; it takes the content types `import` and `iso`.
    #[arg(long, value_name = "STORAGE", default_value = "local")]
    images: String,
    /// Bridge of servers' network cards.
    #[arg(long, value_name = "BRIDGE", default_value = "vmbr0")]
    bridge: String,
}

/// What a spec needs to say.
#[derive(Serialize)]
struct Provider {
    name: String,
    url: String,
    secret: String,
    fingerprint: String,
    node: String,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let session = Session::open(global, WaitArguments::default(), "proxmox setup").await?;
    let Arguments { secret, storage, images, bridge } = arguments;
    let made = Setup { storage, images, bridge }.run(&Host::new(environment::search_path())).await?;
    let secret = secret.unwrap_or_else(|| made.node.clone());
    session.store.put_secret(None, &secret, &made.token).await?;
    let provider = Provider {
        name: made.node.clone(),
        url: format!("https://{}:8006", made.node),
        secret,
        fingerprint: made.fingerprint,
        node: made.node,
    };
    output::data(global.output, &provider, || text(&provider));
    Ok(ExitCode::SUCCESS)
}

fn text(provider: &Provider) -> String {
    let Provider { name, url, secret, fingerprint, node } = provider;
    format!(
        "The token is kept as the secret `{secret}`. In a spec:\n\n\
         providers:\n  {name}: {{ kind: proxmox, url: \"{url}\", token: {{ secret: {secret} }},\n    \
         fingerprint: \"{fingerprint}\" }}\n\
         servers:\n  web1:\n    provider: {name}\n    proxmox: {{ node: {node} }}\n"
    )
}
