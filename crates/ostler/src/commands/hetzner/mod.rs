//! `ostler hetzner`

mod images;
mod locations;
mod types;

use crate::{
    cli::Global,
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Blame, Failure, Result,
    spec::{SecretRef, hetzner_endpoint},
};
use ostler_providers::hetzner::Offers;
use std::process::ExitCode;

/// Show what Hetzner Cloud has to offer.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Server types with what they cost a month, the cheapest first.
    Types(types::Arguments),
    /// Locations.
    Locations(locations::Arguments),
    /// Images that servers can be made of.
    Images(images::Arguments),
}

/// Which project is asked.
#[derive(Debug, clap::Args)]
struct Project {
    /// Name of the secret that holds its token; `ostler secret set NAME` keeps one
    #[arg(long, value_name = "NAME", default_value = "hetzner")]
    token: String,
    /// Where the API is, if not at Hetzner's own address
    #[arg(long, value_name = "URL", env = crate::environment::HETZNER_ENDPOINT, hide_env_values = true)]
    endpoint: Option<String>,
}

impl Project {
    async fn offers(&self, global: &Global) -> Result<Offers> {
        let token = SecretRef::Secret(self.token.clone());
        let endpoint = hetzner_endpoint("hetzner", self.endpoint.as_deref(), token).map_err(|fault| {
            let failure = Failure::new(Blame::User, fault.message);
            fault.hints.into_iter().fold(failure, Failure::with_hint)
        })?;
        Session::open(global, WaitArguments::default(), "hetzner").await?.hetzner().offers(&endpoint).await
    }
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Types(arguments) => types::run(global, &arguments).await,
        Command::Locations(arguments) => locations::run(global, &arguments).await,
        Command::Images(arguments) => images::run(global, &arguments).await,
    }
}
