//! The person in front of the terminal.

use async_trait::async_trait;
use ostler_core::{Blame, Failure, Result, ports::Ask, secret::Secret};
use std::{
    collections::HashMap,
    io::{self, BufRead, IsTerminal, Write},
};
use tokio::sync::Mutex;

/// Asks on the terminal, one question at a time; where there is none, nobody is asked.
#[derive(Default)]
pub struct Terminal {
    non_interactive: bool,
    secrets: Mutex<HashMap<String, Secret>>,
    confirmed: Mutex<HashMap<String, bool>>,
}

impl Terminal {
    /// `non_interactive`: never asks.
    pub fn new(non_interactive: bool) -> Self {
        Self { non_interactive, ..Self::default() }
    }

    fn is_there(&self) -> bool {
        !self.non_interactive && io::stdin().is_terminal() && io::stderr().is_terminal()
    }
}

#[async_trait]
impl Ask for Terminal {
    async fn secret(&self, question: &str) -> Result<Option<Secret>> {
        if !self.is_there() {
            return Ok(None);
        }
        let mut answers = self.secrets.lock().await;
        if let Some(answer) = answers.get(question) {
            return Ok(Some(answer.clone()));
        }
        let prompt = format!("{question}: ");
        let typed = blocking(move || rpassword::prompt_password(prompt)).await?;
        let answer = Secret::new(typed);
        answers.insert(question.to_owned(), answer.clone());
        Ok(Some(answer))
    }

    async fn confirm(&self, question: &str) -> Result<Option<bool>> {
        if !self.is_there() {
            return Ok(None);
        }
        let mut answers = self.confirmed.lock().await;
        if let Some(answer) = answers.get(question) {
            return Ok(Some(*answer));
        }
        let prompt = format!("{question} (yes/no) ");
        let typed = blocking(move || {
            io::stderr().write_all(prompt.as_bytes())?;
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            Ok(line)
        });
        let answer = matches!(typed.await?.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        answers.insert(question.to_owned(), answer);
        Ok(Some(answer))
    }
}

/// Other servers are worked on while one question waits for its answer.
async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let failed = |cause: String| Failure::new(Blame::User, cause).because_of("the terminal can't be read");
    match tokio::task::spawn_blocking(ask).await {
        Ok(answer) => answer.map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}
