//! For people: in a terminal one live line below the lines that stay; elsewhere only lines that stay.
//!
//! Of several servers each has its live line, and only what deserves attention stays; a table at the end sums up.

use super::{
    Access, Ended, Frontend, Stage, Table,
    board::{Board, cut},
    diff::{self, Mark},
    hints,
    preview::place,
    stage::TICK,
};
use indicatif::ProgressStyle;
use ostler_core::{
    Blame, Failure, Result,
    event::{AnsibleReport, Diff, Event, EventKind, Level, ProgressUnit, TaskOutcome, TaskResult},
    ids::ServerName,
    model::{OperationKind, Phase},
    server::up::{Outcome, Resumed},
    text::plain,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Shows events to people.
pub struct Human {
    stage: Stage,
    servers: HashMap<String, Server>,
    /// Only with several servers.
    board: Option<Arc<Mutex<Board>>>,
    ended: Vec<[String; 5]>,
    /// Warnings that were shown: many a task repeats one of its server, and each server of a joined run has those of the whole.
    warned: HashSet<(Option<String>, String)>,
}

#[derive(Default)]
struct Server {
    phase: Option<Phase>,
    tasks: Tally,
    /// It is being made, so that everything is new: what differs says nothing.
    fresh: bool,
    /// Last tenth of a transfer that got a line, where there is no live line.
    tenth: u64,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    done: usize,
    changed: usize,
}

/// Size of a terminal that does not tell it.
const USUAL_SIZE: (usize, usize) = (80, 24);

impl Human {
    /// On this process's terminal, if it has one; for so many servers.
    pub fn new(servers: usize, stage: Stage) -> Self {
        let board = (servers > 1).then(|| Arc::new(Mutex::new(Board::new(servers))));
        if let Some(board) = &board {
            stage.set_style(board_style(Arc::clone(board)));
        }
        Self { stage, servers: HashMap::new(), board, ended: Vec::new(), warned: HashSet::new() }
    }

    fn server(&mut self, server: &str) -> &mut Server {
        self.servers.entry(server.to_owned()).or_default()
    }

    fn board(&self) -> Option<MutexGuard<'_, Board>> {
        self.board.as_ref().map(|board| board.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A line that is worth its place only where there is no board that says it, too.
    fn detail(&self, text: &str) {
        if !self.stage.is_terminal() || self.board.is_none() {
            self.line(text);
        }
    }

    fn line(&self, text: &str) {
        self.stage.print(&format!("{}\n", plain(text)));
    }

    /// What a server is doing now.
    fn now(&self, server: &str, phase: Option<Phase>, doing: &str) {
        match self.board() {
            Some(mut board) => {
                let row = board.row(server);
                row.phase = phase.or(row.phase);
                row.doing = plain(doing);
            }
            None => {
                let phase = phase.map(|phase| format!("{:<9}  ", phase.as_str())).unwrap_or_default();
                self.stage.set_message(&format!("{server}  {phase}{doing}"));
            }
        }
    }

    fn ansible(&mut self, server: &str, report: &AnsibleReport) {
        match report {
            AnsibleReport::RunStarted { ansible_version, strategy, .. } => {
                self.detail(&format!("{server}  provision  ansible-core {ansible_version}, {strategy}"));
            }
            AnsibleReport::TaskStarted { role, task, .. } => {
                let place = place(role, task, &None);
                let Tally { done, changed } = self.server(server).tasks;
                if let Some(mut board) = self.board() {
                    let row = board.row(server);
                    (row.done, row.changed) = (done, changed);
                }
                let counts =
                    if self.board.is_none() { format!("  ({done} done, {changed} changed)") } else { String::new() };
                self.now(server, Some(Phase::Provision), &format!("{place}{counts}"));
            }
            AnsibleReport::TaskResult(task) if !task.aggregate => self.task(server, task),
            AnsibleReport::Warning { host, message } if self.warned.insert((host.clone(), message.clone())) => {
                self.line(&format!("{server}  warning: {}", message.trim()));
            }
            _ => {}
        }
    }

    fn task(&mut self, server: &str, task: &TaskResult) {
        let of = self.server(server);
        of.tasks.done += usize::from(task.result != TaskOutcome::Skipped);
        of.tasks.changed += usize::from(task.result == TaskOutcome::Changed);
        let fresh = of.fresh;
        let item = task.item.as_deref().map(|item| format!(" ({item})")).unwrap_or_default();
        match task.result {
            TaskOutcome::Changed => {
                self.detail(&format!("{server}  changed    {}{item}", task.place()));
                for diff in task.diff.iter().filter(|_| !fresh) {
                    diff_lines(diff).iter().for_each(|line| self.detail(&format!("    {line}")));
                }
            }
            TaskOutcome::Failed if task.ignored => {
                self.detail(&format!("{server}  ignored    {}{item} failed", task.place()));
            }
            TaskOutcome::Failed | TaskOutcome::Unreachable => {
                self.line(&format!("{server}  {}     {}{item}", task.result.as_str(), task.place()));
            }
            TaskOutcome::Ok | TaskOutcome::Skipped => {}
        }
    }

    fn progress(&mut self, server: &str, what: &str, done: u64, total: Option<u64>, unit: ProgressUnit) {
        let share = total.filter(|total| *total > 0).map(|total| done * 100 / total);
        let amount = match unit {
            ProgressUnit::Bytes => match total {
                Some(total) => format!("{} of {}", mebibytes(done), mebibytes(total)),
                None => mebibytes(done),
            },
            ProgressUnit::Steps => total.map_or_else(|| done.to_string(), |total| format!("{done} of {total}")),
        };
        let percent = share.map(|share| format!(" {share} %")).unwrap_or_default();
        let text = format!("{what}: {amount}{percent}");
        // Without a terminal a line for each tenth is enough.
        let tenth = share.unwrap_or(0) / 10;
        let before = std::mem::replace(&mut self.server(server).tenth, tenth);
        if !self.stage.is_terminal() && tenth != before {
            self.stage.print_progress(&format!("{}\n", plain(&format!("{server}  {text}"))));
        }
        self.now(server, None, &text);
    }

    fn operation_started(&mut self, server: &str, kind: OperationKind, at: Option<&str>) {
        let of = self.server(server);
        of.tasks = Tally::default();
        of.fresh |= kind == OperationKind::Create;
        of.phase = None;
        if let Some(mut board) = self.board() {
            board.row(server);
        }
        self.stage.start(if self.board.is_some() { BOARD_TICK } else { TICK });
        let verb = match (kind, at) {
            (OperationKind::Create, None) => "creating",
            (OperationKind::Create, _) => "resuming its creation",
            (OperationKind::Rebuild, None) => "rebuilding",
            (OperationKind::Rebuild, _) => "resuming to rebuild it",
            (OperationKind::Leave, None) => "taking it out of its cluster",
            (OperationKind::Leave, _) => "resuming to take it out of its cluster",
            (OperationKind::Template, None) => "making it a template",
            (OperationKind::Template, _) => "resuming to make it a template",
            (OperationKind::Deploy, _) => "deploying",
            (OperationKind::Rollback, _) => "rolling back",
            (OperationKind::Remove, _) => "removing",
            (OperationKind::Apply, None) => "applying its spec",
            (OperationKind::Apply, _) => "resuming to apply its spec",
        };
        let at = at.map(|step| format!(" at step `{step}`")).unwrap_or_default();
        self.detail(&format!("{server}  {verb}{at}"));
    }
}

/// How often a board moves.
const BOARD_TICK: Duration = Duration::from_millis(500);

/// Draws the board as it then is.
fn board_style(board: Arc<Mutex<Board>>) -> ProgressStyle {
    let draw = move |_: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
        let size = rustix::termios::tcgetwinsize(std::io::stderr());
        let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row))).ok();
        let (width, height) = size.filter(|(width, height)| *width > 0 && *height > 0).unwrap_or(USUAL_SIZE);
        let lines = board.lock().unwrap_or_else(PoisonError::into_inner).lines(Instant::now(), width, height);
        let _ = out.write_str(&lines.join("\n"));
    };
    ProgressStyle::with_template("{board}").expect("a constant template").with_key("board", draw)
}

impl Frontend for Human {
    fn event(&mut self, event: &Event) {
        let server = event.called().unwrap_or_default();
        let phase_of = |frontend: &mut Self| frontend.server(server).phase.map_or("", Phase::as_str);
        match &event.kind {
            EventKind::OperationStarted { operation_kind, steps, first } => {
                let at = steps.get(*first).filter(|_| *first > 0).map(|(_, step)| step.as_str());
                self.operation_started(server, *operation_kind, at);
            }
            EventKind::StepStarted { step, phase, .. } => {
                self.server(server).phase = Some(*phase);
                self.now(server, Some(*phase), step);
            }
            EventKind::StepDone { step, seconds, .. } => {
                let phase = phase_of(self);
                self.detail(&format!("{server}  {phase:<9}  {step} ({seconds:.1} s)"));
            }
            EventKind::StepFailed { step, .. } => {
                let phase = phase_of(self);
                self.line(&format!("{server}  {phase:<9}  {step} FAILED"));
            }
            EventKind::UnwindStarted { steps } => self.detail(&format!("{server}  undoing: {}", steps.join(", "))),
            EventKind::UndoStarted { step, .. } => self.now(server, None, &format!("undoing {step}")),
            EventKind::UndoDone { step, .. } => self.detail(&format!("{server}  undone     {step}")),
            EventKind::UndoFailed { step, failure, .. } => {
                self.line(&format!("{server}  undo of {step} FAILED: {failure}"));
            }
            EventKind::OperationEnded { .. } if self.board.is_none() => self.stage.stop(),
            EventKind::OperationEnded { .. } => {}
            EventKind::Notice { level, message } => {
                let word = if *level == Level::Warning { "warning" } else { "note" };
                self.line(&format!("{server}  {word}: {message}"));
            }
            EventKind::Progress { what, done, total, unit } => self.progress(server, what, *done, *total, *unit),
            EventKind::Ansible { report, .. } => self.ansible(server, report),
        }
    }

    fn warning(&mut self, message: &str) {
        self.line(&format!("warning: {message}"));
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { server, result, time, access } = ended;
        self.servers.remove(server.as_str());
        let Some(mut board) = self.board() else {
            self.stage.stop();
            match &result {
                Ok(came_to) => sentences(&server, came_to, &access).iter().for_each(|line| self.line(line)),
                Err(failure) => self.stage.print_error(&failure_text(failure)),
            }
            return;
        };
        board.end(server.as_str(), result.is_ok());
        drop(board);
        match &result {
            Ok(came_to) => self.line(&sentences(&server, came_to, &access)[0]),
            Err(failure) => self.stage.print_error(&failure_of(&server, failure, true)),
        }
        self.ended.push(row(&server, &result, time, &access));
    }

    fn finish(&mut self) {
        self.stage.stop();
        if self.ended.is_empty() {
            return;
        }
        let mut table = Table::new(&["SERVER", "RESULT", "CHANGED", "TIME", "ADDRESS OR FAILURE"]);
        self.ended.sort();
        self.ended.drain(..).for_each(|row| table.row(row.map(|cell| plain(&cell)).to_vec()));
        // A failure may be long, and stands above with its causes; in a file nothing is cut.
        let width = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        let width = if width == 0 { usize::MAX } else { width };
        let lines: String = table.render().lines().map(|line| format!("{}\n", cut(line, width))).collect();
        self.stage.print(&format!("\n{lines}"));
    }
}

/// What the work on a server came to, the most important first.
fn sentences(server: &ServerName, came_to: &Resumed, access: &Access) -> Vec<String> {
    let Resumed::Up(outcome) = came_to else {
        let word = match came_to {
            Resumed::Destroyed => "destroyed",
            Resumed::Template => "is a template: `ostler up` clones it",
            _ => "nothing to resume: its last operation succeeded",
        };
        return vec![format!("{server}  {word}")];
    };
    let did = match outcome {
        Outcome { created: true, .. } => "created and ready".to_owned(),
        Outcome { changed: 0, .. } => "ready: nothing changed".to_owned(),
        Outcome { changed: 1, .. } => "ready: 1 task changed something".to_owned(),
        Outcome { changed, .. } => format!("ready: {changed} tasks changed something"),
    };
    let mut lines = vec![format!("{server}  {did}"), format!("{server}  log in with `ostler ssh {server}`")];
    let forwards = access.forwards.iter();
    lines.extend(forwards.map(|(here, there)| format!("{server}  {here} leads to its port {there}")));
    lines
}

/// A server's row in the table at the end.
fn row(server: &ServerName, result: &Result<Resumed>, time: Duration, access: &Access) -> [String; 5] {
    let nothing = || "-".to_owned();
    let (word, changed, last) = match result {
        Ok(Resumed::Up(outcome)) => {
            let word = if outcome.created { "created" } else { "ready" };
            (word, outcome.changed.to_string(), access.ssh.map_or_else(nothing, |address| address.to_string()))
        }
        Ok(Resumed::Destroyed) => ("destroyed", nothing(), nothing()),
        Ok(Resumed::Template) => ("template", nothing(), nothing()),
        Ok(Resumed::NothingToDo) => {
            ("as it was", nothing(), access.ssh.map_or_else(nothing, |address| address.to_string()))
        }
        Err(failure) => {
            let word = if failure.blame == Blame::Interrupted { "stopped" } else { "FAILED" };
            (word, nothing(), failure.message.lines().next().unwrap_or_default().to_owned())
        }
    };
    [server.to_string(), word.to_owned(), changed, format!("{:.1} s", time.as_secs_f64()), last]
}

/// A failure for people; where there are several servers, with the name of its own on its first line.
pub fn failure_of(server: &ServerName, failure: &Failure, many: bool) -> String {
    let text = failure_text(failure);
    if many { format!("{server}  {text}") } else { text }
}

/// A failure for people.
pub fn failure_text(failure: &Failure) -> String {
    let mut text = format!("error: {}\n", failure.message);
    for cause in &failure.causes {
        for (number, line) in cause.lines().enumerate() {
            text.push_str(if number == 0 { "  cause: " } else { "         " });
            text.push_str(line);
            text.push('\n');
        }
    }
    for line in &failure.lines {
        text.push_str(&format!("  | {line}\n"));
    }
    for line in failure.left.iter() {
        text.push_str(&format!("  left: {line}\n"));
    }
    for (number, hint) in hints::of(failure).enumerate() {
        text.push_str(if number == 0 { "\nhint: " } else { "hint: " });
        text.push_str(&hint);
        text.push('\n');
    }
    plain(&text)
}

/// The lines that differ; bounded, for the log has it whole.
fn diff_lines(diff: &Diff) -> Vec<String> {
    const MOST: usize = 12;
    let differs = |(mark, line)| matches!(mark, Mark::Gone | Mark::New).then_some(line);
    let mut lines: Vec<String> = diff::lines(diff).into_iter().filter_map(differs).collect();
    if lines.len() > MOST {
        let more = lines.len() - MOST;
        lines.truncate(MOST);
        lines.push(format!("... and {more} lines more"));
    }
    lines
}

fn mebibytes(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // shown with one decimal
    let mebibytes = bytes as f64 / 1_048_576.0;
    format!("{mebibytes:.1} MiB")
}
