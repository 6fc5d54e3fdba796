//! `ostler image`

mod build;
mod list;
mod pull;

use crate::{
    cli::Global,
    commands::follow,
    output,
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Result,
    ids::OperationId,
    operation::Interrupt,
    ports::{EventFilter, Reporter},
};
use std::{path::PathBuf, process::ExitCode};

/// Get the images that servers boot from.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Download an official image, verified; goes on where it was broken off.
    Pull(pull::Arguments),
    /// Make the same image from Debian's package mirror, for machines that can't reach the image site.
    Build(build::Arguments),
    /// Show the images at hand.
    List(list::Arguments),
}

/// Runs the command.
pub async fn run(global: &Global, command: Command) -> Result<ExitCode> {
    let session = Session::open(global, WaitArguments::default(), "image").await?;
    match command {
        Command::Pull(arguments) => pull::run(global, &session, arguments).await,
        Command::Build(arguments) => build::run(global, &session, arguments).await,
        Command::List(arguments) => list::run(global, &session, &arguments).await,
    }
}

/// Shows what `get` reports, then the file that it got.
async fn show_getting(
    global: &Global,
    session: &Session,
    get: impl AsyncFnOnce(&dyn Reporter) -> Result<PathBuf>,
) -> Result<ExitCode> {
    let mut frontend = output::frontend(global.output, 1, &session.stage);
    let path = session
        .with_world(async |world| {
            let after = world.store.last_event().await?;
            // An id of its own keeps its events apart from those of other Ostlers at work.
            let id = OperationId::new();
            let reporter = world.log.scope(None, Some(id));
            let work = async {
                tokio::select! {
                    path = get(&reporter) => path,
                    () = world.interrupt.wait() => Err(Interrupt::failure()),
                }
            };
            let filter = EventFilter { operation: Some(id), ..EventFilter::default() };
            follow::while_working(world.log.follow(after, filter), frontend.as_mut(), session.log_file(), work).await
        })
        .await;
    frontend.finish();
    let path = path?;
    output::data(global.output, &serde_json::json!({ "image": path }), || format!("{}\n", path.display()));
    Ok(ExitCode::SUCCESS)
}
