//! One run of `ansible-playbook`, from the unpacked bundle to the last of its processes.

use crate::{
    AnsibleError,
    command::{Invocation, invocation},
    embedded::{BUNDLE, CONTENT},
    events::{next_line, next_report},
    grouping::Player,
    inventory, pending, processes,
    rundir::RunDir,
    unpack::{Format, Unpacked, unpack},
};
use async_trait::async_trait;
use ostler_core::{
    Result,
    event::{AnsibleReport, HostStats},
    ids::RunId,
    ports::{ChildRecord, Engine, RunObserver, RunRequest, RunSummary},
};
use ostler_process::{ProcessId, children};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufRead, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::OnceCell,
    task::JoinHandle,
    time::timeout,
};

/// Lines of standard error that are kept for a run that fails without a failed task.
const STDERR_LINES: usize = 40;
/// Longest of them, in bytes.
const STDERR_LINE_LIMIT: usize = 4096;
/// How long standard error may stay open once the run is over: a daemon that a task started may hold it.
const STDERR_PATIENCE: Duration = Duration::from_millis(500);

/// Ansible as an [`Engine`].
#[derive(Debug)]
pub struct AnsibleEngine {
    root: PathBuf,
    runs: PathBuf,
    unpacked: OnceCell<Installation>,
}

/// The bundle and the playbook on disk, there as long as the engine lives.
#[derive(Debug)]
struct Installation {
    bundle: Unpacked,
    content: Unpacked,
}

impl AnsibleEngine {
    /// An engine that unpacks into `root/ansible` and `root/content`, and keeps the folders of its runs in `state/run`. Touches
    /// nothing yet.
    pub fn new(root: &Path, state: &Path) -> Self {
        Self { root: root.to_owned(), runs: state.join("run"), unpacked: OnceCell::new() }
    }

    async fn installation(&self) -> Result<&Installation, AnsibleError> {
        let bundle = BUNDLE.ok_or(AnsibleError::NoBundle)?;
        let root = self.root.clone();
        let install = move || {
            Ok(Installation {
                bundle: unpack(&root.join("ansible"), &bundle, Format::TarZst)?,
                content: unpack(&root.join("content"), &CONTENT, Format::Tar)?,
            })
        };
        self.unpacked.get_or_try_init(|| blocking(install)).await
    }

    /// Runs the playbook in `content` with the Ansible in `bundle`, for all the runs that the request joins.
    async fn run_in(
        &self,
        (bundle, content): (&Path, &Path),
        ids: &[RunId],
        request: &RunRequest,
        observer: &dyn RunObserver,
    ) -> Result<RunSummary> {
        let folder = RunDir::create(&self.runs, request.run)?;
        let inventory = inventory::Server::start(&folder.socket(), inventory::document(request))?;
        let invocation = invocation(bundle, content, &folder, ids, request);
        // From here on: declared after the folder and the inventory, so that the processes end before these go.
        let mut end_in_any_case = EndProcesses { run: request.run, first: None, ended: false };

        let mut child = start(&invocation, folder.path())?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let mut reports = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let errors = Tail::follow(BufReader::new(child.stderr.take().expect("stderr is piped")));
        let early = |source| AnsibleError::EndedEarly { run: request.run, source };
        let pid = child.id().ok_or_else(|| early(io::Error::other("it has no process id")))?;
        let process =
            ProcessId::of(pid).and_then(|process| process.ok_or_else(|| io::Error::other("it is gone already")));
        let ProcessId { start_ticks, boot, .. } = process.map_err(early)?;
        end_in_any_case.first = Some((pid, start_ticks));
        observer.child_started(pid, start_ticks, boot).await?;
        // If it is gone already, its status and standard error say why, and the pipe ends at once.
        let _ = stdin.write_all(b"go\n").await;
        drop(stdin);

        // The pipe ends when the last process that holds it does, and that is seen to as soon as the first one has ended.
        let (hosts, status) =
            tokio::join!(hand_over(&mut reports, observer), wait_for_all(&mut child, end_in_any_case));
        if let Some(why) = inventory.refused() {
            return Err(AnsibleError::Refused { why: why.to_owned() }.into());
        }
        Ok(RunSummary { status: exit_code(status?), hosts, stderr_tail: errors.finish().await })
    }
}

#[async_trait]
impl Engine for AnsibleEngine {
    async fn run(&self, request: RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        self.play(&[request.run], &request, observer).await
    }

    async fn end_leftovers(&self, child: &ChildRecord) -> Result<usize> {
        let (runs, child) = (self.runs.clone(), child.clone());
        let count = blocking(move || {
            let count = processes::end_leftovers(&child)?;
            RunDir::remove_leftovers(&runs, child.run)?;
            Ok(count)
        });
        Ok(count.await?)
    }

    fn pending_handlers(&self, before: &[(String, String)], reports: &[AnsibleReport]) -> Vec<(String, String)> {
        pending::pending_handlers(before, reports)
    }
}

#[async_trait]
impl Player for AnsibleEngine {
    async fn play(&self, ids: &[RunId], request: &RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        let Installation { bundle, content } = self.installation().await?;
        self.run_in((&bundle.path, &content.path), ids, request, observer).await
    }
}

fn start(invocation: &Invocation, folder: &Path) -> Result<Child, AnsibleError> {
    let mut command = Command::new(&invocation.program);
    command
        .args(&invocation.arguments)
        .env_clear()
        .envs(invocation.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    children::start(command).map_err(|source| AnsibleError::Start { program: invocation.program.clone(), source })
}

/// Hands every report over, one after the other: while the observer is busy, the pipe fills and Ansible waits. Returns the
/// counts that stood in the last one.
async fn hand_over(
    reader: &mut (impl AsyncBufRead + Unpin),
    observer: &dyn RunObserver,
) -> BTreeMap<String, HostStats> {
    let mut hosts = BTreeMap::new();
    while let Ok(Some(report)) = next_report(reader).await {
        if let AnsibleReport::Stats { hosts: counts } = &report {
            hosts.clone_from(counts);
        }
        observer.report(report).await;
    }
    hosts
}

/// Waits for ansible-playbook, and then ends what it left.
async fn wait_for_all(child: &mut Child, mut guard: EndProcesses) -> Result<ExitStatus, AnsibleError> {
    let run = guard.run;
    let status = child.wait().await.map_err(|source| AnsibleError::EndedEarly { run, source })?;
    blocking(move || processes::end_processes(run, None)).await?;
    guard.ended = true;
    Ok(status)
}

/// Ends the run's processes when it is dropped: when a run is given up, or fails halfway. Blocks until they are gone, since
/// nobody may be left to wait for them; that takes some milliseconds, or two seconds for those that ignore SIGTERM.
struct EndProcesses {
    run: RunId,
    /// The first process and its start, once it has started.
    first: Option<(u32, u64)>,
    ended: bool,
}

impl Drop for EndProcesses {
    fn drop(&mut self) {
        if !self.ended {
            let _ = processes::end_processes(self.run, self.first); // nobody is left to be told; the next run finds them by the journal
        }
    }
}

/// As a shell says it: a signal counts from 128.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// The last lines of a stream.
struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    fn follow(mut stream: impl AsyncBufRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = next_line(&mut stream, STDERR_LINE_LIMIT).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == STDERR_LINES {
                    kept.pop_front();
                }
                kept.push_back(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self { lines, reader }
    }

    async fn finish(mut self) -> Vec<String> {
        let _ = timeout(STDERR_PATIENCE, &mut self.reader).await;
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AnsibleError> + Send + 'static,
) -> Result<T, AnsibleError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()), // a blocking task that has begun is never cancelled
    }
}

#[cfg(test)]
pub(crate) mod tests;
