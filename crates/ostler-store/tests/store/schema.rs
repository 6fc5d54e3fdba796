//! The schema of a database that another version, or a crash, has left.

use crate::fixtures::*;
use ostler_core::{
    Blame, Classify,
    ids::{EventNumber, LeaseToken},
    ports::{EventFilter, Liveness, Store},
    secret::Secret,
    subject::SubjectKind,
};
use ostler_testkit::earlier::EarlierState;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use std::{collections::BTreeSet, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_newer_ostlers_state_is_refused_on_sqlite() {
    a_newer_ostlers_state_is_refused(&Place::sqlite()).await;
}

#[tokio::test]
async fn a_newer_ostlers_state_is_refused_on_mariadb() {
    let Some(place) = Place::mariadb() else { return };
    a_newer_ostlers_state_is_refused(&place).await;
}

async fn a_newer_ostlers_state_is_refused(place: &Place) {
    let id = place.open().await.state_id().await.unwrap();
    let db = place.raw().await;
    db.execute_unprepared("INSERT INTO seaql_migrations VALUES ('m0999_future', 0)").await.unwrap();
    let Err(error) = place.try_open().await else { panic!("it was opened") };
    let shown = error.to_string();
    assert!(shown.ends_with(" was written by a newer Ostler (schema m0999_future)"), "{shown}");
    assert_eq!(error.blame(), Blame::User);
    assert!(error.hints()[0].in_words(|next| next.to_string()).starts_with("upgrade"));
    db.execute_unprepared("DELETE FROM seaql_migrations WHERE version = 'm0999_future'").await.unwrap();
    assert_eq!(place.open().await.state_id().await.unwrap(), id);
}

#[tokio::test]
async fn a_half_made_schema_is_completed_on_sqlite() {
    a_half_made_schema_is_completed(&Place::sqlite()).await;
}

#[tokio::test]
async fn a_half_made_schema_is_completed_on_mariadb() {
    let Some(place) = Place::mariadb() else { return };
    a_half_made_schema_is_completed(&place).await;
}

/// A crash in the middle of the first opening leaves some tables and no record of the migration.
async fn a_half_made_schema_is_completed(place: &Place) {
    place.open().await.close().await;
    let db = place.raw().await;
    for sql in ["DELETE FROM seaql_migrations", "DELETE FROM state", "DROP TABLE secrets", "DROP TABLE events"] {
        db.execute_unprepared(sql).await.unwrap();
    }
    db.close().await.unwrap();
    let store = place.open().await;
    store.state_id().await.unwrap();
    store.append_events(&[notice("made")]).await.unwrap();
    store.put_secret(None, "token", &Secret::new("text")).await.unwrap();
}

#[tokio::test]
async fn a_state_of_the_first_schema_goes_on_on_sqlite() {
    a_state_of_the_first_schema_goes_on(&Place::sqlite()).await;
}

#[tokio::test]
async fn a_state_of_the_first_schema_goes_on_on_mariadb() {
    let Some(place) = Place::mariadb() else { return };
    a_state_of_the_first_schema_goes_on(&place).await;
}

/// Its events and leases stay, and what is written now stands beside them.
async fn a_state_of_the_first_schema_goes_on(place: &Place) {
    place.restore(&EarlierState::new("2026-11", "every-server")).await;
    let db = place.raw().await;
    let of_table = if place.url.is_some() { " ON events" } else { "" };
    for sql in [
        format!("DROP INDEX events_id{of_table}"),
        "ALTER TABLE events DROP COLUMN id".into(),
        "ALTER TABLE leases DROP COLUMN token".into(),
        "DELETE FROM seaql_migrations WHERE version LIKE 'm0002%'".into(),
    ] {
        db.execute_unprepared(&sql).await.unwrap();
    }
    let events = count(&db, "SELECT COUNT(*) FROM events").await;
    db.close().await.unwrap();

    let store = place.open().await;
    store.append_events(&[notice("new")]).await.unwrap();
    let kept = store.events(EventNumber(0), &EventFilter::default(), u32::MAX).await.unwrap();
    assert_eq!((kept.len(), &kept[events].kind), (events + 1, &notice("new").kind));
    let held = store.server(&name("local-cut-off")).await.unwrap().expect("it is there").subject();
    let old = store.lease(held).await.unwrap().expect("somebody held it");
    assert_eq!((old.owner.doing.as_str(), old.token), ("up", None));
    let me = (LeaseToken::new(), owner(2));
    assert_eq!(acquire_from(&store, held, me.clone(), MINUTE, Liveness::Alive).await, Some(old.owner));
    assert_eq!(acquire_from(&store, held, me.clone(), MINUTE, Liveness::Dead).await, None);
    assert!(store.renew_lease(held, me.0, MINUTE).await.unwrap());
}

#[tokio::test]
async fn a_state_of_an_earlier_release_goes_on_on_sqlite() {
    for state in EarlierState::all("every-server") {
        for crash in CRASHES {
            a_state_of_an_earlier_release_goes_on(&Place::sqlite(), &state, crash).await;
        }
    }
}

#[tokio::test]
async fn a_state_of_an_earlier_release_goes_on_on_mariadb() {
    for state in EarlierState::all("every-server") {
        for crash in CRASHES {
            let Some(place) = Place::mariadb() else { return };
            a_state_of_an_earlier_release_goes_on(&place, &state, crash).await;
        }
    }
}

/// What a change of the schema that was cut off had done already: nothing, or the first half of making a table anew.
const CRASHES: [&[&str]; 3] = [
    &[],
    &["ALTER TABLE servers RENAME TO servers_m0002"],
    &[
        "ALTER TABLE secrets RENAME TO secrets_m0002",
        "CREATE TABLE secrets (owner_id varchar(36) NOT NULL, name varchar(255) NOT NULL, owner_kind varchar(16) NOT NULL, \
         sealed mediumblob NOT NULL, PRIMARY KEY (owner_id, name))",
        "INSERT INTO secrets SELECT '', name, '', sealed FROM secrets_m0002 WHERE owner = ''",
    ],
];

/// Each server has an id of its own, by which all is found that was known by its name.
async fn a_state_of_an_earlier_release_goes_on(place: &Place, state: &EarlierState, crash: &[&str]) {
    place.restore(state).await;
    let db = place.raw().await;
    for sql in crash {
        db.execute_unprepared(sql).await.unwrap();
    }
    let of_servers = count(&db, "SELECT COUNT(*) FROM events WHERE server IS NOT NULL").await;
    let servers_of = if crash.iter().any(|sql| sql.contains("servers_m0002")) { "servers_m0002" } else { "servers" };
    let servers = count(&db, &format!("SELECT COUNT(*) FROM {servers_of}")).await;
    let [leases, children] =
        [count(&db, "SELECT COUNT(*) FROM leases").await, count(&db, "SELECT COUNT(*) FROM children").await];
    let secrets = count(&db, "SELECT COUNT(*) FROM secrets").await.max(count_if_there(&db, "secrets_m0002").await);
    db.close().await.unwrap();

    let store = place.open().await;
    let listed = store.overview().await.unwrap();
    let ids: BTreeSet<_> = listed.iter().map(|server| server.id).collect();
    assert_eq!((listed.len(), ids.len()), (servers, servers));
    let (mut found, mut seen) = ([0; 3], 0);
    for overview in &listed {
        let server = store.server(&overview.name).await.unwrap().expect("it is listed");
        let subject = server.subject();
        assert_eq!((server.id, &server.desired.name), (overview.id, &server.name));
        let creation = store.operation(server.created_by).await.unwrap().expect("its creation is kept");
        assert_eq!((creation.subject, creation.name.as_str()), (subject, server.name.as_str()));
        let latest = store.latest_operation(subject).await.unwrap().expect("its creation at least");
        assert_eq!(Some(latest.id), overview.operation.as_ref().map(|operation| operation.id));
        assert_eq!(
            store.latest_operation_called(SubjectKind::Server, server.name.as_str()).await.unwrap(),
            Some(latest)
        );
        for filter in [
            EventFilter { subject: Some(subject), ..EventFilter::default() },
            EventFilter { server: Some(server.name.clone()), ..EventFilter::default() },
        ] {
            let events = store.events(EventNumber(0), &filter, u32::MAX).await.unwrap();
            assert!(
                events
                    .iter()
                    .all(|event| event.subject == Some(subject) && event.server.as_ref() == Some(&server.name))
            );
            seen += events.len();
        }
        found[0] += usize::from(store.lease(subject).await.unwrap().is_some());
        found[1] += store.children(subject).await.unwrap().len();
        for secret in ["client-key", "bootstrap-host-key", "promises-proved"] {
            found[2] += usize::from(store.secret(Some(subject), secret).await.unwrap().is_some());
        }
    }
    assert_eq!(seen, 2 * of_servers, "an event is about no server that is there");
    let own = store.secret_names().await.unwrap();
    for name in &own {
        store.secret(None, name).await.unwrap().expect("it is listed");
        found[2] += 1;
    }
    assert_eq!(found, [leases, children, secrets]);

    // What is stored anew is found as well, beside what is not.
    let server = store.server(&listed[0].name).await.unwrap().expect("it is listed");
    store.put_secret(Some(server.subject()), "client-key", &Secret::new("new")).await.unwrap();
    assert_eq!(store.secret(Some(server.subject()), "client-key").await.unwrap(), Some(Secret::new("new")));
    store.close().await;

    // Cut off after its last act, and before that was noted.
    let db = place.raw().await;
    db.execute_unprepared("DELETE FROM seaql_migrations WHERE version LIKE 'm0003%'").await.unwrap();
    db.close().await.unwrap();
    let store = place.open().await;
    assert_eq!(store.overview().await.unwrap(), listed);
    assert_eq!(store.secret(Some(server.subject()), "client-key").await.unwrap(), Some(Secret::new("new")));
}

async fn count(db: &DatabaseConnection, sql: &str) -> usize {
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap().unwrap();
    usize::try_from(row.try_get_by_index::<i64>(0).unwrap()).unwrap()
}

/// Rows of a table; 0 if there is none.
async fn count_if_there(db: &DatabaseConnection, table: &str) -> usize {
    match db
        .query_one_raw(Statement::from_string(db.get_database_backend(), format!("SELECT COUNT(*) FROM {table}")))
        .await
    {
        Ok(row) => usize::try_from(row.unwrap().try_get_by_index::<i64>(0).unwrap()).unwrap(),
        Err(_) => 0,
    }
}
