//! Actions: each runs for a while, and what it does is there when it has succeeded.
//!
//! Nothing runs in the background: `settle` ends whatever is over by now, in order, and is called before each request and when the
//! next action is due.

use super::{
    api::{Refusal, Reply, Request},
    query, servers,
    state::{Id, Kind, State, now},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

/// What an action does in the end; the error's words where it can't.
pub(super) type Effect = Box<dyn FnOnce(&mut State) -> Result<(), String> + Send>;

/// What goes wrong with one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionFault {
    /// Nothing: it ends as ever, and the next fault is the next action's.
    Nothing,
    /// It ends with this error code and message, and has done nothing.
    Error(&'static str, &'static str),
    /// It runs until [`FakeCloud::release`](super::FakeCloud::release) is called.
    Held,
}

struct Action {
    command: &'static str,
    resources: Vec<(Kind, Id)>,
    began: Instant,
    started: String,
    /// When it ends; never by itself where it is held.
    due: Option<Instant>,
    finished: Option<String>,
    error: Option<(String, String)>,
    /// What must have succeeded first.
    after: Option<Id>,
    effect: Option<Effect>,
}

/// All that there were.
pub(super) struct Actions {
    /// How long each takes.
    pub pace: Duration,
    all: BTreeMap<Id, Action>,
    pub faults: HashMap<String, VecDeque<ActionFault>>,
}

/// Commands that don't keep others from what they work on.
const LOCK_NOTHING: [&str; 4] = ["apply_firewall", "remove_firewall", "set_firewall_rules", "request_console"];

impl Actions {
    pub fn new(pace: Duration) -> Self {
        Self { pace, all: BTreeMap::new(), faults: HashMap::new() }
    }

    /// Whether an action runs that keeps others from a resource. A network or a firewall can take part in several.
    pub fn lock(&self, kind: Kind, id: Id) -> bool {
        let locks = |action: &Action| {
            action.finished.is_none()
                && !LOCK_NOTHING.contains(&action.command)
                && action.resources.contains(&(kind, id))
        };
        matches!(kind, Kind::Server | Kind::Volume | Kind::LoadBalancer) && self.all.values().any(locks)
    }

    /// Whether an action runs that changes a resource itself.
    pub fn changes(&self, kind: Kind, id: Id, commands: &[&str]) -> bool {
        self.all.values().any(|action| {
            action.finished.is_none() && commands.contains(&action.command) && action.resources.contains(&(kind, id))
        })
    }

    /// Lets go of what is held.
    pub fn release(&mut self) {
        let now = Instant::now();
        for action in self.all.values_mut() {
            action.due.get_or_insert(now);
        }
    }
}

impl State {
    /// Begins an action on resources; returns its id.
    pub fn begin(
        &mut self,
        command: &'static str,
        resources: &[(Kind, Id)],
        effect: impl FnOnce(&mut Self) -> Result<(), String> + Send + 'static,
    ) -> Id {
        self.begin_after(None, command, resources, effect)
    }

    /// The same once another has succeeded; where that fails, this one fails too.
    pub fn begin_after(
        &mut self,
        after: Option<Id>,
        command: &'static str,
        resources: &[(Kind, Id)],
        effect: impl FnOnce(&mut Self) -> Result<(), String> + Send + 'static,
    ) -> Id {
        let id = self.new_id();
        let fault = self.actions.faults.get_mut(command).and_then(VecDeque::pop_front);
        let began = Instant::now();
        let before = after.and_then(|after| self.actions.all.get(&after)).map(|before| before.due);
        // What waits for an action that is held is let go with it.
        let due = match (&fault, before) {
            (Some(ActionFault::Held), _) | (_, Some(None)) => None,
            (_, Some(Some(before))) => Some(before + self.actions.pace),
            (_, None) => Some(began + self.actions.pace),
        };
        let effect: Effect = match fault {
            Some(ActionFault::Error(code, message)) => Box::new(move |_| Err(format!("{code}\n{message}"))),
            Some(ActionFault::Nothing | ActionFault::Held) | None => Box::new(effect),
        };
        let action = Action {
            command,
            resources: resources.to_vec(),
            began,
            started: now(),
            due,
            finished: None,
            error: None,
            after,
            effect: Some(effect),
        };
        self.actions.all.insert(id, action);
        id
    }

    /// Ends what is over; returns when the next is.
    pub fn settle(&mut self) -> Option<Instant> {
        loop {
            let running = |action: &&Action| action.finished.is_none();
            let next = self.actions.all.iter().filter(|(_, action)| running(action));
            let (due, id) = next.filter_map(|(id, action)| Some((action.due?, *id))).min()?;
            if due > Instant::now() {
                return Some(due);
            }
            let (effect, after) = {
                let action = self.actions.all.get_mut(&id)?;
                (action.effect.take(), action.after)
            };
            let failed = |after: Id| self.actions.all.get(&after).is_some_and(|before| before.error.is_some());
            let result = match (after.is_some_and(failed), effect) {
                (true, _) => Err("action_failed\nthe action before it failed".to_owned()),
                (false, Some(effect)) => effect(self),
                (false, None) => Ok(()),
            };
            let action = self.actions.all.get_mut(&id)?;
            action.finished = Some(now());
            action.error = result.err().map(|words| match words.split_once('\n') {
                Some((code, message)) => (code.to_owned(), message.to_owned()),
                None => ("action_failed".to_owned(), words),
            });
            servers::attach_machines(self);
        }
    }

    /// What the API shows of an action.
    pub fn action(&self, id: Id) -> Value {
        self.actions.all.get(&id).map_or(Value::Null, |action| {
            let status = match (&action.finished, &action.error) {
                (None, _) => "running",
                (Some(_), None) => "success",
                (Some(_), Some(_)) => "error",
            };
            // Whoever waits for another has not begun.
            let waits =
                action.after.and_then(|after| self.actions.all.get(&after)).is_some_and(|it| it.finished.is_none());
            let part = action.began.elapsed().as_secs_f64() / self.actions.pace.as_secs_f64().max(0.001);
            let progress = match (status, waits) {
                ("running", true) => 0,
                ("running", false) => (part * 100.0).min(99.0) as u32,
                _ => 100,
            };
            let resources: Vec<Value> =
                action.resources.iter().map(|(kind, id)| json!({ "id": id, "type": kind.singular() })).collect();
            json!({
                "id": id,
                "command": action.command,
                "status": status,
                "progress": progress,
                "started": action.started,
                "finished": action.finished,
                "resources": resources,
                "error": action.error.as_ref().map(|(code, message)| json!({ "code": code, "message": message })),
            })
        })
    }

    /// An answer that is an action.
    pub fn act(
        &mut self,
        command: &'static str,
        resources: &[(Kind, Id)],
        effect: impl FnOnce(&mut Self) -> Result<(), String> + Send + 'static,
    ) -> Reply {
        let id = self.begin(command, resources, effect);
        Ok(json!({ "action": self.action(id) }))
    }
}

/// Actions of one resource, of a family, or those that are named.
pub(super) fn list(state: &State, request: &Request, kind: Option<Kind>, resource: Option<Id>) -> Reply {
    let concerns = |action: &Action| {
        kind.is_none_or(|wanted| {
            action.resources.iter().any(|(kind, id)| *kind == wanted && resource.is_none_or(|wanted| wanted == *id))
        })
    };
    let ids: Vec<Id> = request.query_all("id").filter_map(|id| id.parse().ok()).collect();
    if kind.is_none() && ids.is_empty() {
        return Err(Refusal::input("id", "Missing data for required field."));
    }
    let wanted =
        state.actions.all.iter().filter(|(id, action)| concerns(action) && (ids.is_empty() || ids.contains(id)));
    let actions = wanted.map(|(id, _)| state.action(*id)).collect();
    if kind.is_none() {
        return Ok(json!({ "actions": Value::Array(actions) }));
    }
    query::list(request, "actions", actions)
}

/// One action.
pub(super) fn get(state: &State, id: &str) -> Reply {
    let action = id.parse().map(|id| state.action(id)).unwrap_or_default();
    match action {
        Value::Null => Err(Refusal::new(404, "not_found", &format!("action with ID '{id}' not found"))),
        action => Ok(json!({ "action": action })),
    }
}
