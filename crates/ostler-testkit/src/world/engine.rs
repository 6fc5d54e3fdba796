//! Ansible as two tasks and a handler. A run has a real process, which an Ostler that is killed leaves behind.

use super::FakeWorld;
use async_trait::async_trait;
use ostler_core::{
    Blame, Failure, Result,
    event::{AnsibleReport, HostStats, TaskOutcome},
    ids::RunId,
    ports::{ChildRecord, Engine, Playbook, RunObserver, RunRequest, RunSummary},
    spec::Value,
};
use ostler_process::ProcessId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::Write,
    process::{Child, Command, Stdio},
};

/// Role and handler that a changed configuration notifies.
const HANDLER: (&str, &str) = ("service", "restart service");

/// A run that began and did not end.
#[derive(Serialize, Deserialize)]
struct Begun {
    server: String,
    pid: u32,
    start_ticks: u64,
    boot: String,
}

#[async_trait]
impl Engine for FakeWorld {
    async fn run(&self, request: RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        self.faults.around("engine.run", self.play(request, observer)).await
    }

    async fn end_leftovers(&self, child: &ChildRecord) -> Result<usize> {
        self.faults
            .around("engine.end_leftovers", async {
                let path = run_path(child.run);
                let begun: Option<Begun> = self.dir.read(&path);
                if let Some(begun) = &begun {
                    end(begun);
                    self.dir.say(&format!("ended leftovers {}", begun.server));
                }
                self.dir.remove(&path);
                Ok(usize::from(begun.is_some()))
            })
            .await
    }

    fn pending_handlers(&self, before: &[(String, String)], reports: &[AnsibleReport]) -> Vec<(String, String)> {
        let mut pending = before.to_vec();
        for report in reports {
            let AnsibleReport::TaskResult(task) = report else { continue };
            let role = task.role.clone().unwrap_or_default();
            if task.handler {
                pending.retain(|(of, name)| (of, name) != (&role, &task.task));
            }
            pending.extend(task.notify.iter().map(|handler| (role.clone(), handler.clone())));
        }
        pending.sort();
        pending.dedup();
        pending
    }
}

impl FakeWorld {
    async fn play(&self, request: RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        let host = request.hosts.into_iter().next().expect("a run has a server");
        let server = host.name.to_string();
        let mut process = RunProcess::start()?;
        let id = ProcessId::of(process.0.id()).ok().flatten().expect("it waits");
        observer.child_started(id.pid, id.start_ticks, id.boot.clone()).await?;

        process.release();
        for run in self.dir.names("runs") {
            if self.dir.read(&format!("runs/{run}")).is_some_and(|other: Begun| other.server == server) {
                self.dir.say(&format!("two runs at once on {server}"));
            }
        }
        let ProcessId { pid, start_ticks, boot } = id;
        self.dir.write(&run_path(request.run), &Begun { server: server.clone(), pid, start_ticks, boot });
        self.dir.say(&format!("{} {server}", if request.check { "checked" } else { "run" }));
        let status = if request.playbook == Playbook::Access {
            self.give_access(&server, &host.vars);
            0
        } else if request.check {
            self.look(&server, host.vars, observer).await
        } else {
            self.tasks(&server, host.vars, host.secret_vars.contains_key("ostler_tunnel_token"), observer).await
        };
        drop(process);
        self.dir.remove(&run_path(request.run));
        // A process that is killed for want of memory does not come to the counts.
        if self.faults.around("engine.counts", async { Ok(()) }).await.is_err() {
            return Ok(RunSummary { status: 137, hosts: BTreeMap::new(), stderr_tail: Vec::new() });
        }
        let stats = HostStats { ok: 2, failures: status.unsigned_abs().into(), ..HostStats::default() };
        Ok(RunSummary { status, hosts: BTreeMap::from([(server, stats)]), stderr_tail: Vec::new() })
    }

    fn give_access(&self, server: &str, vars: &BTreeMap<String, Value>) {
        let vars = json!(vars);
        self.dir.change_guest(server, |guest| {
            guest.user = vars["ostler_user"].as_str().expect("a name").to_owned();
            let keys = vars["ostler_authorized_keys"].as_array().expect("a list").iter();
            guest.authorized_keys = keys.filter_map(|key| key.as_str().map(str::to_owned)).collect();
        });
    }

    /// Says what the tasks would change, and changes nothing.
    async fn look(&self, server: &str, mut vars: BTreeMap<String, Value>, observer: &dyn RunObserver) -> i32 {
        let guest = self.dir.machine(server).and_then(|machine| machine.guest).expect("it was logged in to");
        vars.remove("ostler_pending_handlers");
        let changed = guest.config != json!(vars);
        let (outcome, notify) =
            if changed { (TaskOutcome::Changed, vec![HANDLER.1]) } else { (TaskOutcome::Ok, vec![]) };
        observer.report(result(server, "configure", outcome, &notify)).await;
        if let Err(failure) = self.faults.middle("engine.run") {
            let mut report = result(server, "break", TaskOutcome::Failed, &[]);
            if let AnsibleReport::TaskResult(task) = &mut report {
                task.msg = Some(failure.message);
            }
            observer.report(report).await;
            return 2;
        }
        0
    }

    /// Installs, configures, and restarts where that was notified, now or in an earlier run.
    ///
    /// A task reports before it acts: a kill between the change on a server and its report is beyond anyone's knowledge.
    async fn tasks(
        &self,
        server: &str,
        vars: BTreeMap<String, Value>,
        tunnel: bool,
        observer: &dyn RunObserver,
    ) -> i32 {
        let guest = self.dir.machine(server).and_then(|machine| machine.guest).expect("it was logged in to");
        if guest.dpkg_interrupted {
            self.dir.say(&format!("a run met an interrupted dpkg on {server}"));
        }
        self.dir.change_guest(server, |guest| guest.dpkg_interrupted = true);

        let (pending, config): (BTreeMap<_, _>, BTreeMap<_, _>) =
            vars.into_iter().partition(|(name, _)| name == "ostler_pending_handlers");
        let config = json!(config);
        let forced = json!(pending)["ostler_pending_handlers"][HANDLER.0] == json!([HANDLER.1]);
        let changed = guest.config != config;
        let (outcome, notify) =
            if changed { (TaskOutcome::Changed, vec![HANDLER.1]) } else { (TaskOutcome::Ok, vec![]) };
        observer.report(result(server, "configure", outcome, &notify)).await;
        self.dir.change_guest(server, |guest| {
            guest.config = config.clone();
            guest.connector |= tunnel;
        });

        if let Err(failure) = self.faults.middle("engine.run") {
            self.dir.change_guest(server, |guest| guest.dpkg_interrupted = false);
            let mut report = result(server, "break", TaskOutcome::Failed, &[]);
            if let AnsibleReport::TaskResult(task) = &mut report {
                task.msg = Some(failure.message);
            }
            observer.report(report).await;
            return 2;
        }
        if changed || forced {
            self.dir.change_guest(server, |guest| guest.restarted_with = config);
            observer.report(result(server, HANDLER.1, TaskOutcome::Changed, &[])).await;
        }
        self.dir.change_guest(server, |guest| guest.dpkg_interrupted = false);
        0
    }
}

/// Waits for its release before it does anything, as the real one does, and ends if its Ostler dies before that.
struct RunProcess(Child);

impl RunProcess {
    fn start() -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", "read go && exec sleep 120"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let failed = |error: std::io::Error| Failure::new(Blame::Bug, error.to_string());
        command.spawn().map(Self).map_err(failed)
    }

    fn release(&mut self) {
        let mut stdin = self.0.stdin.take().expect("it is piped");
        stdin.write_all(b"go\n").expect("it reads");
    }
}

impl Drop for RunProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn end(begun: &Begun) {
    let process = ProcessId { pid: begun.pid, start_ticks: begun.start_ticks, boot: begun.boot.clone() };
    while process.is_alive() {
        if let Some(pid) = i32::try_from(begun.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::yield_now();
    }
}

/// Ends the processes of runs that nobody ended; for a test that failed half-way.
impl super::WorldDir {
    /// Ends them.
    pub fn end_all_runs(&self) {
        for run in self.names("runs") {
            self.read(&format!("runs/{run}")).as_ref().into_iter().for_each(end);
        }
    }
}

fn run_path(run: RunId) -> String {
    format!("runs/{run}.json")
}

fn result(host: &str, task: &str, outcome: TaskOutcome, notify: &[&str]) -> AnsibleReport {
    let handler = task == HANDLER.1;
    serde_json::from_value(json!({
        "report": "task_result", "host": host, "role": HANDLER.0, "task": task, "task_id": task,
        "module": "ansible.builtin.template", "result": outcome, "duration": 0.1, "notify": notify, "handler": handler,
    }))
    .expect("the shape of a result")
}
