//! Tasks: they begin at once and end later, whatever they do.

use super::{
    NODE, Node, TOKEN_ID, TaskFault,
    api::{Refusal, Reply, Request},
    state::{State, Task},
};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What a task's work says things through.
pub(super) struct Worker {
    pub node: Arc<Node>,
    upid: String,
}

impl Worker {
    pub fn say(&self, line: impl Into<String>) {
        if let Some(task) = self.node.lock().task(&self.upid) {
            task.log.push(line.into());
        }
    }
}

/// What happens to the task of a kind that is about to begin.
pub(super) fn fault(state: &mut State, kind: &str) -> Option<TaskFault> {
    state.task_faults.get_mut(kind).and_then(std::collections::VecDeque::pop_front)
}

/// Begins a task; its id is the answer. `work` is done unless a fault says otherwise; `undone` is what it leaves where it fails, and
/// `killed` where its worker is killed.
pub(super) fn begin<W>(
    node: &Arc<Node>,
    state: &mut State,
    kind: &'static str,
    id: &str,
    work: impl FnOnce(Worker) -> W + Send + 'static,
    undone: impl FnOnce(&mut State) + Send + 'static,
    killed: impl FnOnce(&Node) + Send + 'static,
) -> Reply
where
    W: Future<Output = Result<(), String>> + Send + 'static,
{
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let number = state.tasks.len() + 1;
    let upid = format!("UPID:{NODE}:{number:08X}:{:08X}:{now:08X}:{kind}:{id}:{TOKEN_ID}:", 0x0012_3456 + number);
    let task = Task { kind, id: id.to_owned(), token: TOKEN_ID.to_owned(), log: Vec::new(), exit: None };
    state.tasks.push((upid.clone(), task));
    let fault = fault(state, kind);
    let worker = Worker { node: Arc::clone(node), upid: upid.clone() };
    let mut released = node.released.subscribe();
    let node = Arc::clone(node);
    let answer = upid.clone();
    tokio::spawn(async move {
        // Whoever asks at once finds it running.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let result = match fault {
            None => work(worker).await,
            Some(TaskFault::Held) => {
                let _ = released.wait_for(|released| *released).await;
                work(worker).await
            }
            Some(TaskFault::Error(words)) => Err(words.to_owned()),
            Some(TaskFault::Killed) => {
                killed(&node);
                end(&node, &upid, "unexpected status".to_owned());
                return;
            }
        };
        let exit = match result {
            Ok(()) => "OK".to_owned(),
            Err(words) => {
                undone(&mut node.lock());
                words
            }
        };
        end(&node, &upid, exit);
    });
    Ok(json!(answer))
}

fn end(node: &Node, upid: &str, exit: String) {
    if let Some(task) = node.lock().task(upid) {
        let line = if exit == "OK" { "TASK OK".to_owned() } else { format!("TASK ERROR: {exit}") };
        task.log.push(line);
        task.exit = Some(exit);
    }
}

pub(super) fn list(request: &Request<'_>) -> Reply {
    let state = request.node.lock();
    let source = match request.get("source") {
        "" => "archive",
        source => source,
    };
    let wanted = |task: &Task| {
        let over = task.exit.is_some();
        let kind = request.get("typefilter");
        (kind.is_empty() || kind == task.kind)
            && (request.get("vmid").is_empty() || request.get("vmid") == task.id)
            && matches!((source, over), ("all", _) | ("archive", true) | ("active", false))
    };
    let tasks = state.tasks.iter().rev().filter(|(_, task)| wanted(task));
    Ok(tasks
        .map(|(upid, task)| {
            let (user, token) = task.token.split_once('!').unwrap_or((&task.token, ""));
            json!({ "upid": upid, "node": NODE, "type": task.kind, "id": task.id, "user": user, "tokenid": token, "status": task.exit })
        })
        .collect())
}

pub(super) fn status(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    let upid = request.get("upid").to_owned();
    let task = state.task(&upid).ok_or_else(|| Refusal::died("no such task"))?;
    let status = if task.exit.is_some() { "stopped" } else { "running" };
    let mut answer = json!({ "upid": upid, "node": NODE, "type": task.kind, "id": task.id, "status": status });
    if let Some(exit) = &task.exit {
        answer["exitstatus"] = json!(exit);
    }
    Ok(answer)
}

pub(super) fn log(request: &Request<'_>) -> Reply {
    let mut state = request.node.lock();
    let task = state.task(request.get("upid")).ok_or_else(|| Refusal::died("no such task"))?;
    let number = |key: &str, default: usize| request.get(key).parse().unwrap_or(default);
    let lines = task.log.iter().enumerate().skip(number("start", 0)).take(number("limit", 50));
    let lines: Vec<_> = lines.map(|(index, text)| json!({ "n": index + 1, "t": text })).collect();
    if lines.is_empty() { Ok(json!([{ "n": 1, "t": "no content" }])) } else { Ok(json!(lines)) }
}
