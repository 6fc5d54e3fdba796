//! Handlers that a run owes.
//!
//! Ansible forgets who was notified when a run fails: a changed template followed by a failure would never restart its service.
//! So notifications are read from the changed results themselves, and what did not run since is owed to the next run.

use ostler_core::event::{AnsibleReport, HostStats, TaskOutcome, TaskResult};

/// Handlers, as (role, handler), that are still to run: `before` and those that the reports of one server's run notified, less
/// those that ran, in the order of their notification.
///
/// A handler that failed is still owed. A loop is reported item by item and once more as a whole; a changed item counts, also
/// where a later item failed and Ansible therefore notifies nobody. A run in check mode changes nothing, here neither.
/// A run that ended without any failure owes nothing: it ran every handler, also those that were notified by a topic, and one
/// that no role has any more must not be owed for ever.
pub fn pending_handlers(before: &[(String, String)], reports: &[AnsibleReport]) -> Vec<(String, String)> {
    let mut pending = before.to_vec();
    for report in reports {
        match report {
            AnsibleReport::RunStarted { check: true, .. } => return before.to_vec(),
            AnsibleReport::TaskResult(result) => follow(&mut pending, result),
            AnsibleReport::Stats { hosts } if !hosts.is_empty() && hosts.values().all(went_well) => pending.clear(),
            _ => {}
        }
    }
    pending
}

fn follow(pending: &mut Vec<(String, String)>, result: &TaskResult) {
    let role = result.role.as_deref().unwrap_or_default();
    let ran = matches!(result.result, TaskOutcome::Ok | TaskOutcome::Changed | TaskOutcome::Skipped);
    if result.handler && ran {
        let (role, handler) = named(role, &result.task);
        pending.retain(|(owner, name)| name != handler || (owner != role && !owner.is_empty() && !role.is_empty()));
    }
    if result.result == TaskOutcome::Changed {
        for notified in &result.notify {
            let (role, handler) = named(role, notified);
            if !pending.iter().any(|(owner, name)| owner == role && name == handler) {
                pending.push((role.to_owned(), handler.to_owned()));
            }
        }
    }
}

/// A handler may be called `role : name`, and belongs to that role then.
fn named<'a>(role: &'a str, name: &'a str) -> (&'a str, &'a str) {
    name.split_once(" : ").unwrap_or((role, name))
}

fn went_well(stats: &HostStats) -> bool {
    stats.failures == 0 && stats.unreachable == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_event;

    fn result(role: &str, task: &str, outcome: &str, rest: &str) -> AnsibleReport {
        let line = format!(
            r#"{{"event":"task_result","host":"web","role":"{role}","task":"{task}","task_id":"1","module":"m",
                "result":"{outcome}","duration":0.1{rest}}}"#
        );
        let report = parse_event(line.as_bytes());
        assert!(matches!(report, AnsibleReport::TaskResult(_)), "{report:?}");
        report
    }

    fn changed(role: &str, notify: &str) -> AnsibleReport {
        result(role, "write", "changed", &format!(r#","notify":["{notify}"]"#))
    }

    fn ran(role: &str, handler: &str, outcome: &str) -> AnsibleReport {
        result(role, handler, outcome, r#","handler":true"#)
    }

    fn owed(reports: &[AnsibleReport]) -> Vec<(String, String)> {
        pending_handlers(&[], reports)
    }

    fn pair(role: &str, handler: &str) -> Vec<(String, String)> {
        vec![(role.to_owned(), handler.to_owned())]
    }

    #[test]
    fn a_notified_handler_is_owed_until_it_ran() {
        assert_eq!(owed(&[changed("sshd", "restart")]), pair("sshd", "restart"));
        assert_eq!(owed(&[changed("sshd", "restart"), ran("sshd", "restart", "changed")]), []);
        assert_eq!(owed(&[changed("sshd", "restart"), ran("sshd", "restart", "failed")]), pair("sshd", "restart"));
        assert_eq!(
            owed(&[changed("sshd", "restart"), ran("sshd", "restart", "ok"), changed("sshd", "restart")]),
            pair("sshd", "restart")
        );
    }

    #[test]
    fn an_unchanged_task_notifies_nobody() {
        assert_eq!(owed(&[result("sshd", "write", "ok", r#","notify":["restart"]"#)]), []);
    }

    #[test]
    fn a_handler_of_the_same_name_in_another_role_is_another() {
        let reports = [changed("sshd", "restart"), ran("nginx", "restart", "ok")];
        assert_eq!(owed(&reports), pair("sshd", "restart"));
        let reports = [changed("nginx", "sshd : restart"), ran("sshd", "restart", "ok")];
        assert_eq!(owed(&reports), []);
    }

    #[test]
    fn a_loop_counts_its_changed_items_once() {
        let item = result("ufw", "rule", "changed", r#","notify":["reload"],"item":"80""#);
        let whole = result("ufw", "rule", "failed", r#","notify":[],"aggregate":true"#);
        assert_eq!(owed(&[item.clone(), item, whole]), pair("ufw", "reload"));
    }

    #[test]
    fn an_older_debt_is_paid_by_a_run_that_went_well_or_ran_it() {
        let before = pair("sshd", "restart");
        assert_eq!(pending_handlers(&before, &[]), before);
        assert_eq!(pending_handlers(&before, &[ran("sshd", "restart", "changed")]), []);
        let well = parse_event(br#"{"event":"stats","hosts":{"web":{"ok":3}}}"#);
        let badly = parse_event(br#"{"event":"stats","hosts":{"web":{"failures":1}}}"#);
        assert_eq!(pending_handlers(&before, &[well]), []);
        assert_eq!(pending_handlers(&before, &[badly]), before);
    }

    #[test]
    fn check_mode_neither_makes_nor_pays_debts() {
        let start = parse_event(br#"{"event":"run_started","ansible_version":"2","strategy":"linear","check":true}"#);
        let before = pair("sshd", "restart");
        let reports = [start, changed("ufw", "reload"), ran("sshd", "restart", "changed")];
        assert_eq!(pending_handlers(&before, &reports), before);
    }
}
