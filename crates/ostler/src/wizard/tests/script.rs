//! Somebody who answers from a script, at a computer of their own.

use crate::wizard::{
    Outcome, conversation,
    discover::{Found, Surroundings},
    prompt::{Answer, Ask, CheckChosen, CheckLine, Choice, Prompter, Screen, Unanswered},
};
use Act::{CtrlC, Enter, Esc};
use ostler_core::{
    Failure,
    secret::Secret,
    spec::{self, CatalogIndex, ModuleMeta, ServerSpec, SpecContext},
};
use ostler_providers::proxmox::Host;
use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex},
};
use tempfile::TempDir;
use tokio::runtime::Handle;

/// Questions, each with what is done there.
pub type Acts = Vec<(&'static str, Act)>;

/// What somebody does at a question.
#[derive(Clone, Debug)]
pub enum Act {
    /// Types this, or chooses what has this label; several labels have commas between.
    Give(String),
    /// Takes what is offered.
    Enter,
    Esc,
    CtrlC,
}

pub fn give(text: impl Into<String>) -> Act {
    Act::Give(text.into())
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Questions with what was offered.
    pub asked: Vec<(String, String)>,
    /// What was wrong with answers.
    pub refusals: Vec<String>,
    pub notices: Vec<String>,
    pub texts: Vec<String>,
    pub choices: Vec<(String, String)>,
}

struct Script {
    acts: VecDeque<(&'static str, Act)>,
    seen: Arc<Mutex<Seen>>,
}

impl Script {
    /// The next act, which must be for this question.
    fn act(&mut self, ask: Ask<'_>, offered: &str) -> Act {
        self.seen.lock().unwrap().asked.push((ask.question.to_owned(), offered.to_owned()));
        let (question, act) = self.acts.pop_front().unwrap_or_else(|| panic!("nobody expected `{}`", ask.question));
        assert!(ask.question.contains(question), "`{question}` was expected, but `{}` asked", ask.question);
        act
    }

    fn refused(&self, words: String) {
        self.seen.lock().unwrap().refusals.push(words);
    }

    fn saw(&self, choices: &[Choice]) {
        self.seen.lock().unwrap().choices.extend(choices.iter().map(|it| (it.label.clone(), it.help.clone())));
    }
}

fn index(choices: &[Choice], label: &str) -> usize {
    let labels: Vec<&str> = choices.iter().map(|choice| choice.label.as_str()).collect();
    labels.iter().position(|it| *it == label).unwrap_or_else(|| panic!("there is no `{label}` among {labels:?}"))
}

impl Prompter for Script {
    fn screen(&mut self, screen: &Screen) {
        let mut seen = self.seen.lock().unwrap();
        seen.notices.extend(screen.notice.clone());
        seen.texts.extend(screen.text.clone());
    }

    fn rows(&self) -> usize {
        usize::MAX
    }

    fn select(&mut self, ask: Ask<'_>, choices: &[Choice], default: usize) -> Result<Answer<usize>, Unanswered> {
        self.saw(choices);
        match self.act(ask, &choices[default].label) {
            Act::Give(label) => Ok(Answer::Given(index(choices, &label))),
            Enter => Ok(Answer::Given(default)),
            Esc => Ok(Answer::Back),
            CtrlC => Err(Unanswered::Interrupted),
        }
    }

    fn multi_select(
        &mut self,
        ask: Ask<'_>,
        choices: &[Choice],
        default: &[usize],
        check: CheckChosen<'_>,
    ) -> Result<Answer<Vec<usize>>, Unanswered> {
        self.saw(choices);
        let offered: Vec<&str> = default.iter().map(|index| choices[*index].label.as_str()).collect();
        loop {
            let chosen = match self.act(ask, &offered.join(",")) {
                Act::Give(labels) => {
                    let labels = labels.split(',').filter(|label| !label.is_empty());
                    labels.map(|label| index(choices, label)).collect()
                }
                Enter => default.to_vec(),
                Esc => return Ok(Answer::Back),
                CtrlC => return Err(Unanswered::Interrupted),
            };
            match check(&chosen) {
                Ok(()) => return Ok(Answer::Given(chosen)),
                Err(words) => self.refused(words),
            }
        }
    }

    fn text(
        &mut self,
        ask: Ask<'_>,
        default: Option<&str>,
        check: CheckLine<'_>,
    ) -> Result<Answer<String>, Unanswered> {
        loop {
            let typed = match self.act(ask, default.unwrap_or_default()) {
                Act::Give(text) => text,
                Enter => String::new(),
                Esc => return Ok(Answer::Back),
                CtrlC => return Err(Unanswered::Interrupted),
            };
            match check(&typed) {
                Ok(()) => return Ok(Answer::Given(typed)),
                Err(words) => self.refused(words),
            }
        }
    }

    fn password(&mut self, ask: Ask<'_>, _: bool, check: CheckLine<'_>) -> Result<Answer<Secret>, Unanswered> {
        loop {
            let typed = match self.act(ask, "") {
                Act::Give(text) => text,
                Enter => String::new(),
                Esc => return Ok(Answer::Back),
                CtrlC => return Err(Unanswered::Interrupted),
            };
            match check(&typed) {
                Ok(()) => return Ok(Answer::Given(Secret::new(typed))),
                Err(words) => self.refused(words),
            }
        }
    }
}

/// Somebody's computer.
pub struct Desk {
    pub dir: TempDir,
    pub modules: Vec<ModuleMeta>,
    pub catalog: CatalogIndex,
    pub host: Host,
    pub hetzner: Option<String>,
    pub cloudflare: Option<String>,
}

pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBA ann@desk";

impl Desk {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("home/.ssh")).unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        fs::write(dir.path().join("home/.ssh/id_ed25519.pub"), KEY).unwrap();
        Self {
            host: Host::with_cluster_files(dir.path().join("nowhere"), ""),
            modules: ostler_ansible::module_catalog().unwrap(),
            catalog: ostler_ansible::catalog_index().unwrap(),
            hetzner: None,
            cloudflare: None,
            dir,
        }
    }

    pub async fn talk(&self, acts: Acts) -> (Result<Option<Outcome>, Failure>, Seen) {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let script = Script { acts: acts.into(), seen: Arc::clone(&seen) };
        let around = Surroundings {
            home: Some(self.dir.path().join("home")),
            folder: self.dir.path().join("work"),
            hetzner: self.hetzner.clone(),
            cloudflare: self.cloudflare.clone(),
            host: self.host.clone(),
            modules: self.modules.clone(),
            catalog: self.catalog.clone(),
            catalog_url: None,
            store: None,
            runtime: Handle::current(),
            found: Found::default(),
        };
        let outcome = tokio::task::spawn_blocking(move || conversation(&around, Box::new(script))).await.unwrap();
        assert_eq!(fs::read_dir(self.dir.path().join("work")).unwrap().count(), 0, "a question wrote something");
        (outcome, Arc::into_inner(seen).unwrap().into_inner().unwrap())
    }

    pub async fn outcome(&self, acts: Acts) -> (Outcome, Seen) {
        let (outcome, seen) = self.talk(acts).await;
        (outcome.unwrap().expect("it came to an end"), seen)
    }

    /// The server that an outcome asks for.
    pub fn server(&self, outcome: &Outcome) -> ServerSpec {
        let context = SpecContext {
            path: "ostler.yaml".into(),
            folder: self.dir.path().join("work"),
            home: Some(self.dir.path().join("home")),
            modules: &self.modules,
            catalog: &self.catalog,
            read_file: &|path| fs::read_to_string(path),
            is_file: &|path| path.is_file(),
            check_key: &|_| Ok(()),
        };
        let read = spec::read(&outcome.text, &context);
        read.unwrap_or_else(|error| panic!("{error}\n{}", outcome.text)).servers.remove(0)
    }
}
