//! The schema of a database that another version, or a crash, has left.

use crate::fixtures::*;
use ostler_core::{Blame, Classify, ports::Store, secret::Secret};
use sea_orm::ConnectionTrait;

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
