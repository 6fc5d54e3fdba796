//! Whoever reads what Ostler says slowly, not at all, or no more: the work goes on, and comes to its end.

use super::support::{bare, environment, server, spec};
use ostler_testkit::{
    environment::TestEnvironment,
    targets::{Lab, Target},
    tmux::Terminal,
};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::{
    io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write},
    time::{Duration, Instant},
};

/// The server waits less than that for the proof of its new settings than what a run takes.
const UP: &[&str] = &["up", "ostler.yaml", "--rollback-after", "15"];
/// Until the work must have come to its end on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

#[test]
#[ignore = "boots systemd-nspawn machines; `cargo xtask test` runs it"]
fn whoever_reads_slowly_or_no_more_disturbs_nothing() {
    let Some(lab) = Lab::start() else { return };
    let environment = environment();
    let target = lab.boot_one(bare("box", 22));

    write_spec(&environment, &target, "server-minimal");
    a_pipe_that_nobody_reads(&environment);
    write_spec(&environment, &target, "web");
    a_pipe_that_nobody_reads_any_more(&environment);
    write_spec(&environment, &target, "server-minimal");
    a_terminal_that_was_stopped(&environment);

    assert_eq!(environment.run(&["up", "ostler.yaml", "--output", "json"]).ok().changes(), [""; 0]);
    let rolled_back = target.exec("cat /var/lib/ostler/rollback/rolled-back 2>/dev/null || true").stdout;
    assert_eq!(rolled_back, "", "the server has put its old settings back");
}

fn write_spec(environment: &TestEnvironment, target: &Target, preset: &str) {
    let modules = format!("    modules: {{ ufw: {{ preset: {preset} }} }}\n");
    environment.write("ostler.yaml", &spec(&[server(target, &modules)]));
}

/// As with a pager that shows its first page. All is there as soon as it is read.
fn a_pipe_that_nobody_reads(environment: &TestEnvironment) {
    let (reader, writer, filled) = full_pipe();
    let mut command = environment.command(UP);
    command.args(["--output", "json"]).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
    let mut up = command.spawn().expect("ostler starts");
    drop(command);
    applies(environment, None);
    assert!(up.try_wait().expect("a child").is_none(), "it ended before anybody heard of it");

    let mut reader = BufReader::new(reader);
    reader.read_exact(&mut vec![0; filled]).expect("what was in the pipe before");
    let heard: Vec<serde_json::Value> =
        reader.lines().map(|line| serde_json::from_str(&line.expect("text")).expect("JSON")).collect();
    assert!(up.wait().expect("an end").success());
    let number = |event: &serde_json::Value| event["number"].as_i64().filter(|_| event["event"] != "progress");
    let stored = environment.run(&["logs", "box", "--all", "--output", "json"]).ok().json_lines();
    let (heard_of, stored): (Vec<_>, Vec<_>) =
        (heard.iter().filter_map(number).collect(), stored.iter().filter_map(number).collect());
    assert_eq!(heard_of, stored, "events are missing");
    assert_eq!(heard.last().map(|last| (&last["event"], &last["ok"])), Some((&"outcome".into(), &true.into())));
}

/// As with `| head -1`, standard error included.
fn a_pipe_that_nobody_reads_any_more(environment: &TestEnvironment) {
    let before = newest(environment);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = environment.command(UP);
    command.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
    let mut up = command.spawn().expect("ostler starts");
    drop(command);
    let mut first = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut first).expect("text");
    assert_eq!(first, "box  applying its spec\n");
    drop(reader);
    assert!(up.wait().expect("an end").success(), "the work was stopped, or counts as failed");
    applies(environment, Some(before));
}

/// As with Ctrl-S. What it says meanwhile is seen after Ctrl-Q.
fn a_terminal_that_was_stopped(environment: &TestEnvironment) {
    let before = newest(environment);
    let Some(terminal) = Terminal::start(100, 30, &environment.by_hand(UP)) else { return };
    terminal.wait_for("applying its spec");
    terminal.press(&["C-s"]);
    applies(environment, Some(before));
    assert!(!terminal.screen().contains("ready"), "the terminal was not stopped");
    terminal.press(&["C-q"]);
    terminal.wait_for("box  ready:");
    assert_eq!(terminal.ended(), (0, true));
}

/// Waits until an application that is newer than `before` has succeeded.
fn applies(environment: &TestEnvironment, before: Option<Operation>) {
    let limit = Instant::now() + LIMIT;
    loop {
        let now = newest(environment);
        if now.0 == "apply" && now.1 == "succeeded" && before.as_ref().is_none_or(|before| before.2 != now.2) {
            return;
        }
        assert!(Instant::now() < limit, "the work stands still: {now:?}");
        std::thread::sleep(Duration::from_millis(200)); // another process is looked at
    }
}

/// Kind, state and id.
type Operation = (String, String, String);

/// The newest operation.
fn newest(environment: &TestEnvironment) -> Operation {
    let status = environment.run(&["status", "--output", "json"]).ok().json_lines();
    let text = |key: &str| status[0][0]["operation"][key].as_str().unwrap_or_default().to_owned();
    (text("kind"), text("state"), text("id"))
}

/// A pipe that takes nothing more, and how much is in it.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let flags = fcntl_getfl(&writer).expect("flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("flags");
    let mut filled = 0;
    while let Ok(written) = writer.write(&[b'\n'; 4096]) {
        filled += written;
    }
    fcntl_setfl(&writer, flags).expect("flags");
    (reader, writer, filled)
}
