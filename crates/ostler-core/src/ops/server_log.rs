//! `/var/log/ansible.log` on the server: what was done to it, for whoever looks there without Ostler.

use crate::{
    error::{Blame, Failure, Result},
    event::{AnsibleReport, TaskResult},
    ports::Session,
};

/// Appends standard input; keeps the file below 10 MB by one rotation, which needs nothing installed.
const APPEND: &str = r#"exec sudo -n sh -c '
log=/var/log/ansible.log
[ "$(stat -c %s $log 2>/dev/null || echo 0)" -lt 5000000 ] || mv -f $log $log.1
umask 027; cat >> $log'"#;

/// Appends a run.
pub(super) async fn append(session: &dyn Session, reports: &[AnsibleReport]) -> Result<()> {
    let output = session.run(APPEND, render(reports).as_bytes()).await?;
    if output.status == 0 { Ok(()) } else { Err(Failure::new(Blame::Target, output.stderr.trim())) }
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
