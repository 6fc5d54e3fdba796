//! The person in front of the terminal.

use crate::output::Stage;
use async_trait::async_trait;
use ostler_core::{Blame, Failure, Result, operation::Interrupt, ports::Ask, secret::Secret};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::{
    collections::HashMap,
    io::{self, BufRead, IsTerminal, Write},
};
use tokio::sync::Mutex;

/// Asks on the terminal, one question at a time; where there is none, nobody is asked.
pub struct Terminal {
    non_interactive: bool,
    stage: Stage,
    interrupt: Interrupt,
    answers: Mutex<Answers>,
}

/// What was answered, by question.
#[derive(Default)]
struct Answers {
    secrets: HashMap<String, Secret>,
    confirmed: HashMap<String, bool>,
}

impl Terminal {
    /// `non_interactive`: never asks. A question that is open when `interrupt` comes is given up.
    pub fn new(non_interactive: bool, stage: Stage, interrupt: Interrupt) -> Self {
        Self { non_interactive, stage, interrupt, answers: Mutex::default() }
    }

    fn is_there(&self) -> bool {
        !self.non_interactive && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks in a thread of its own, for other servers are worked on while one question waits for its answer.
    async fn ask<T: Send + 'static>(&self, ask: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
        if self.interrupt.is_set() {
            return Err(Interrupt::failure());
        }
        let _question = self.stage.open_question();
        let stage = self.stage.clone();
        let ask = move || {
            stage.wait_quiet();
            ask()
        };
        let before = tcgetattr(io::stdin()).ok();
        let failed = |cause: String| Failure::new(Blame::User, cause).because_of("the terminal can't be read");
        tokio::select! {
            biased;
            () = self.interrupt.wait() => {
                // Whoever reads a secret has switched the echo off, and is not waited for.
                if let Some(before) = before {
                    let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before); // it is gone, then
                }
                self.stage.print_error("\n");
                Err(Interrupt::failure())
            }
            answer = tokio::task::spawn_blocking(ask) => match answer {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Err(Interrupt::failure()),
                Ok(answer) => answer.map_err(|error| failed(error.to_string())),
                Err(error) => Err(failed(error.to_string())),
            },
        }
    }
}

#[async_trait]
impl Ask for Terminal {
    async fn secret(&self, question: &str) -> Result<Option<Secret>> {
        if !self.is_there() {
            return Ok(None);
        }
        let mut answers = self.answers.lock().await;
        if let Some(answer) = answers.secrets.get(question) {
            return Ok(Some(answer.clone()));
        }
        let prompt = format!("{question}: ");
        let answer = Secret::new(self.ask(move || rpassword::prompt_password(prompt)).await?);
        answers.secrets.insert(question.to_owned(), answer.clone());
        Ok(Some(answer))
    }

    async fn confirm(&self, question: &str) -> Result<Option<bool>> {
        if !self.is_there() {
            return Ok(None);
        }
        let mut answers = self.answers.lock().await;
        if let Some(answer) = answers.confirmed.get(question) {
            return Ok(Some(*answer));
        }
        let prompt = format!("{question} (yes/no) ");
        let ask = move || {
            io::stderr().write_all(prompt.as_bytes())?;
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            if !line.ends_with('\n') {
                io::stderr().write_all(b"\n")?;
            }
            Ok(line)
        };
        let answer = matches!(self.ask(ask).await?.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        answers.confirmed.insert(question.to_owned(), answer);
        Ok(Some(answer))
    }
}
