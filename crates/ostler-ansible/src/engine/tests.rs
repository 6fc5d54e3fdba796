//! Real runs of small playbooks on this machine, with the real bundle and our own plugins. Without a bundle in this build they
//! say so and pass.

use super::*;
use crate::inventory::tests::request;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ostler_core::{
    Blame, Failure,
    event::TaskOutcome,
    spec::{Strategy, Value},
};
use std::fs;
use tokio::sync::mpsc;

mod apps;
mod server;
mod swarm;

/// An engine with a scratch state, and a playbook with what `ansible/` has around it.
pub(crate) struct Bench {
    pub scratch: tempfile::TempDir,
    pub engine: AnsibleEngine,
}

impl Bench {
    pub fn new(playbook: &str) -> Option<Self> {
        if BUNDLE.is_none() {
            eprintln!("skipped: this build carries no Ansible; run `cargo xtask bundle` first");
            return None;
        }
        let scratch = tempfile::tempdir().unwrap();
        let content = scratch.path().join("playbook");
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ansible");
        for folder in ["callback_plugins", "inventory_plugins"] {
            fs::create_dir_all(content.join(folder)).unwrap();
        }
        for file in ["ansible.cfg", "callback_plugins/ostler_events.py", "inventory_plugins/ostler.py"] {
            fs::copy(ours.join(file), content.join(file)).unwrap();
        }
        fs::write(content.join("site.yml"), playbook).unwrap();
        // Among the build's own files, so that all tests of all test runs share one.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/ostler-ansible");
        let engine = AnsibleEngine::new(&root, scratch.path());
        Some(Self { scratch, engine })
    }

    /// A run on this machine, with the bundle's own Python as the server's.
    pub async fn request(&self, strategy: Strategy) -> RunRequest {
        let bundle = self.engine.installation().await.unwrap().bundle.path.clone();
        let mut request = request(strategy);
        let text = |text: &str| Value::String(text.to_owned());
        let python = bundle.join("bin/python3.11");
        request.hosts[0].vars = BTreeMap::from([
            ("ansible_connection".to_owned(), text("local")),
            ("ansible_python_interpreter".to_owned(), text(python.to_str().unwrap())),
            ("scratch".to_owned(), text(self.scratch.path().to_str().unwrap())),
            ("braces".to_owned(), text("{{ 1 + 1 }}")),
        ]);
        request
    }

    async fn run(&self, request: &RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        self.play(&[request.run], request, observer).await
    }

    pub async fn play(&self, ids: &[RunId], request: &RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        let bundle = self.engine.installation().await?.bundle.path.clone();
        let content = self.scratch.path().join("playbook");
        self.engine.run_in((&bundle, &content), ids, request, observer).await
    }
}

/// Keeps what it is told, and passes it on as it comes.
struct Observer {
    refuse: bool,
    reports: mpsc::UnboundedSender<AnsibleReport>,
    children: Mutex<Vec<u32>>,
}

impl Observer {
    fn new(refuse: bool) -> (Self, mpsc::UnboundedReceiver<AnsibleReport>) {
        let (reports, receiver) = mpsc::unbounded_channel();
        (Self { refuse, reports, children: Mutex::default() }, receiver)
    }
}

#[async_trait]
impl RunObserver for Observer {
    async fn child_started(&self, pid: u32, start_ticks: u64, _boot: String) -> Result<()> {
        assert_eq!(ostler_process::start_ticks(pid).unwrap(), Some(start_ticks));
        self.children.lock().unwrap().push(pid);
        if self.refuse { Err(Failure::new(Blame::Bug, "the journal is full")) } else { Ok(()) }
    }

    async fn report(&self, report: AnsibleReport) {
        let _ = self.reports.send(report);
    }
}

async fn all(mut receiver: mpsc::UnboundedReceiver<AnsibleReport>) -> Vec<AnsibleReport> {
    receiver.close();
    let mut reports = Vec::new();
    while let Some(report) = receiver.recv().await {
        reports.push(report);
    }
    reports
}

const PLAYBOOK: &str = "\
- hosts: all
  gather_facts: false
  tasks:
    - name: environment
      ansible.builtin.command: env
    - name: write
      ansible.builtin.copy: {content: '{{ braces }} {{ ostler_password }}', dest: '{{ scratch }}/written', mode: '0600'}
      notify: restart
  handlers:
    - name: restart
      ansible.builtin.command: 'true'
";

async fn runs_to_its_end(strategy: Strategy) {
    let Some(bench) = Bench::new(PLAYBOOK) else { return };
    let request = bench.request(strategy).await;
    let (observer, receiver) = Observer::new(false);
    let summary = bench.run(&request, &observer).await.unwrap();
    let reports = all(receiver).await;

    assert_eq!(summary.status, 0, "{summary:?} {reports:?}");
    assert_eq!(summary.hosts["web"].changed, 3);
    assert_eq!(fs::read_to_string(bench.scratch.path().join("written")).unwrap(), "{{ 1 + 1 }} hunter2");
    let results: Vec<_> = reports
        .iter()
        .filter_map(|report| match report {
            AnsibleReport::TaskResult(result) => Some((result.task.as_str(), result.result, result.handler)),
            _ => None,
        })
        .collect();
    let changed = TaskOutcome::Changed;
    assert_eq!(results, [("environment", changed, false), ("write", changed, false), ("restart", changed, true)]);
    assert!(matches!(reports.first(), Some(AnsibleReport::RunStarted { check: false, .. })));
    assert!(matches!(reports.last(), Some(AnsibleReport::Stats { .. })));

    let said = serde_json::to_string(&reports).unwrap();
    assert!(!said.contains("hunter2"), "the secret is in an event");
    // The environment of a task is what the run was given: cargo's, for one, is not in it.
    assert!(said.contains(&format!("OSTLER_RUN_ID={}", request.run)), "{said}");
    assert!(!said.contains("CARGO"), "{said}");
    assert_eq!(fs::read_dir(&bench.engine.runs).unwrap().count(), 0, "the run's folder is still there");
    assert_eq!(processes::end_processes(request.run, None).unwrap(), 0, "a process is still there");
}

#[tokio::test]
async fn a_run_with_mitogen_comes_to_its_end() {
    runs_to_its_end(Strategy::Mitogen).await;
}

#[tokio::test]
async fn a_run_with_linear_comes_to_its_end() {
    runs_to_its_end(Strategy::Linear).await;
}

#[tokio::test]
async fn dropping_a_run_ends_its_processes() {
    let sleeps = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.command: sleep 600\n";
    let Some(bench) = Bench::new(sleeps) else { return };
    let request = bench.request(Strategy::Mitogen).await;
    let (observer, mut receiver) = Observer::new(false);
    let task_started = async { while !matches!(receiver.recv().await, Some(AnsibleReport::TaskStarted { .. })) {} };
    tokio::select! {
        ended = bench.run(&request, &observer) => panic!("ended by itself: {ended:?}"),
        () = task_started => {}
    }
    assert_eq!(processes::end_processes(request.run, None).unwrap(), 0, "a process is still there");
    assert_eq!(fs::read_dir(&bench.engine.runs).unwrap().count(), 0, "the run's folder is still there");
}

#[tokio::test]
async fn nothing_runs_that_the_journal_does_not_have() {
    let Some(bench) = Bench::new(PLAYBOOK) else { return };
    let request = bench.request(Strategy::Linear).await;
    let (observer, receiver) = Observer::new(true);
    let failure = bench.run(&request, &observer).await.unwrap_err();
    assert_eq!(failure.message, "the journal is full");
    assert_eq!(all(receiver).await, []);
    assert!(!bench.scratch.path().join("written").exists());
    assert_eq!(processes::end_processes(request.run, None).unwrap(), 0, "a process is still there");
}

#[tokio::test]
async fn a_playbook_that_can_not_be_read_says_so_on_standard_error() {
    let Some(bench) = Bench::new("- hosts: all\n  tasks:\n    - no.such.module: {}\n") else { return };
    let request = bench.request(Strategy::Linear).await;
    let (observer, _receiver) = Observer::new(false);
    let summary = bench.run(&request, &observer).await.unwrap();
    assert_ne!(summary.status, 0);
    assert!(summary.stderr_tail.join("\n").contains("no.such.module"), "{summary:?}");
    assert!(summary.stderr_tail.len() <= STDERR_LINES);
}

const LOOKED_AT: &str = r#"
- hosts: all
  gather_facts: false
  tasks:
    - name: settings
      ansible.builtin.template: {src: '{{ scratch }}/settings.j2', dest: '{{ scratch }}/settings', mode: '0600'}
      notify: [reload, restart]
    - name: motd
      ansible.builtin.copy: {content: "new\n", dest: '{{ scratch }}/motd'}
    - name: as it is
      ansible.builtin.copy: {content: "same\n", dest: '{{ scratch }}/same'}
    - name: does not apply
      ansible.builtin.command: touch {{ scratch }}/never
      when: false
    - name: no items
      ansible.builtin.command: touch {{ scratch }}/never
      loop: []
    - name: any command
      ansible.builtin.command: touch {{ scratch }}/commanded
  handlers:
    - name: reload
      ansible.builtin.command: touch {{ scratch }}/handled
    - name: restart
      ansible.builtin.command: touch {{ scratch }}/handled
"#;

/// A run in check mode on what an earlier one (or somebody else) left.
async fn looks_and_touches_nothing(strategy: Strategy) {
    let Some(bench) = Bench::new(LOOKED_AT) else { return };
    let secret = "it's a \"s3cret\" väl\\ue";
    let scratch = bench.scratch.path();
    let template = "user = admin\ntoken = {{ key }}\nplain = {{ key }}\nbase64 = {{ key | b64encode }}\n\
                    within = {{ ('ab' ~ key) | b64encode }}\njson = {{ {'a': key} | to_json }}\nurl = {{ key | urlencode }}\n";
    fs::write(scratch.join("settings.j2"), template).unwrap();
    // What the secret was before is not known to anybody here.
    let before = "user = root\ntoken = 0ldS3cret\nplain = 0ldS3cret\nMGxkUzNjcmV0\n";
    fs::write(scratch.join("settings"), before).unwrap();
    fs::write(scratch.join("motd"), "old\nDB_PASSWORD=0therS3cret\nretries = 3\n").unwrap();
    fs::write(scratch.join("same"), "same\n").unwrap();

    let mut request = bench.request(strategy).await;
    request.check = true;
    request.hosts[0].secret_vars.insert("key".to_owned(), ostler_core::secret::Secret::new(secret));
    let (observer, receiver) = Observer::new(false);
    let summary = bench.run(&request, &observer).await.unwrap();
    let reports = all(receiver).await;
    assert_eq!(summary.status, 0, "{summary:?} {reports:?}");
    assert_eq!(fs::read_to_string(scratch.join("settings")).unwrap(), before);
    assert!(fs::read_to_string(scratch.join("motd")).unwrap().starts_with("old"));
    for name in ["never", "commanded", "handled"] {
        assert!(!scratch.join(name).exists(), "{name} was made in check mode");
    }

    let results = reports.iter().filter_map(|report| match report {
        AnsibleReport::TaskResult(result) => Some(result),
        _ => None,
    });
    let results: Vec<_> = results.collect();
    let find = |name: &str| *results.iter().find(|result| result.task == name).unwrap();
    assert_eq!(
        (find("settings").result, &find("settings").notify[..]),
        (TaskOutcome::Changed, &["reload".to_owned(), "restart".to_owned()][..])
    );
    assert_eq!(find("as it is").result, TaskOutcome::Ok);
    let unpredicted: Vec<_> = results.iter().filter(|result| result.unpredicted && !result.handler).collect();
    assert_eq!(unpredicted.iter().map(|result| result.task.as_str()).collect::<Vec<_>>(), ["any command"]);
    assert!(unpredicted[0].msg.as_deref().is_some_and(|msg| msg.contains("check mode")), "{unpredicted:?}");

    let settings = &find("settings").diff[0];
    assert!(
        settings.after.as_deref().is_some_and(|after| after.starts_with("user = admin\ntoken = ********\n")),
        "{settings:?}"
    );
    let motd = &find("motd").diff[0];
    assert_eq!(motd.before.as_deref(), Some("old\nDB_PASSWORD=********\nretries = 3\n"));
    let said = serde_json::to_string(&reports).unwrap();
    let json = serde_json::to_string(secret).unwrap();
    // The events are JSON themselves.
    let in_json = |text: &str| serde_json::to_string(text).unwrap().trim_matches('"').to_owned();
    for form in [
        secret,
        json.trim_matches('"'),
        &STANDARD.encode(secret),
        &STANDARD.encode(format!("ab{secret}"))[4..20],
        "s3cret",
        "S3cret",
        "MGxkUzNjcmV0",
    ] {
        assert!(!said.contains(&in_json(form)), "`{form}` is in an event: {said}");
    }
}

#[tokio::test]
async fn a_check_with_mitogen_touches_nothing_and_tells_no_secret() {
    looks_and_touches_nothing(Strategy::Mitogen).await;
}

#[tokio::test]
async fn a_check_with_linear_touches_nothing_and_tells_no_secret() {
    looks_and_touches_nothing(Strategy::Linear).await;
}

#[tokio::test]
async fn roles_of_a_catalog_from_elsewhere_are_found() {
    let Some(bench) = Bench::new(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_role: {name: hello}\n",
    ) else {
        return;
    };
    let tree = bench.scratch.path().join("tree");
    let role = tree.join("roles/apps/hello/tasks");
    fs::create_dir_all(&role).unwrap();
    fs::write(
        role.join("main.yml"),
        "- ansible.builtin.copy: {content: hello, dest: '{{ scratch }}/hello', mode: '0600'}\n",
    )
    .unwrap();
    let mut request = bench.request(Strategy::Linear).await;
    request.catalog = Some(tree);
    let (observer, receiver) = Observer::new(false);
    let summary = bench.run(&request, &observer).await.unwrap();
    assert_eq!(summary.status, 0, "{summary:?} {:?}", all(receiver).await);
    assert_eq!(fs::read_to_string(bench.scratch.path().join("hello")).unwrap(), "hello");
}
