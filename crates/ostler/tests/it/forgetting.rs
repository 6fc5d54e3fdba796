//! What a user sees of events that are forgotten.

use ostler_core::{
    ids::SubjectId,
    model::{OperationKind, OperationRecord, OperationState},
    operation::{Step, begun},
    ports::Store,
    subject::Subject,
};
use ostler_store::SeaStore;
use ostler_testkit::environment::{Finished, TestEnvironment};

fn environment() -> TestEnvironment {
    TestEnvironment::new(env!("CARGO_BIN_EXE_ostler"))
}

#[tokio::test]
async fn logs_say_that_older_events_are_gone() {
    let environment = environment();
    let store = SeaStore::open_sqlite(&environment.state_dir()).await.unwrap();
    let steps: [Step<()>; 0] = [];
    let record = begun((Subject::server(SubjectId::new()), "web"), OperationKind::Create, &(), &steps);
    let ended = Some(jiff::Timestamp::now());
    let record = OperationRecord { state: OperationState::Undone, ended, ..record };
    store.begin_operation(&record).await.unwrap();
    store.close().await;
    let id = record.id.to_string();
    for arguments in [&["logs", "web", "--all"][..], &["logs", "web"], &["logs", "web", "--operation", &id]] {
        let Finished { stdout, stderr, .. } = environment.run(arguments).ok();
        let line = "warning: older events of web are forgotten; OSTLER_KEEP_EVENTS_DAYS says how long they are kept\n";
        assert_eq!((stdout.as_str(), stderr.as_str()), (line, ""), "{arguments:?}");
    }
}

#[test]
fn a_time_that_is_none_is_refused_before_anything_is_done() {
    let environment = environment();
    let mut command = environment.command(&["status"]);
    let output = command.env("OSTLER_KEEP_EVENTS_DAYS", "three months").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("OSTLER_KEEP_EVENTS_DAYS is not a number of days"), "{stderr}");
    assert!(stderr.contains("or to 0 to keep events for ever"), "{stderr}");
}
