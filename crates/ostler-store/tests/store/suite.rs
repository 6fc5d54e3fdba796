//! What every database has to do.

use crate::fixtures::*;
use ostler_core::{
    Blame, Failure,
    event::{Event, EventKind, Level, NewEvent},
    ids::{EventNumber, LeaseToken, OperationId, SubjectId},
    model::{
        MachineRecord, OperationKind, OperationRecord, OperationState, Phase, ServerRecord, StepRecord, StepState,
    },
    ports::{Document, EventFilter, Lease, LeaseAnswer, LeaseOwner, Liveness, Store},
    secret::Secret,
    subject::{Subject, SubjectKind},
};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

pub async fn the_state_has_one_id(store: &dyn Store) {
    assert_eq!(store.state_id().await.unwrap(), store.state_id().await.unwrap());
}

pub async fn a_server_is_kept_whole_and_replaced(store: &dyn Store) {
    let mut record = server("web-1");
    assert_eq!(store.server(&record.name).await.unwrap(), None);
    store.put_server(&record).await.unwrap();
    assert_eq!(store.server(&record.name).await.unwrap().as_ref(), Some(&record));
    (record.machine, record.phase, record.unclean) = (None, Phase::Ready, false);
    record.host_keys.clear();
    store.put_server(&record).await.unwrap();
    assert_eq!(store.server(&record.name).await.unwrap(), Some(record));
}

pub async fn servers_come_by_name(store: &dyn Store) {
    for name in ["b", "a-1", "a", "a1", "0"] {
        store.put_server(&server(name)).await.unwrap();
    }
    let names: Vec<String> = store.overview().await.unwrap().into_iter().map(|record| record.name.into()).collect();
    assert_eq!(names, ["0", "a", "a-1", "a1", "b"]);
}

pub async fn removing_a_server_takes_its_secrets_and_children(store: &dyn Store) {
    let (gone, stays) = (subject("gone"), subject("stays"));
    let record = operation("gone");
    store.begin_operation(&record).await.unwrap();
    let event = NewEvent { subject: Some(gone), server: Some(name("gone")), ..notice("made") };
    store.append_events(&[event]).await.unwrap();
    for server_name in ["gone", "stays"] {
        store.put_server(&server(server_name)).await.unwrap();
        store.put_secret(Some(subject(server_name)), "key", &Secret::new("text")).await.unwrap();
        store.put_child(&child(server_name, 7)).await.unwrap();
    }
    store.put_secret(None, "key", &Secret::new("mine")).await.unwrap();
    let holder = LeaseToken::new();
    acquire(store, gone, (holder, owner(1)), MINUTE).await;

    store.remove_server(gone).await.unwrap();
    store.remove_server(gone).await.unwrap();

    assert_eq!(store.server(&name("gone")).await.unwrap(), None);
    assert_eq!(store.secret(Some(gone), "key").await.unwrap(), None);
    assert_eq!(store.children(gone).await.unwrap(), []);
    assert_eq!(store.latest_operation(gone).await.unwrap(), Some(record));
    assert_eq!(store.events(EventNumber(0), &EventFilter::default(), 10).await.unwrap().len(), 1);
    assert!(store.renew_lease(gone, holder, MINUTE).await.unwrap(), "whoever removes it still holds it");
    assert!(store.server(&name("stays")).await.unwrap().is_some());
    assert!(store.secret(Some(stays), "key").await.unwrap().is_some());
    assert_eq!(store.children(stays).await.unwrap().len(), 1);
    assert_eq!(store.secret(None, "key").await.unwrap(), Some(Secret::new("mine")));
}

/// Of what is no server a document is on record, by its own name among those of its kind.
pub async fn documents_come_by_name_and_go_with_their_secrets(store: &dyn Store) {
    let mut documents = Vec::new();
    for (kind, name) in [(SubjectKind::Site, "shop"), (SubjectKind::Site, "blog"), (SubjectKind::Zone, "shop")] {
        let subject = store.claim_name(kind, name).await.unwrap();
        assert_eq!(store.document(subject).await.unwrap(), None);
        documents.push(Document { subject, name: name.into(), text: format!(r#"{{"of":"{kind:?} {name}"}}"#) });
    }
    for document in &documents {
        store.put_document(&Document { text: "{}".into(), ..document.clone() }).await.unwrap();
        store.put_document(document).await.unwrap();
        store.put_secret(Some(document.subject), "key", &Secret::new("text")).await.unwrap();
    }
    let (shop, blog) = (&documents[0], &documents[1]);
    assert_eq!(store.document(shop.subject).await.unwrap().as_ref(), Some(&shop.text));
    assert_eq!(store.documents(SubjectKind::Site).await.unwrap(), [blog.clone(), shop.clone()]);
    assert_eq!(store.documents(SubjectKind::Certificate).await.unwrap(), []);
    let twin = Document { subject: Subject { id: SubjectId::new(), ..shop.subject }, ..shop.clone() };
    let twin = store.put_document(&twin).await.expect_err("two sites have the same name");
    assert_eq!(twin.message, "the name `shop` is already taken");

    let record = OperationRecord { subject: shop.subject, ..operation("shop") };
    store.begin_operation(&record).await.unwrap();
    let told = NewEvent::about(Some((shop.subject, "shop".into())), Some(record.id), notice("deployed").kind);
    let told = store.append_events(&[told]).await.unwrap();
    let kept = store.events(EventNumber(0), &EventFilter::default(), 10).await.unwrap();
    assert_eq!((kept[0].called(), &kept[0].server), (Some("shop"), &None));
    assert_eq!(kept, told);
    store.set_operation_state(record.id, OperationState::Succeeded, None, &[]).await.unwrap();
    let in_an_hour = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    assert_eq!(store.operations_to_forget(in_an_hour).await.unwrap(), [], "the newest of a site that is there");

    let holder = LeaseToken::new();
    acquire(store, shop.subject, (holder, owner(1)), MINUTE).await;
    store.remove_document(shop.subject).await.unwrap();
    store.remove_document(shop.subject).await.unwrap();
    assert_eq!(store.documents(SubjectKind::Site).await.unwrap(), std::slice::from_ref(blog));
    assert_eq!(store.secret(Some(shop.subject), "key").await.unwrap(), None);
    assert!(store.secret(Some(blog.subject), "key").await.unwrap().is_some());
    assert_eq!(store.operations_to_forget(in_an_hour).await.unwrap(), [record.id]);
    assert_eq!(store.claim_name(SubjectKind::Site, "shop").await.unwrap(), shop.subject, "its lease is held");
    store.release_lease(shop.subject, holder).await.unwrap();
    assert_eq!(store.subject(SubjectKind::Site, "shop").await.unwrap(), None);
    acquire(store, blog.subject, (holder, owner(1)), MINUTE).await;
    store.release_lease(blog.subject, holder).await.unwrap();
    assert_eq!(store.subject(SubjectKind::Site, "blog").await.unwrap(), Some(blog.subject), "it is there");
}

/// A name leads to one subject, which all who claim it get, until nothing of it exists any more and its lease is given back.
pub async fn a_name_has_one_subject(store: &dyn Store) {
    let kind = SubjectKind::Server;
    assert_eq!(store.subject(kind, "web-1").await.unwrap(), None);
    let claims = (0..8).map(|_| store.claim_name(kind, "web-1"));
    let claimed = futures::future::try_join_all(claims).await.unwrap();
    let web = claimed[0];
    assert!(claimed.iter().all(|other| *other == web), "{claimed:?}");
    assert_eq!(store.subject(kind, "web-1").await.unwrap(), Some(web));
    assert_ne!(store.claim_name(kind, "web-2").await.unwrap(), web);
    assert_eq!(store.overview().await.unwrap(), [], "a name is no server");

    let (record, holder) = (ServerRecord { id: web.id, ..server("web-1") }, LeaseToken::new());
    store.put_server(&record).await.unwrap();
    let twin = store.put_server(&server("web-1")).await.expect_err("two servers have the same name");
    assert_eq!(twin.message, "the name `web-1` is already taken");
    acquire(store, web, (holder, owner(1)), MINUTE).await;
    store.release_lease(web, holder).await.unwrap();
    assert_eq!(store.claim_name(kind, "web-1").await.unwrap(), web, "the server is there");
    acquire(store, web, (holder, owner(1)), MINUTE).await;
    store.remove_server(web).await.unwrap();
    store.release_lease(web, LeaseToken::new()).await.unwrap();
    assert_eq!(store.claim_name(kind, "web-1").await.unwrap(), web, "whoever removes it still holds it");
    store.release_lease(web, holder).await.unwrap();
    assert_eq!(store.subject(kind, "web-1").await.unwrap(), None);
    assert_ne!(store.claim_name(kind, "web-1").await.unwrap(), web);
}

/// What is made anew by a name that was given before has a history of its own; that of the name is of both.
pub async fn a_server_that_is_made_anew_is_another_one(store: &dyn Store) {
    let (mut of_old, mut of_new) = (operation("web-1"), operation("web-1"));
    (of_old.subject, of_new.subject) = (subject("old"), subject("new"));
    for record in [&of_old, &of_new] {
        store.begin_operation(record).await.unwrap();
        let about = Some((record.subject, name("web-1")));
        let kind = EventKind::Notice { level: Level::Info, message: record.id.to_string() };
        store.append_events(&[NewEvent::new(about, Some(record.id), kind)]).await.unwrap();
    }
    assert_eq!(store.latest_operation(subject("old")).await.unwrap().as_ref(), Some(&of_old));
    assert_eq!(store.latest_operation(subject("new")).await.unwrap().as_ref(), Some(&of_new));
    let latest = async |name| store.latest_operation_called(SubjectKind::Server, name).await.unwrap();
    assert_eq!((latest("web-1").await.as_ref(), latest("web-2").await), (Some(&of_new), None));
    store.set_operation_state(of_old.id, OperationState::Unwinding, None, &[]).await.unwrap();
    assert_eq!(latest("web-1").await.as_ref(), Some(&of_new), "what is undone is the older one");
    let of_name = EventFilter { server: Some(name("web-1")), ..EventFilter::default() };
    assert_eq!(store.events(EventNumber(0), &of_name, 10).await.unwrap().len(), 2);
}

pub async fn an_operation_is_kept_whole(store: &dyn Store) {
    let mut record = operation("web-1");
    record.failure = Some(Failure::new(Blame::Target, "no SSH").with_hint("look at the console"));
    record.ended = Some(now());
    assert_eq!(store.operation(record.id).await.unwrap(), None);
    assert_eq!(store.latest_operation(record.subject).await.unwrap(), None);
    store.begin_operation(&record).await.unwrap();
    assert_eq!(store.operation(record.id).await.unwrap(), Some(record));
}

pub async fn the_newest_operation_of_each_server_is_listed(store: &dyn Store) {
    let (first, mut second, mut other) = (operation("b"), operation("b"), operation("a"));
    other.failure = Some(Failure::new(Blame::Target, "no SSH").with_hint("look at the console"));
    // The order of beginning counts, not what a clock said.
    second.started = first.started - jiff::SignedDuration::from_hours(1);
    for record in [&first, &other, &second] {
        store.begin_operation(record).await.unwrap();
    }
    assert_eq!(store.latest_operation(first.subject).await.unwrap().as_ref(), Some(&second));
    // One that is gone leaves its operations as history, and another has none yet.
    store.begin_operation(&operation("gone")).await.unwrap();
    let servers = ["a", "b", "c"].map(server);
    for record in &servers {
        store.put_server(record).await.unwrap();
    }
    let newest = [Some(&other), Some(&second), None];
    let expected: Vec<_> = servers.iter().zip(newest).map(|(server, newest)| in_short(server, newest)).collect();
    assert_eq!(store.overview().await.unwrap(), expected);
    assert_eq!(store.operation(first.id).await.unwrap(), Some(first));
}

pub async fn an_operation_ends_and_goes_on(store: &dyn Store) {
    let record = operation("web-1");
    store.begin_operation(&record).await.unwrap();
    let failure = Failure::new(Blame::Provider, "no space").because_of("can't make the disk");
    store.set_operation_state(record.id, OperationState::Failed, Some(&failure), &[]).await.unwrap();
    let failed = store.operation(record.id).await.unwrap().unwrap();
    assert_eq!((failed.state, failed.failure), (OperationState::Failed, Some(failure)));
    assert!(failed.ended.unwrap() >= record.started);
    for state in [OperationState::Running, OperationState::Unwinding] {
        store.set_operation_state(record.id, OperationState::Succeeded, None, &[]).await.unwrap();
        store.set_operation_state(record.id, state, None, &[]).await.unwrap();
        let running = store.operation(record.id).await.unwrap().unwrap();
        assert_eq!((running.state, running.failure, running.ended), (state, None, None));
    }
}

pub async fn a_step_moves_with_its_output(store: &dyn Store) {
    let mut record = operation("web-1");
    store.begin_operation(&record).await.unwrap();
    store.set_step(record.id, 0, StepState::Done, Some(r#"{"image":"x"}"#), &[]).await.unwrap();
    store.set_step(record.id, 1, StepState::Done, Some("7"), &[]).await.unwrap();
    store.set_step(record.id, 1, StepState::Done, Some("8"), &[]).await.unwrap();
    store.set_step(record.id, 2, StepState::Started, None, &[]).await.unwrap();
    // What it has found out stays while it is undone.
    store.set_step(record.id, 0, StepState::Undoing, None, &[]).await.unwrap();
    let step = |name: &str, state, output: Option<&str>| {
        let output = output.map(str::to_owned);
        StepRecord { name: name.into(), state, output }
    };
    record.steps[0] = step("image", StepState::Undoing, Some(r#"{"image":"x"}"#));
    record.steps[1] = step("disk", StepState::Done, Some("8"));
    record.steps[2] = step("seed", StepState::Started, None);
    assert_eq!(store.operation(record.id).await.unwrap(), Some(record));
}

pub async fn what_is_not_in_the_journal_is_an_error(store: &dyn Store) {
    let (record, unknown) = (operation("web-1"), OperationId::new());
    store.begin_operation(&record).await.unwrap();
    let error = store.set_step(record.id, 7, StepState::Done, None, &[]).await.unwrap_err();
    assert_eq!(error.message, format!("operation {} has no step 7", record.id));
    let error = store.set_step(unknown, 0, StepState::Done, None, &[]).await.unwrap_err();
    assert_eq!(error.message, format!("operation {unknown} is not in the journal"));
    let error = store.set_operation_state(unknown, OperationState::Failed, None, &[]).await.unwrap_err();
    assert_eq!(error.message, format!("operation {unknown} is not in the journal"));
    assert_eq!(store.operation(record.id).await.unwrap(), Some(record));
}

pub async fn events_are_numbered_in_order(store: &dyn Store) {
    assert_eq!(store.last_event().await.unwrap(), EventNumber(0));
    assert_eq!(store.append_events(&[]).await.unwrap(), []);
    let before = now();
    let id = OperationId::new();
    let started = EventKind::StepStarted { index: 3, step: "disk".into(), phase: Phase::Create };
    let first = NewEvent::new(Some((subject("web-1"), name("web-1"))), Some(id), started.clone());
    let mut appended = store.append_events(&[first, notice("two")]).await.unwrap();
    appended.extend(store.append_events(&[notice("three")]).await.unwrap());
    assert_eq!(store.last_event().await.unwrap(), EventNumber(3));

    let events = store.events(EventNumber(0), &EventFilter::default(), 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.number.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(appended, events, "what is returned is what is stored");
    assert_eq!((&events[0].server, events[0].operation, &events[0].kind), (&Some(name("web-1")), Some(id), &started));
    assert_eq!((events[0].subject, events[1].subject), (Some(subject("web-1")), None));
    assert_eq!(events[2].kind, notice("three").kind);
    assert!(events.iter().all(|event| event.time >= before && event.time <= now()));
}

pub async fn events_are_filtered_and_limited(store: &dyn Store) {
    let ids = [OperationId::new(), OperationId::new()];
    let events: Vec<NewEvent> = (0..12)
        .map(|index| NewEvent {
            // Of the two that are called `b`, one comes after the other.
            subject: Some(subject(if index % 3 == 0 { "a" } else { ["b", "another b"][index / 6] })),
            server: Some(name(if index % 3 == 0 { "a" } else { "b" })),
            operation: Some(ids[index % 2]),
            ..notice("")
        })
        .collect();
    store.append_events(&events).await.unwrap();
    let numbers = async |after, server: Option<&str>, operation, limit| {
        let filter = EventFilter { server: server.map(name), operation, ..EventFilter::default() };
        let events = store.events(EventNumber(after), &filter, limit).await.unwrap();
        events.iter().map(|event| event.number.0).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, Some("a"), None, 100).await, [1, 4, 7, 10]);
    assert_eq!(numbers(4, Some("a"), None, 100).await, [7, 10]);
    assert_eq!(numbers(0, None, Some(ids[1]), 3).await, [2, 4, 6]);
    assert_eq!(numbers(1, Some("a"), Some(ids[0]), 100).await, [7]);
    assert_eq!(numbers(12, None, None, 100).await, [0; 0]);
    assert_eq!(numbers(0, Some("b"), None, 100).await, [2, 3, 5, 6, 8, 9, 11, 12]);
    let of_one = EventFilter { subject: Some(subject("another b")), ..EventFilter::default() };
    let events = store.events(EventNumber(0), &of_one, 100).await.unwrap();
    assert_eq!(events.iter().map(|event| event.number.0).collect::<Vec<_>>(), [8, 9, 11, 12]);
}

pub async fn many_events_go_in_at_once(store: &dyn Store) {
    let events: Vec<NewEvent> = (1..=2500).map(|number| notice(&number.to_string())).collect();
    let appended = store.append_events(&events).await.unwrap();
    let kept = store.events(EventNumber(0), &EventFilter::default(), 5000).await.unwrap();
    assert!(kept.iter().map(|event| &event.kind).eq(events.iter().map(|event| &event.kind)));
    assert_eq!(appended, kept);
}

pub async fn an_event_is_in_the_log_once(store: &dyn Store) {
    let record = operation("web-1");
    store.begin_operation(&record).await.unwrap();
    let [one, two, three, four] = ["1", "2", "3", "4"].map(notice);
    let (first, again) = ([one.clone(), two.clone()], [two.clone(), three.clone()]);
    let numbers = |appended: Vec<Event>| appended.iter().map(|event| event.number.0).collect::<Vec<_>>();
    assert_eq!(numbers(store.append_events(&first).await.unwrap()), [1, 2]);
    assert_eq!(numbers(store.append_events(&first).await.unwrap()), [0; 0]);
    assert_eq!(numbers(store.append_events(&again).await.unwrap()), [3]);
    for expected in [vec![4], vec![]] {
        let step = store.set_step(record.id, 0, StepState::Done, None, std::slice::from_ref(&four)).await.unwrap();
        assert_eq!(numbers(step), expected);
        let known = [one.clone(), four.clone()];
        let state = store.set_operation_state(record.id, OperationState::Succeeded, None, &known).await.unwrap();
        assert_eq!(numbers(state), [0; 0]);
    }
    let events = store.events(EventNumber(0), &EventFilter::default(), 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.number.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(events.iter().map(|event| &event.kind).eq([one, two, three, four].iter().map(|event| &event.kind)));
}

/// But not those of what is under way, of what ended lately, and of the newest of each kind on a server that is there.
pub async fn events_of_what_ended_long_ago_are_forgotten(store: &dyn Store) {
    let day = jiff::SignedDuration::from_hours(24);
    let (limit, long_ago, lately) = (now() - day * 90, now() - day * 100, now() - day);
    store.put_server(&server("web-1")).await.unwrap();
    let mut ids = Vec::new();
    for (server, kind, ended) in [
        ("web-1", OperationKind::Create, Some(long_ago)), // the newest of its kind
        ("web-1", OperationKind::Apply, Some(long_ago)),
        ("web-1", OperationKind::Apply, None),
        ("web-1", OperationKind::Apply, Some(lately)),
        ("web-1", OperationKind::Apply, Some(long_ago)), // the newest of its kind
        ("gone", OperationKind::Create, Some(long_ago)),
        ("gone", OperationKind::Apply, Some(lately)),
    ] {
        let state = if ended.is_some() { OperationState::Succeeded } else { OperationState::Running };
        let record = OperationRecord { kind, state, ended, ..operation(server) };
        store.begin_operation(&record).await.unwrap();
        ids.push(record.id);
    }
    ids.push(OperationId::new()); // an image that was got
    for _ in 0..3 {
        let events: Vec<_> = ids.iter().map(|id| NewEvent { operation: Some(*id), ..notice("") }).collect();
        store.append_events(&events).await.unwrap();
    }
    let events_of = async |index: usize| {
        let filter = EventFilter { operation: Some(ids[index]), ..EventFilter::default() };
        store.events(EventNumber(0), &filter, 100).await.unwrap().len()
    };
    let has_forgotten = async |name| store.has_forgotten(SubjectKind::Server, name).await.unwrap();
    let sorted = |mut ids: Vec<OperationId>| {
        ids.sort_by_key(ToString::to_string);
        ids
    };
    assert_eq!(sorted(store.operations_to_forget(limit).await.unwrap()), sorted(vec![ids[1], ids[5]]));
    let in_an_hour = now() + jiff::SignedDuration::from_hours(1);
    let all_that_may_ever = vec![ids[1], ids[3], ids[5], ids[6], ids[7]];
    assert_eq!(sorted(store.operations_to_forget(in_an_hour).await.unwrap()), sorted(all_that_may_ever));
    assert!(!has_forgotten("web-1").await);

    assert_eq!(store.forget_events(ids[1], 2).await.unwrap(), 2);
    assert_eq!((events_of(1).await, events_of(2).await), (1, 3));
    assert_eq!(store.forget_events(ids[1], 2).await.unwrap(), 1);
    assert_eq!(store.forget_events(ids[1], 2).await.unwrap(), 0);
    assert_eq!(store.operations_to_forget(limit).await.unwrap(), [ids[5]]);
    assert!(store.operation(ids[1]).await.unwrap().is_some(), "the journal stays");
    assert!(has_forgotten("web-1").await && !has_forgotten("gone").await);
    assert_eq!(store.append_events(&[notice("next")]).await.unwrap()[0].number.0, 25, "a number is given once");

    assert_eq!(store.last_forgetting().await.unwrap(), None);
    store.set_last_forgetting(lately).await.unwrap();
    assert_eq!(store.last_forgetting().await.unwrap(), Some(lately));
}

pub async fn the_journal_and_its_events_change_together(store: &dyn Store) {
    let (record, unknown) = (operation("web-1"), OperationId::new());
    store.begin_operation(&record).await.unwrap();
    let ended = [notice("ended")];
    store.set_step(record.id, 7, StepState::Done, None, &ended).await.unwrap_err();
    store.set_operation_state(unknown, OperationState::Failed, None, &ended).await.unwrap_err();
    assert_eq!(store.last_event().await.unwrap(), EventNumber(0), "an event tells of what did not happen");
    store.set_operation_state(record.id, OperationState::Failed, None, &ended).await.unwrap();
    assert_eq!(store.last_event().await.unwrap(), EventNumber(1));
}

pub async fn steps_are_replaced(store: &dyn Store) {
    let mut record = operation("web-1");
    store.begin_operation(&record).await.unwrap();
    record.steps.remove(1);
    record.steps[0].name = "picture".into();
    store.replace_steps(record.id, &record.steps).await.unwrap();
    store.replace_steps(OperationId::new(), &record.steps).await.unwrap_err();
    assert_eq!(store.operation(record.id).await.unwrap(), Some(record));
}

/// Two acquisitions, of two processes.
fn two() -> [(LeaseToken, LeaseOwner); 2] {
    [1, 2].map(|pid| (LeaseToken::new(), owner(pid)))
}

pub async fn a_lease_is_held_by_one(store: &dyn Store) {
    let (server, [one, two]) = (subject("web-1"), two());
    let same_process = (LeaseToken::new(), one.1.clone());
    assert_eq!(store.lease(server).await.unwrap(), None);
    assert_eq!(acquire(store, server, one.clone(), MINUTE).await, None);
    for other in [&two, &same_process] {
        assert_eq!(acquire(store, server, other.clone(), MINUTE).await, Some(one.1.clone()));
    }
    assert_eq!(acquire(store, server, one.clone(), MINUTE).await, None, "asked again, for want of an answer");
    assert_eq!(acquire(store, subject("web-2"), two.clone(), MINUTE).await, None);
    for other in [&two, &same_process] {
        store.release_lease(server, other.0).await.unwrap();
        assert!(!store.renew_lease(server, other.0, MINUTE).await.unwrap());
    }
    assert_eq!(store.lease(server).await.unwrap().map(|lease| (lease.token, lease.owner)), Some((Some(one.0), one.1)));
    store.release_lease(server, one.0).await.unwrap();
    assert_eq!(store.lease(server).await.unwrap(), None);
    assert_eq!(acquire(store, server, two, MINUTE).await, None);
}

pub async fn an_expired_lease_is_taken_where_nothing_is_known_of_its_owner(store: &dyn Store) {
    let (server, [one, two]) = (subject("web-1"), two());
    acquire(store, server, one.clone(), Duration::ZERO).await;
    let expired = store.lease(server).await.unwrap().expect("it is still known who had it");
    assert_eq!((&expired.owner, expired.expired), (&one.1, true));
    assert!(store.renew_lease(server, one.0, Duration::ZERO).await.unwrap(), "nobody took it");
    let answer = acquire_from(store, server, two.clone(), MINUTE, Liveness::Alive).await;
    assert_eq!(answer, Some(one.1), "a clock is no proof against a process that lives");
    assert_eq!(acquire(store, server, two.clone(), MINUTE).await, None);
    let taken = store.lease(server).await.unwrap().unwrap();
    assert_eq!(taken, Lease { owner: two.1, token: Some(two.0), expired: false });
}

pub async fn a_dead_owners_lease_is_taken_at_once(store: &dyn Store) {
    let (server, [dead, two]) = (subject("web-1"), two());
    acquire(store, server, dead.clone(), MINUTE).await;
    assert_eq!(acquire_from(store, server, two.clone(), MINUTE, Liveness::Dead).await, None);
    let reborn = (LeaseToken::new(), LeaseOwner { start_ticks: 4712, ..two.1.clone() });
    assert_eq!(acquire(store, server, reborn, MINUTE).await, Some(two.1));
}

/// Of two who saw the same dead holder one gets its lease: the other one's judgement was about somebody who is gone.
pub async fn a_lease_is_taken_only_from_the_one_that_was_judged(store: &dyn Store) {
    let (server, [dead, two]) = (subject("web-1"), two());
    acquire(store, server, dead, MINUTE).await;
    let judged = store.lease(server).await.unwrap();
    let three = (LeaseToken::new(), owner(3));
    let ask = async |(token, owner): &(LeaseToken, LeaseOwner)| {
        store.acquire_lease(server, *token, owner, MINUTE, judged.as_ref()).await.unwrap()
    };
    assert_eq!(ask(&two).await, LeaseAnswer::Granted);
    let held = Lease { owner: two.1, token: Some(two.0), expired: false };
    assert_eq!(ask(&three).await, LeaseAnswer::HeldBy(held));
}

pub async fn what_nobody_polls_keeps_nobody_waiting(store: &dyn Store) {
    let events = [notice("one")];
    let mut left = std::pin::pin!(store.append_events(&events));
    assert!(futures::poll!(&mut left).is_pending());
    let others = async {
        store.append_events(&[notice("two")]).await.unwrap();
        store.events(EventNumber(0), &EventFilter::default(), 10).await.unwrap()
    };
    let seen =
        tokio::time::timeout(Duration::from_secs(20), others).await.expect("nobody waits for what is not polled");
    // Whichever comes first: on MySQL, either may.
    assert!(seen.iter().any(|event| event.kind == notice("two").kind), "{seen:?}");
    left.await.unwrap();
}

pub async fn a_lost_lease_is_not_renewed(store: &dyn Store) {
    let (server, [one, two]) = (subject("web-1"), two());
    assert!(!store.renew_lease(server, one.0, MINUTE).await.unwrap());
    acquire(store, server, one.clone(), Duration::ZERO).await;
    assert!(store.renew_lease(server, one.0, MINUTE).await.unwrap());
    let answer = acquire(store, server, two.clone(), MINUTE).await;
    assert_eq!(answer, Some(one.1), "renewing extended it");
    assert_eq!(acquire_from(store, server, two.clone(), MINUTE, Liveness::Dead).await, None);
    assert!(!store.renew_lease(server, one.0, MINUTE).await.unwrap());
    store.release_lease(server, one.0).await.unwrap();
    assert_eq!(store.lease(server).await.unwrap().map(|lease| lease.token), Some(Some(two.0)));
}

pub async fn children_come_and_go(store: &dyn Store) {
    let (one, two) = (child("web-1", 10), child("web-1", 11));
    let both_servers = ostler_core::ports::ChildRecord { subject: subject("web-2"), ..one.clone() };
    for record in [&two, &one, &both_servers, &one] {
        store.put_child(record).await.unwrap();
    }
    assert_eq!(store.children(subject("web-1")).await.unwrap(), [one.clone(), two.clone()]);
    store.remove_child(&one).await.unwrap();
    store.remove_child(&one).await.unwrap();
    assert_eq!(store.children(subject("web-1")).await.unwrap(), [two]);
    assert_eq!(store.children(subject("web-2")).await.unwrap(), [both_servers]);
}

pub async fn secrets_are_kept_by_owner(store: &dyn Store) {
    let web = subject("web-1");
    assert_eq!(store.secret(None, "token").await.unwrap(), None);
    assert!(!store.remove_secret(None, "token").await.unwrap());
    for (owner, secret_name, text) in [
        (None, "token", "old"),
        (None, "token", "mine"),
        (None, "Token", ""),
        (Some(web), "token", "its own\n\u{1F40E}"),
    ] {
        store.put_secret(owner, secret_name, &Secret::new(text)).await.unwrap();
    }
    assert_eq!(store.secret(None, "token").await.unwrap(), Some(Secret::new("mine")));
    assert_eq!(store.secret(None, "Token").await.unwrap(), Some(Secret::new("")));
    assert_eq!(store.secret(Some(web), "token").await.unwrap(), Some(Secret::new("its own\n\u{1F40E}")));
    assert_eq!(store.secret_names().await.unwrap(), ["Token", "token"]);
    assert!(store.remove_secret(None, "token").await.unwrap());
    assert_eq!(store.secret(None, "token").await.unwrap(), None);
    assert_eq!(store.secret_names().await.unwrap(), ["Token"]);
    assert!(store.secret(Some(web), "token").await.unwrap().is_some());
}

pub async fn a_secret_needs_a_visible_name(store: &dyn Store) {
    for bad in ["", " token", "token ", "to\0ken", &"x".repeat(256)] {
        let error = store.put_secret(None, bad, &Secret::new("text")).await.unwrap_err();
        assert_eq!(error.blame, Blame::User);
    }
    let longest = "ü".repeat(255);
    store.put_secret(None, &longest, &Secret::new("text")).await.unwrap();
    assert_eq!(store.secret_names().await.unwrap(), [longest]);
}

/// MySQL's `text` ends at 64 KiB, and its old `utf8` at three bytes a character.
pub async fn long_and_odd_texts_survive(store: &dyn Store) {
    let text = "\u{1F40E} '\"\\ \0 \u{FFFD} %_\n".repeat(50_000);
    let (mut server, mut operation) = (server("web-1"), operation("web-1"));
    server.machine = Some(MachineRecord(text.clone()));
    (operation.plan, operation.outputs) = (text.clone(), text.clone());
    operation.steps[0].output = Some(text.clone());
    operation.failure = Some(Failure::new(Blame::Bug, text.clone()));
    store.put_server(&server).await.unwrap();
    store.begin_operation(&operation).await.unwrap();
    store.append_events(&[notice(&text)]).await.unwrap();
    store.put_secret(None, "long", &Secret::new(text.clone())).await.unwrap();
    let overview = [in_short(&server, Some(&operation))];
    assert_eq!(store.overview().await.unwrap(), overview);
    assert_eq!(store.server(&server.name).await.unwrap(), Some(server));
    assert_eq!(store.operation(operation.id).await.unwrap(), Some(operation));
    let events = store.events(EventNumber(0), &EventFilter::default(), 1).await.unwrap();
    assert_eq!(events[0].kind, notice(&text).kind);
    assert_eq!(store.secret(None, "long").await.unwrap(), Some(Secret::new(text)));
}
