//! Tasks: what a node does in the background, under a UPID
//! (`UPID:NODE:PID:PSTART:STARTTIME:TYPE:ID:USER:`, numbers in hexadecimal).

use super::{
    client::Client,
    error::ProxmoxError,
    form::{Form, encode},
    wire::{LogLine, TaskEntry, TaskStatus},
};
use ostler_core::{
    event::{EventKind, Level, ProgressUnit},
    ports::Reporter,
    text::plain,
};
use std::time::{Duration, Instant};

/// The longest that any task is waited for: a large disk on a slow storage.
const LONGEST: Duration = Duration::from_secs(2 * 3600);
/// Lines of the log that a failure shows.
const TAIL: usize = 8;

/// Waits for a task's end; `what` says what it does, such as `create VM 100`. Its log goes into the events.
pub async fn finish(client: &Client, upid: &str, what: &str, reporter: &dyn Reporter) -> Result<(), ProxmoxError> {
    let begun = Instant::now();
    let path = path(upid);
    let mut log = Log { next: 0, lines: Vec::new() };
    let mut pause = client.patience.poll / 8;
    loop {
        let status: TaskStatus = client.get(&format!("{path}/status"), &Form::new()).await?;
        let ended = status.status != "running";
        log.follow(client, &path, what, reporter).await?;
        if ended {
            let exit = status.exitstatus.unwrap_or_else(|| "it ended without a message".to_owned());
            if exit == "OK" || exit.starts_with("WARNINGS") {
                return Ok(());
            }
            let tail = log.lines.len().saturating_sub(TAIL);
            return Err(ProxmoxError::Task { what: what.to_owned(), exit, log: log.lines.split_off(tail) });
        }
        if begun.elapsed() > LONGEST {
            return Err(ProxmoxError::TaskTooLong { what: what.to_owned(), waited: begun.elapsed() });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(client.patience.poll);
    }
}

/// Whether a task still runs.
pub async fn runs(client: &Client, upid: &str) -> Result<bool, ProxmoxError> {
    let status: TaskStatus = client.get(&format!("{}/status", path(upid)), &Form::new()).await?;
    Ok(status.status == "running")
}

/// UPIDs of our token's tasks that made VM `vmid`, running or over. One that clones bears the VMID of the template alone, so what is
/// answered then are all clonings of that.
pub async fn makings(
    client: &Client,
    node: &str,
    vmid: u32,
    template: Option<u32>,
) -> Result<Vec<String>, ProxmoxError> {
    let kind = if template.is_some() { "qmclone" } else { "qmcreate" };
    let query = Form::new()
        .with("vmid", template.unwrap_or(vmid))
        .with("typefilter", kind)
        .with("source", "all")
        .with("limit", 500);
    let tasks: Vec<TaskEntry> = client.get(&format!("/nodes/{}/tasks", encode(node)), &query).await?;
    let ours = |upid: &String| fields(upid).is_some_and(|(_, user)| user == client.token_id());
    Ok(tasks.into_iter().map(|task| task.upid).filter(ours).collect())
}

fn path(upid: &str) -> String {
    format!("/nodes/{}/tasks/{}", encode(fields(upid).map_or("", |(node, _)| node)), encode(upid))
}

/// Node and user of a UPID.
fn fields(upid: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = upid.split(':').collect();
    match parts.as_slice() {
        ["UPID", node, _, _, _, _, _, user, ..] => Some((node, user)),
        _ => None,
    }
}

struct Log {
    next: u64,
    lines: Vec<String>,
}

impl Log {
    async fn follow(
        &mut self,
        client: &Client,
        path: &str,
        what: &str,
        reporter: &dyn Reporter,
    ) -> Result<(), ProxmoxError> {
        let query = Form::new().with("start", self.next).with("limit", 500);
        let lines: Vec<LogLine> = client.get(&format!("{path}/log"), &query).await?;
        for line in lines {
            // An empty log has one line, which says that there is none.
            if line.n <= self.next || line.t == "no content" {
                continue;
            }
            self.next = line.n;
            let text = plain(&line.t);
            let text = text.trim();
            match percent(text) {
                Some(done) => {
                    let what = what.to_owned();
                    reporter
                        .report(EventKind::Progress { what, done, total: Some(100), unit: ProgressUnit::Steps })
                        .await;
                }
                None if text.is_empty() || text == "TASK OK" => {}
                None => {
                    self.lines.push(text.to_owned());
                    let message = format!("{}: {text}", client.name());
                    reporter.report(EventKind::Notice { level: Level::Info, message }).await;
                }
            }
        }
        Ok(())
    }
}

/// `transferred 1.0 GiB of 3.0 GiB (33.33%)`
fn percent(line: &str) -> Option<u64> {
    let number = line.strip_suffix("%)")?.rsplit('(').next()?;
    number.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number)).map(|number| number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_upid_names_node_and_user() {
        let upid = "UPID:pve1:0003A1B2:0123ABCD:65A1B2C3:qmcreate:100:ostler@pve!ostler:";
        assert_eq!(fields(upid), Some(("pve1", "ostler@pve!ostler")));
        assert_eq!(fields("UPID:pve1"), None);
    }

    #[test]
    fn progress_is_told_from_words() {
        assert_eq!(percent("transferred 1.0 GiB of 3.0 GiB (33.33%)"), Some(33));
        assert_eq!(percent("scsi0: successfully created disk (all%)"), None);
    }
}
