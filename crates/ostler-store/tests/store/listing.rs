//! How long it takes to open and to list. The figures are printed, for `cargo test -- --nocapture`; only an optimised build
//! is held to the budget: 10 ms to open, 15 ms to list 1,000 servers.

use crate::fixtures::*;
use ostler_core::{ids::EventNumber, ports::Store};
use std::time::{Duration, Instant};

const SERVERS: usize = 1000;

#[tokio::test]
async fn a_thousand_servers_on_sqlite() {
    listing("sqlite", &Place::sqlite()).await;
}

#[tokio::test]
async fn a_thousand_servers_on_mariadb() {
    let Some(place) = Place::mariadb() else { return };
    listing("mariadb", &place).await;
}

async fn listing(database: &str, place: &Place) {
    let store = place.open().await;
    let begun = Instant::now();
    for number in 0..SERVERS {
        let name = format!("server-{number:04}");
        store.put_server(&server(&name)).await.unwrap();
        // History must not make the listing slower.
        for _ in 0..2 {
            store.begin_operation(&operation(&name)).await.unwrap();
        }
    }
    let filled = begun.elapsed();
    let begun = Instant::now();
    for _ in 0..100 {
        store.append_events(&[notice("tick")]).await.unwrap();
    }
    let appended = begun.elapsed() / 100;
    store.close().await;

    let mut opening = Duration::MAX;
    let mut listing = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let store = place.open().await;
        opening = opening.min(begun.elapsed());
        let begun = Instant::now();
        let servers = store.overview().await.unwrap();
        listing = listing.min(begun.elapsed());
        assert_eq!(servers.iter().filter(|server| server.operation.is_some()).count(), SERVERS);
        assert_eq!(store.last_event().await.unwrap(), EventNumber(100));
        store.close().await;
    }
    println!(
        "{database}: open {opening:.1?}, overview() of {SERVERS} servers {listing:.1?}, \
         one event {appended:.1?}, {SERVERS} servers with two operations each written in {filled:.1?}"
    );
    if !cfg!(debug_assertions) && database == "sqlite" {
        assert!(opening < Duration::from_millis(10), "opening took {opening:?}");
        assert!(listing < Duration::from_millis(15), "listing took {listing:?}");
    }
}
