//! `ostler rescue`

use crate::{
    cli::{Global, Output},
    commands::spec_file,
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Result,
    ids::ServerName,
    ports::Store,
    server::{destroy, rescue},
};
use std::process::ExitCode;

/// Open the SSH port of a server again whose tunnel is dead: in the provider's firewall, and on the server by whatever way still leads there.
/// Where none does, say what to type at its console.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server.
    #[arg(value_parser = spec_file::server_name)]
    name: ServerName,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let name = &arguments.name;
    let session = Session::open(global, arguments.wait, "rescue").await?;
    session.store.server(name).await?.ok_or_else(|| destroy::unknown(name))?;
    session.with_world(async |world| world.leaser.hold(name, rescue::rescue(world, name)).await).await?;
    match global.output {
        Output::Human => session.stage.print(&format!(
            "SSH of {name} is open, and logins go by it; `ostler up` closes it again once its tunnel is proved\n"
        )),
        Output::Json => session.stage.print(&format!("{}\n", serde_json::json!({ "server": name, "ssh": "open" }))),
        Output::Quiet => {}
    }
    Ok(ExitCode::SUCCESS)
}
