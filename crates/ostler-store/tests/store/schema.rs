//! The schema of a database that another version, or a crash, has left.

use crate::fixtures::*;
use ostler_core::{
    Blame, Classify,
    ids::{EventNumber, LeaseToken},
    ports::{EventFilter, LeaseAnswer, Liveness, Store},
    secret::Secret,
};
use sea_orm::ConnectionTrait;
use std::time::Duration;

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
    assert!(error.hint().unwrap().starts_with("upgrade"));
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
    let (held, token) = (name("web-1"), LeaseToken::new());
    let store = place.open().await;
    store.append_events(&[notice("old")]).await.unwrap();
    acquire(&store, &held, (token, owner(1)), MINUTE).await;
    store.close().await;
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
    db.close().await.unwrap();

    let store = place.open().await;
    store.append_events(&[notice("new")]).await.unwrap();
    let events = store.events(EventNumber(0), &EventFilter::default(), 10).await.unwrap();
    assert!(events.iter().map(|event| &event.kind).eq([notice("old"), notice("new")].iter().map(|event| &event.kind)));
    let old = store.lease(&held).await.unwrap().expect("somebody holds it");
    assert_eq!((&old.owner, old.token, old.expired), (&owner(1), None, false));
    let me = (LeaseToken::new(), owner(2));
    assert_eq!(acquire(&store, &held, me.clone(), MINUTE).await, LeaseAnswer::HeldBy(owner(1)));
    let answer = store.acquire_lease(&held, me.0, &me.1, MINUTE, &|lease| lease.is_free(Liveness::Dead)).await.unwrap();
    assert_eq!(answer, LeaseAnswer::Granted);
    assert!(store.renew_lease(&held, me.0, MINUTE).await.unwrap());
}
