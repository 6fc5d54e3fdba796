//! Joining over a player that only pretends, and with the real bundle.

use super::*;
use crate::{AnsibleEngine, engine::tests::Bench, inventory, parse_event, processes};
use futures::future::{join, join_all};
use ostler_core::{
    Blame, Failure,
    event::TaskOutcome,
    ids::SubjectId,
    spec::{Strategy, Value},
    subject::Subject,
};
use std::{future::pending, path::Path};
use tokio::{sync::Notify, task::yield_now};

/// Plays at once, or for ever; remembers with whom.
#[derive(Default)]
struct FakePlayer {
    plays: Mutex<Vec<(Vec<RunId>, Vec<String>)>>,
    for_ever: bool,
    began: Notify,
    ended: Arc<()>,
}

#[async_trait]
impl Player for FakePlayer {
    async fn play(&self, ids: &[RunId], request: &RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        let _under_way = Arc::clone(&self.ended);
        let hosts: Vec<String> = request.hosts.iter().map(|host| host.name.to_string()).collect();
        lock(&self.plays).push((ids.to_vec(), hosts.clone()));
        observer.child_started(1, 2, "boot".into()).await?;
        // More than a request may be behind with.
        for number in 0..2 * BACKLOG {
            for host in &hosts {
                let line = format!(r#"{{"event":"warning","message":"{number}","host":"{host}"}}"#);
                observer.report(parse_event(line.as_bytes())).await;
            }
        }
        if self.for_ever {
            self.began.notify_one();
            pending::<()>().await;
        }
        Ok(RunSummary { status: 0, hosts: BTreeMap::new(), stderr_tail: Vec::new() })
    }
}

#[async_trait]
impl Engine for FakePlayer {
    async fn run(&self, request: RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        self.play(&[request.run], &request, observer).await
    }

    async fn end_leftovers(&self, _: &ChildRecord) -> Result<usize> {
        Ok(0)
    }

    fn pending_handlers(&self, _: &[(String, String)], _: &[AnsibleReport]) -> Vec<(String, String)> {
        Vec::new()
    }
}

fn request(server: &str) -> RunRequest {
    let mut request = inventory::tests::request(Strategy::Mitogen);
    request.hosts[0].name = ServerName::parse(server).unwrap();
    request
}

/// Keeps what it is told.
#[derive(Default)]
struct Listener {
    refuses: bool,
    children: Mutex<Vec<u32>>,
    reports: Mutex<Vec<AnsibleReport>>,
}

#[async_trait]
impl RunObserver for Listener {
    async fn child_started(&self, pid: u32, _: u64, _: String) -> Result<()> {
        lock(&self.children).push(pid);
        if self.refuses { Err(Failure::new(Blame::Bug, "the journal is full")) } else { Ok(()) }
    }

    async fn report(&self, report: AnsibleReport) {
        yield_now().await;
        lock(&self.reports).push(report);
    }
}

fn bench(for_ever: bool) -> (GroupingEngine, Arc<FakePlayer>) {
    let player = Arc::new(FakePlayer { for_ever, ..FakePlayer::default() });
    (GroupingEngine::over(player.clone()), player)
}

fn expect(engine: &GroupingEngine, servers: &[&str]) -> Vec<Expected> {
    servers.iter().map(|server| engine.expect(&ServerName::parse(server).unwrap())).collect()
}

#[tokio::test]
async fn those_on_their_way_are_waited_for_and_played_together() {
    let (engine, player) = bench(false);
    let mut expected = expect(&engine, &["a", "b", "c", "never"]);
    let requests = ["a", "b", "c"].map(request);
    let ids = requests.clone().map(|request| request.run);
    let listeners = [(); 3].map(|()| Listener::default());
    let late = async {
        let ahead =
            join(engine.run(requests[0].clone(), &listeners[0]), engine.run(requests[1].clone(), &listeners[1]));
        let last = async {
            for _ in 0..50 {
                yield_now().await;
            }
            // It comes to its end without a run.
            expected.pop();
            engine.run(requests[2].clone(), &listeners[2]).await
        };
        join(ahead, last).await
    };
    let ((one, two), three) = late.await;
    for summary in [one, two, three] {
        assert_eq!(summary.unwrap().status, 0);
    }
    assert_eq!(*lock(&player.plays), [(ids.to_vec(), vec!["a".to_owned(), "b".to_owned(), "c".to_owned()])]);
    for (listener, name) in listeners.iter().zip(["a", "b", "c"]) {
        assert_eq!(*lock(&listener.children), [1], "{name} has not journaled the process");
        let heard = lock(&listener.reports);
        let expected = (0..2 * BACKLOG)
            .map(|number| AnsibleReport::Warning { host: Some(name.to_owned()), message: number.to_string() });
        assert!(heard.iter().cloned().eq(expected), "{name} heard {heard:?}");
    }
}

#[tokio::test]
async fn only_like_runs_are_joined() {
    let (engine, player) = bench(false);
    let _expected = expect(&engine, &["a", "b", "c", "d", "e"]);
    let mut requests = ["a", "b", "c", "d", "e"].map(request);
    requests[1].check = true;
    requests[2].strategy = Strategy::Linear;
    requests[3].hosts[0].vars.insert("apps".into(), Value::List(vec![Value::String("nginx".into())]));
    requests[4].hosts[0].vars.insert("other".into(), Value::Bool(true));
    let listener = Listener::default();
    join_all(requests.map(|request| engine.run(request, &listener))).await;
    let mut plays: Vec<_> = lock(&player.plays).iter().map(|(_, hosts)| hosts.join(" ")).collect();
    plays.sort();
    assert_eq!(plays, ["a e", "b", "c", "d"]);
}

#[tokio::test]
async fn nobody_waits_for_a_run_that_is_not_expected_or_has_begun() {
    let (engine, player) = bench(true);
    let _expected = expect(&engine, &["a", "b"]);
    let listener = Listener::default();
    let both = join(engine.run(request("a"), &listener), engine.run(request("b"), &listener));
    let third = async {
        player.began.notified().await;
        join(engine.run(request("c"), &listener), player.began.notified()).await
    };
    tokio::select! {
        _ = both => panic!("it has no end"),
        _ = third => panic!("it has no end"),
        () = async { while lock(&player.plays).len() < 2 { yield_now().await } } => {}
    }
    let plays: Vec<_> = lock(&player.plays).iter().map(|(_, hosts)| hosts.len()).collect();
    assert_eq!(plays, [2, 1]);
}

#[tokio::test]
async fn giving_one_up_leaves_the_others_and_the_last_one_takes_the_run_along() {
    let (engine, player) = bench(true);
    let _expected = expect(&engine, &["a", "b"]);
    let (one, other) = (Listener::default(), Listener::default());
    let mut first = Box::pin(engine.run(request("a"), &one));
    let mut second = Box::pin(engine.run(request("b"), &other));
    tokio::select! {
        _ = &mut first => panic!("it has no end"),
        _ = &mut second => panic!("it has no end"),
        () = player.began.notified() => {}
    }
    assert_eq!(Arc::strong_count(&player.ended), 2, "it is not under way");
    drop(first);
    // The other one goes on by itself.
    tokio::select! {
        _ = &mut second => panic!("it has no end"),
        () = async { for _ in 0..50 { yield_now().await } } => {}
    }
    assert_eq!(Arc::strong_count(&player.ended), 2, "it ended with the first one");
    drop(second);
    assert_eq!(Arc::strong_count(&player.ended), 1, "it goes on though nobody wants it any more");
}

#[tokio::test]
async fn one_that_is_given_up_before_the_run_begins_has_no_part_in_it() {
    let (engine, player) = bench(false);
    let mut expected = expect(&engine, &["a", "b", "c"]);
    let listener = Listener::default();
    let mut first = Box::pin(engine.run(request("a"), &listener));
    let mut second = Box::pin(engine.run(request("b"), &listener));
    tokio::select! {
        biased;
        _ = &mut first => panic!("it does not wait"),
        _ = &mut second => panic!("it does not wait"),
        () = yield_now() => {}
    }
    drop(first);
    expected.clear();
    second.await.unwrap();
    let plays: Vec<_> = lock(&player.plays).iter().map(|(_, hosts)| hosts.join(" ")).collect();
    assert_eq!(plays, ["b"]);
}

#[tokio::test]
async fn nothing_begins_unless_every_journal_has_it() {
    let (engine, _player) = bench(false);
    let _expected = expect(&engine, &["a", "b"]);
    let (one, other) = (Listener::default(), Listener { refuses: true, ..Listener::default() });
    let (first, second) = join(engine.run(request("a"), &one), engine.run(request("b"), &other)).await;
    assert_eq!(first.unwrap_err().message, "the journal is full");
    assert_eq!(second.unwrap_err().message, "the journal is full");
    assert!(lock(&one.reports).is_empty());
}

/// A playbook of a test's own with the real Ansible.
struct BenchPlayer(Bench);

#[async_trait]
impl Player for BenchPlayer {
    async fn play(&self, ids: &[RunId], request: &RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        self.0.play(ids, request, observer).await
    }
}

#[async_trait]
impl Engine for BenchPlayer {
    async fn run(&self, request: RunRequest, observer: &dyn RunObserver) -> Result<RunSummary> {
        self.play(&[request.run], &request, observer).await
    }

    async fn end_leftovers(&self, child: &ChildRecord) -> Result<usize> {
        self.0.engine.end_leftovers(child).await
    }

    fn pending_handlers(&self, before: &[(String, String)], reports: &[AnsibleReport]) -> Vec<(String, String)> {
        crate::pending_handlers(before, reports)
    }
}

const PLAYBOOK: &str = "\
- hosts: all
  gather_facts: false
  tasks:
    - name: write
      ansible.builtin.copy: {content: '{{ inventory_hostname }}', dest: '{{ scratch }}/{{ inventory_hostname }}', mode: '0600'}
      notify: restart
    - name: break
      ansible.builtin.command: 'false'
      when: inventory_hostname == 'broken'
    - name: go on
      ansible.builtin.command: 'true'
  handlers:
    - name: restart
      ansible.builtin.command: 'true'
";

async fn each_server_comes_out_on_its_own(strategy: Strategy) {
    let Some(bench) = Bench::new(PLAYBOOK) else { return };
    let model = bench.request(strategy).await;
    let scratch = bench.scratch.path().to_owned();
    let names = ["fine1", "fine2", "broken", "lost"];
    let requests = names.map(|name| {
        let mut request = RunRequest { run: RunId::new(), ..model.clone() };
        request.hosts[0].name = ServerName::parse(name).unwrap();
        if name == "lost" {
            // Nothing listens on port 9.
            request.hosts[0].transport.address = "127.0.0.1:9".parse().unwrap();
            request.hosts[0].vars.remove("ansible_connection");
        }
        request
    });
    let engine = GroupingEngine::over(Arc::new(BenchPlayer(bench)));
    let _expected = expect(&engine, &names);
    let listeners = [(); 4].map(|()| Listener::default());
    let runs = requests.iter().zip(&listeners).map(|(request, listener)| engine.run(request.clone(), listener));
    let summaries: Vec<RunSummary> = join_all(runs).await.into_iter().map(Result::unwrap).collect();

    let statuses: Vec<_> = summaries.iter().map(|summary| summary.status).collect();
    assert_eq!(statuses, [0, 0, 2, 4], "{summaries:?}");
    let pids: Vec<_> = listeners.iter().map(|listener| lock(&listener.children).clone()).collect();
    assert!(pids.iter().all(|pid| *pid == pids[0] && pid.len() == 1), "not one process: {pids:?}");
    for ((name, listener), summary) in names.iter().zip(&listeners).zip(&summaries) {
        assert_eq!(summary.hosts.keys().collect::<Vec<_>>(), [name]);
        let reports = lock(&listener.reports);
        let results: Vec<_> = reports
            .iter()
            .filter_map(|report| match report {
                AnsibleReport::TaskResult(task) => {
                    assert_eq!(task.host, *name);
                    Some((task.task.as_str(), task.result))
                }
                _ => None,
            })
            .collect();
        use TaskOutcome::{Changed, Failed, Skipped, Unreachable};
        let fine = vec![("write", Changed), ("break", Skipped), ("go on", Changed), ("restart", Changed)];
        let expected = match *name {
            "broken" => vec![("write", Changed), ("break", Failed)],
            "lost" => vec![("write", Unreachable)],
            _ => fine,
        };
        assert_eq!(results, expected, "{name}");
        let started = reports.iter().filter(|report| matches!(report, AnsibleReport::TaskStarted { .. })).count();
        assert_eq!(started, expected.len(), "{name} hears of tasks of others");
        let owed = crate::pending_handlers(&[], &reports);
        assert_eq!(owed.len(), usize::from(*name == "broken"), "{name} owes {owed:?}");
        assert_eq!(scratch.join(name).exists(), *name != "lost");
    }
    for request in &requests {
        assert_eq!(processes::end_processes(request.run, None).unwrap(), 0, "a process is still there");
    }
}

#[tokio::test]
async fn a_joined_run_with_mitogen_fails_for_those_that_fail() {
    each_server_comes_out_on_its_own(Strategy::Mitogen).await;
}

#[tokio::test]
async fn a_joined_run_with_linear_fails_for_those_that_fail() {
    each_server_comes_out_on_its_own(Strategy::Linear).await;
}

#[tokio::test]
async fn what_is_left_of_a_joined_run_is_found_from_every_journal() {
    let ids = [RunId::new(), RunId::new(), RunId::new()];
    let mut child =
        std::process::Command::new("sleep").arg("600").env(processes::RUN_ID, processes::mark(&ids)).spawn().unwrap();
    let engine = AnsibleEngine::new(Path::new("/nowhere"), Path::new("/nowhere"));
    let record = |run| ChildRecord {
        subject: Subject::server(SubjectId::new()),
        run,
        pid: child.id(),
        start_ticks: ostler_process::start_ticks(child.id()).unwrap().unwrap(),
        boot: ostler_process::boot_id().unwrap(),
    };
    let (other, last) = (ChildRecord { start_ticks: 1, ..record(RunId::new()) }, record(ids[2]));
    let reaper = std::thread::spawn(move || child.wait());
    assert_eq!(engine.end_leftovers(&other).await.unwrap(), 0, "somebody else's processes were ended");
    assert_eq!(engine.end_leftovers(&last).await.unwrap(), 1);
    reaper.join().unwrap().unwrap();
    assert_eq!(engine.end_leftovers(&last).await.unwrap(), 0);
}
