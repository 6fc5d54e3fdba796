//! `/var/log/ansible.log` on the server: what was done to it, for whoever looks there without Ostler.

use crate::{
    event::{AnsibleReport, TaskResult},
    ids::RunId,
};

/// Begins the line that says why nothing was kept.
const NOT_WRITTEN: &str = "ostler-log: ";

/// Lines for root's shell that append a run. The file is kept below 10 MB by one rotation, which needs nothing installed.
pub(crate) fn script(run: RunId, reports: &[AnsibleReport]) -> String {
    // No report knows the run's id before, so none can end the text early.
    let text = render(reports);
    format!(
        "log=/var/log/ansible.log\n\
         [ \"$(stat -c %s $log 2>/dev/null || echo 0)\" -lt 5000000 ] || mv -f $log $log.1\n\
         said=$({{ umask 027; cat >>$log; }} 2>&1 <<'OSTLER_{run}'\n{text}OSTLER_{run}\n) || echo \"{NOT_WRITTEN}$said\"\n"
    )
}

/// Why it was not kept, where the script said so.
pub(crate) fn not_written(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix(NOT_WRITTEN))
}

fn render(reports: &[AnsibleReport]) -> String {
    let mut lines = vec![format!("{} ostler: a run began", jiff::Timestamp::now())];
    for report in reports {
        match report {
            AnsibleReport::TaskResult(task) if !task.aggregate => lines.push(task_line(task)),
            AnsibleReport::Warning { message, .. } => lines.push(format!("warning: {message}")),
            AnsibleReport::Stats { hosts } => {
                lines.extend(hosts.values().map(|n| format!("ok={} changed={} failed={}", n.ok, n.changed, n.failures)))
            }
            _ => {}
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn task_line(task: &TaskResult) -> String {
    let result = task.result.as_str();
    let item = task.item.as_deref().map(|i| format!(" ({i})")).unwrap_or_default();
    let msg = task.msg.as_deref().filter(|m| !m.is_empty()).map(|m| format!(": {m}")).unwrap_or_default();
    format!("{result}: {}{item} [{:.2} s]{msg}", task.place(), task.duration)
}
