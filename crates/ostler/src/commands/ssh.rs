//! `ostler ssh`

use crate::{
    cli::Global,
    commands::spec_file,
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Blame, Failure, Result,
    ids::{OperationId, ServerName},
    model::{OperationState, Power, ServerRecord},
    ports::Store,
    reach::wait,
    server::{create, destroy, up},
    world::{Context, World},
};
use std::{io::IsTerminal, os::unix::process::ExitStatusExt, process::ExitCode};

/// Log in to a server, over its pinned host key.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server.
    #[arg(value_parser = spec_file::server_name)]
    name: ServerName,
    /// A command to run there instead of a shell.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Runs the command. Its exit status becomes ours.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let name = &arguments.name;
    let session = Session::open(global, arguments.wait, "ssh").await?;
    let record = session.store.server(name).await?.ok_or_else(|| destroy::unknown(name))?;
    session
        .with_world(async |world| {
            check_up(world, &record).await?;
            let context = Context::new(world, record.subject(), OperationId::new(), record.desired.clone());
            let login = wait::for_login(&context).await?;
            let tty =
                std::io::stdin().is_terminal() && (arguments.command.is_empty() || std::io::stdout().is_terminal());
            let argv = ostler_remote::interactive_argv(&login.transport(), tty, &arguments.command);
            let status = tokio::process::Command::new(&argv[0]).args(&argv[1..]).status().await;
            login.close().await;
            let status = status.map_err(|error| {
                Failure::new(Blame::Provider, error.to_string())
                    .because_of("ssh can't be run on this machine")
                    .with_hint("`ostler doctor` says what is missing")
            })?;
            // As shells report a program that a signal ended.
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
        })
        .await
}

/// Says at once what waiting would not change.
async fn check_up(world: &World, record: &ServerRecord) -> Result<()> {
    let name = &record.name;
    let creation = create::operation_of(world, record).await?;
    if creation.state != OperationState::Succeeded {
        return Err(Failure::new(Blame::User, format!("{name} is not made yet, or half destroyed"))
            .with_hint(format!("`ostler status {name}` tells; `ostler resume {name}` goes on with either")));
    }
    let seen = up::look_at_machine(world, record).await?;
    if seen.is_none_or(|seen| seen.power != Power::On) {
        return Err(Failure::new(Blame::User, format!("the machine of {name} is off"))
            .with_hint(format!("`ostler resume {name}` starts it")));
    }
    Ok(())
}
