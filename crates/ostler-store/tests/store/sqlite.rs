//! What a state directory looks like from outside, and what becomes of one that was tampered with.

use crate::fixtures::*;
use ostler_core::{Blame, Classify, ports::Store, secret::Secret};
use ostler_store::{SeaStore, StoreError};
use sea_orm::ConnectionTrait;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const SECRET: &str = "correct horse battery staple";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn with_secret(place: &Place) -> SeaStore {
    let store = place.open().await;
    store.put_secret(None, "token", &Secret::new(SECRET)).await.unwrap();
    store
}

#[tokio::test]
async fn everything_is_its_owners_alone() {
    let place = Place::sqlite();
    let store = with_secret(&place).await;
    assert_eq!(mode(&place.dir()), 0o700);
    let mut files: Vec<_> = fs::read_dir(place.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["key", "state.db", "state.db-shm", "state.db-wal"]);
    for file in files {
        assert_eq!(mode(&place.dir().join(file)), 0o600);
    }
    store.close().await;
    assert!(!place.dir().join("state.db-wal").exists(), "closing tidies up");
}

#[tokio::test]
async fn a_secret_is_nowhere_in_the_clear() {
    let place = Place::sqlite();
    let store = with_secret(&place).await;
    let assert_absent = || {
        for entry in fs::read_dir(place.dir()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!found, "{} holds the secret", path.display());
        }
    };
    assert_absent();
    store.close().await;
    assert_absent();
    assert_eq!(place.open().await.secret(None, "token").await.unwrap(), Some(Secret::new(SECRET)));
}

#[tokio::test]
async fn swapped_secrets_are_noticed() {
    let place = Place::sqlite();
    let store = with_secret(&place).await;
    store.put_secret(Some(subject("web-1")), "token", &Secret::new("other")).await.unwrap();
    let db = place.raw().await;
    let swap = "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE owner_id <> '') WHERE owner_id = ''";
    db.execute_unprepared(swap).await.unwrap();
    db.close().await.unwrap();
    let error = store.secret(None, "token").await.unwrap_err();
    assert!(error.message.starts_with("secret `token` in "), "{error}");
    assert!(error.message.ends_with(" is damaged"), "{error}");
    assert!(store.secret(Some(subject("web-1")), "token").await.is_ok());
}

#[tokio::test]
async fn another_key_is_told_from_a_damaged_secret() {
    let place = Place::sqlite();
    with_secret(&place).await.close().await;
    fs::write(place.dir().join("key"), [7; 32]).unwrap();
    let store = place.open().await;
    for error in [
        store.secret(None, "token").await.unwrap_err(),
        store.put_secret(None, "token", &Secret::new("new")).await.unwrap_err(),
    ] {
        assert!(error.message.contains("does not match the secrets in"), "{error}");
        assert_eq!(error.blame, Blame::User);
        assert!(error.advice(|action| format!("{action:?}")).unwrap().contains("from your backup"));
    }
}

#[tokio::test]
async fn a_lost_key_is_not_replaced_by_a_new_one() {
    let place = Place::sqlite();
    with_secret(&place).await.close().await;
    fs::remove_file(place.dir().join("key")).unwrap();
    let store = place.open().await;
    let error = store.put_secret(None, "other", &Secret::new("x")).await.unwrap_err();
    assert!(error.message.ends_with("is missing"), "{error}");
    assert!(!place.dir().join("key").exists());
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let place = Place::sqlite();
    with_secret(&place).await.close().await;
    let key = place.dir().join("key");
    for (mode, shown) in [(0o640, "640"), (0o604, "604"), (0o620, "620")] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let error = place.open().await.secret(None, "token").await.unwrap_err();
        assert!(error.message.ends_with(&format!("can be read by others (mode {shown})")), "{error}");
        assert_eq!(error.advice(|action| format!("{action:?}")).unwrap(), format!("run `chmod 600 {}`", key.display()));
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(place.open().await.secret(None, "token").await.is_ok());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, [7; 33]).unwrap();
    let error = place.open().await.secret(None, "token").await.unwrap_err();
    assert!(error.message.ends_with("does not hold 32 bytes"), "{error}");
}

#[tokio::test]
async fn reading_what_is_not_there_makes_no_key() {
    let place = Place::sqlite();
    assert_eq!(place.open().await.secret(None, "token").await.unwrap(), None);
    assert!(!place.dir().join("key").exists());
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    let place = Place::sqlite();
    let store = place.open().await;
    store.put_server(&server("web-1")).await.unwrap();
    place.raw().await.execute_unprepared("UPDATE servers SET desired = '{'").await.unwrap();
    let error = store.server(&name("web-1")).await.unwrap_err();
    assert_eq!(error.message, format!("server web-1 in {}/state.db can't be read", place.dir().display()));
    assert_eq!(error.causes.len(), 1);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_named() {
    let place = Place::sqlite();
    fs::write(place.dir(), "a file").unwrap();
    let Err(error) = SeaStore::open_sqlite(&place.dir()).await else { panic!("it was opened") };
    assert_eq!(error.to_string(), format!("can't use {}", place.dir().display()));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let place = Place::sqlite();
    fs::create_dir(place.dir()).unwrap();
    fs::write(place.dir().join("state.db"), "not a database, but long enough to have a header".repeat(100)).unwrap();
    let Err(error) = SeaStore::open_sqlite(&place.dir()).await else { panic!("it was opened") };
    assert!(matches!(error, StoreError::Open { .. }));
    let failure = ostler_core::Failure::from(error);
    assert_eq!(failure.causes, ["file is not a database"]);
}

#[tokio::test]
async fn a_password_in_the_url_is_never_shown() {
    for url in [
        "mysql://u:hunter2@127.0.0.1:1/db",
        "mysql://u:hunter2@127.0.0.1:1",
        "http//u:hunter2@x",
        "mysql://u:hunter2@[/",
    ] {
        let Err(error) = SeaStore::connect(&Secret::new(url), Path::new("/nonexistent/key")).await else {
            panic!("{url}")
        };
        assert_eq!(error.blame(), Blame::Configuration);
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(!format!("{:?}", ostler_core::Failure::from(error)).contains("hunter2"));
    }
}
