//! How things are shown: one trait, and an implementation for people, for programs, and for neither.

mod board;
mod diff;
pub mod hints;
mod human;
mod json;
pub mod preview;
mod stage;
mod table;
mod writer;

pub use stage::Stage;
pub use table::Table;

use crate::cli::Output;
use ostler_core::{Failure, Result, event::Event, ids::ServerName, server::up::Resumed, text::plain};
use serde::Serialize;
use std::{net::SocketAddr, time::Duration};

/// Shows the events of long work, and how it came out.
pub trait Frontend {
    /// Something happened.
    fn event(&mut self, event: &Event);
    /// Something about showing itself went wrong.
    fn warning(&mut self, message: &str);
    /// The work on a server came to an end.
    fn ended(&mut self, ended: Ended);
    /// All of it came to an end.
    fn finish(&mut self) {}
}

/// How the work on a server ended.
pub struct Ended {
    pub server: ServerName,
    /// What it came to.
    pub result: Result<Resumed>,
    /// How long it took.
    pub time: Duration,
    /// How the server is reached now.
    pub access: Access,
}

/// How a server is reached.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Access {
    /// sshd, as seen from here.
    pub ssh: Option<SocketAddr>,
    /// Forwarded ports: address here, port there.
    pub forwards: Vec<(SocketAddr, u16)>,
}

/// The frontend that the user asked for, for work on so many servers.
pub fn frontend(output: Output, servers: usize, stage: &Stage) -> Box<dyn Frontend> {
    match output {
        Output::Human => Box::new(human::Human::new(servers, stage.clone())),
        Output::Json => Box::new(json::Json(stage.clone())),
        Output::Quiet => Box::new(Quiet { stage: stage.clone(), many: servers > 1 }),
    }
}

/// Prints a command's result: as JSON, as text for people, or not at all.
pub fn data<T: Serialize>(output: Output, data: &T, human: impl FnOnce() -> String) {
    match output {
        Output::Human => print(&human()),
        Output::Json => print(&format!("{}\n", json::text(data))),
        Output::Quiet => {}
    }
}

/// Prints whole lines to standard output.
pub fn print(text: &str) {
    Stage::of_process().print(text);
}

/// Prints a failure to standard error: what failed, its causes, what shows it, what to do.
pub fn print_failure(output: Output, failure: &Failure) {
    Stage::of_process().print_error(&match output {
        Output::Json => {
            format!("{}\n", json::text(&serde_json::json!({ "error": failure.clone().in_words(hints::command) })))
        }
        Output::Human | Output::Quiet => human::failure_text(failure),
    });
}

/// Prints a warning of a command that has no events yet to standard error.
pub fn print_warning(output: Output, message: &str) {
    Stage::of_process().print_error(&match output {
        Output::Json => format!("{}\n", json::text(&serde_json::json!({ "warning": message }))),
        Output::Human | Output::Quiet => format!("warning: {}\n", plain(message)),
    });
}

struct Quiet {
    stage: Stage,
    many: bool,
}

impl Frontend for Quiet {
    fn event(&mut self, _: &Event) {}
    fn warning(&mut self, message: &str) {
        self.stage.print_error(&format!("warning: {message}\n"));
    }
    fn ended(&mut self, ended: Ended) {
        if let Err(failure) = &ended.result {
            self.stage.print_error(&human::failure_of(&ended.server, failure, self.many));
        }
    }
}
