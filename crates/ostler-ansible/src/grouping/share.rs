//! What of a joined run belongs to one of its requests.

use ostler_core::{
    event::{AnsibleReport, HostStats},
    ports::RunSummary,
};
use serde_json::Value;

/// The part of `report` that is about `own` hosts, or about the run as a whole. What is about a host that nobody knows is
/// everybody's, so that nothing is lost.
pub(super) fn report<'a, I>(report: &AnsibleReport, own: &[String], all: impl Fn() -> I) -> Option<AnsibleReport>
where
    I: Iterator<Item = &'a String>,
{
    if let AnsibleReport::Stats { hosts } = report {
        let hosts = hosts.iter().filter(|(host, _)| own.contains(host));
        return Some(AnsibleReport::Stats { hosts: hosts.map(|(host, stats)| (host.clone(), *stats)).collect() });
    }
    let host = match report {
        AnsibleReport::TaskStarted { host, .. } | AnsibleReport::Warning { host, .. } => host.clone(),
        AnsibleReport::TaskResult(task) => Some(task.host.clone()),
        AnsibleReport::Unknown { line } => {
            let line: Option<Value> = serde_json::from_str(line).ok();
            line.and_then(|line| line["host"].as_str().map(str::to_owned))
        }
        AnsibleReport::RunStarted { .. } | AnsibleReport::Stats { .. } => None,
    };
    let somebody_elses = host.is_some_and(|host| !own.contains(&host) && all().any(|known| *known == host));
    (!somebody_elses).then(|| report.clone())
}

/// Bits of ansible-playbook's exit status: `RUN_FAILED_HOSTS` and `RUN_UNREACHABLE_HOSTS` of its task_queue_manager.py.
const FAILED: i32 = 2;
const UNREACHABLE: i32 = 4;

/// How the run came out for `own` hosts: the process's exit status is that of the worst of all.
pub(super) fn summary(summary: RunSummary, own: &[String]) -> RunSummary {
    let RunSummary { mut status, mut hosts, stderr_tail } = summary;
    let of_all = hosts.values().fold(0, |bits, stats| bits | bits_of(stats));
    hosts.retain(|host, _| own.contains(host));
    // What no host explains is about the process, and so about everybody.
    let explained = status != 0 && status & !of_all == 0;
    if explained && own.iter().all(|host| hosts.contains_key(host)) {
        status = hosts.values().fold(0, |bits, stats| bits | bits_of(stats));
    }
    RunSummary { status, hosts, stderr_tail }
}

fn bits_of(stats: &HostStats) -> i32 {
    (i32::from(stats.failures > 0) * FAILED) | (i32::from(stats.unreachable > 0) * UNREACHABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_event;
    use std::collections::BTreeMap;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn of_a(line: &str) -> Option<AnsibleReport> {
        let all = names(&["a", "b"]);
        report(&parse_event(line.as_bytes()), &names(&["a"]), || all.iter())
    }

    #[test]
    fn a_server_hears_of_itself_and_of_the_run() {
        let task = r#"{"event":"task_started","task_id":"1","task":"t","role":null,"module":"m","handler":false,"host":"HOST"}"#;
        let result = r#"{"event":"task_result","host":"HOST","role":null,"task":"t","task_id":"1","module":"m","result":"ok","duration":0}"#;
        let unknown = r#"{"event":"handler_notified","host":"HOST"}"#;
        let warning = r#"{"event":"warning","message":"careful","host":"HOST","task":"t"}"#;
        for line in [task, result, unknown, warning] {
            assert!(of_a(&line.replace("HOST", "a")).is_some(), "{line}");
            assert_eq!(of_a(&line.replace("HOST", "b")), None);
            assert!(of_a(&line.replace("HOST", "nobody")).is_some(), "{line} is lost");
        }
        for line in [r#"{"event":"warning","message":"careful","host":null}"#, "Traceback", "{}"] {
            assert!(of_a(line).is_some(), "{line}");
        }
        let Some(AnsibleReport::Stats { hosts }) =
            of_a(r#"{"event":"stats","hosts":{"a":{"ok":1},"b":{"failures":1}}}"#)
        else {
            panic!("no counts")
        };
        assert_eq!(hosts.into_keys().collect::<Vec<_>>(), ["a"]);
    }

    fn status_of(host: &str, status: i32) -> i32 {
        let stats = |failures, unreachable| HostStats { ok: 1, failures, unreachable, ..HostStats::default() };
        let hosts = [("fine", stats(0, 0)), ("failed", stats(1, 0)), ("lost", stats(0, 1))];
        let hosts: BTreeMap<_, _> = hosts.into_iter().map(|(name, stats)| (name.to_owned(), stats)).collect();
        summary(RunSummary { status, hosts, stderr_tail: Vec::new() }, &names(&[host])).status
    }

    #[test]
    fn each_server_has_the_status_that_its_own_run_would_have_had() {
        // Ansible's own is 4 here: hosts that were lost go before hosts that failed.
        assert_eq!([status_of("fine", 4), status_of("failed", 4), status_of("lost", 4)], [0, 2, 4]);
        assert_eq!(status_of("failed", 0), 0, "its failure was ignored");
        for of_the_process in [1, 137, 250] {
            assert_eq!(status_of("fine", of_the_process), of_the_process);
        }
        assert_eq!(status_of("never reached", 4), 4);
    }
}
