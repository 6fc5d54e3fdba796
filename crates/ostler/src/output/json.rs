//! For programs: one event a line.

use super::{Ended, Frontend, Stage, hints};
use ostler_core::{
    event::{Event, EventKind},
    server::up::Resumed,
};
use serde::Serialize;
use serde_json::json;

/// Prints events as they are stored, progress as it comes, and a last line for each server with `"event": "outcome"`.
pub struct Json(pub Stage);

impl Frontend for Json {
    fn event(&mut self, event: &Event) {
        let line = format!("{}\n", text(&event.with_hints_in_words(hints::command)));
        match event.kind {
            EventKind::Progress { .. } => self.0.print_progress(&line),
            _ => self.0.print(&line),
        }
    }

    fn warning(&mut self, message: &str) {
        self.0.print_error(&format!("{}\n", text(&json!({ "warning": message }))));
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { server, result, time, access } = ended;
        let mut line = match result {
            Ok(Resumed::Up(outcome)) => {
                json!({ "ok": true, "created": outcome.created, "changed": outcome.changed, "access": access })
            }
            Ok(Resumed::Destroyed) => json!({ "ok": true, "destroyed": true }),
            Ok(Resumed::Template) => json!({ "ok": true, "template": true }),
            Ok(Resumed::NothingToDo) => json!({ "ok": true, "nothing_to_do": true }),
            Err(failure) => json!({ "ok": false, "failure": failure.in_words(hints::command) }),
        };
        line["event"] = json!("outcome");
        line["server"] = json!(server);
        line["seconds"] = json!((time.as_secs_f64() * 1000.0).round() / 1000.0);
        self.0.print(&format!("{}\n", text(&line)));
    }
}

/// One line of JSON.
pub fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}
