//! `ostler proxmox setup`

use crate::{
    cli::Global,
    environment, output,
    wiring::{Session, WaitArguments},
};
use ostler_core::{Result, ports::Store};
use ostler_providers::proxmox::{self, Host, Made, Setup};
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
    /// Bridge of servers' network cards; may be given several times.
    #[arg(long = "bridge", value_name = "BRIDGE", default_value = "vmbr0")]
    bridges: Vec<String>,
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

/// Makes roles, a user and a token on this host, and keeps the token as `secret`, or else by the node's name; returns that too.
pub async fn make_token(
    session: &Session,
    host: &Host,
    setup: &Setup,
    secret: Option<String>,
) -> Result<(Made, String)> {
    let made = setup.run(host).await?;
    let secret = secret.unwrap_or_else(|| made.node.clone());
    session.store.put_secret(None, &secret, &made.token).await?;
    Ok((made, secret))
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let session = Session::open(global, WaitArguments::default(), "proxmox setup").await?;
    let Arguments { secret, storage, images, bridges } = arguments;
    let host = Host::new(environment::search_path());
    let (made, secret) = make_token(&session, &host, &Setup { storage, images, bridges }, secret).await?;
    let provider = Provider {
        name: made.node.clone(),
        url: proxmox::url(&made.node),
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
