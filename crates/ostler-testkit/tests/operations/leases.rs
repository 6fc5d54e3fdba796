//! Who works on a server, over a real store: nobody beside a process that lives, whatever the clock says.

use crate::{
    bench::{liveness, this_owner, up, web},
    cases::block_on,
};
use ostler_core::{
    Result,
    ids::LeaseToken,
    operation::{Interrupt, Leaser},
    ports::{LeaseAnswer, LeaseOwner, Liveness, Store},
    subject::{Subject, SubjectKind},
};
use ostler_process::ProcessId;
use ostler_store::SeaStore;
use ostler_testkit::world::{Call, Effect, Fault, Faults, FaultyStore, Moment};
use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

const TTL: Duration = Duration::from_millis(900);

async fn store(fault: Option<Fault>) -> (tempfile::TempDir, Arc<FaultyStore<SeaStore>>) {
    let dir = tempfile::tempdir().unwrap();
    let store = SeaStore::open_sqlite(dir.path()).await.unwrap();
    (dir, Arc::new(FaultyStore { store, faults: Arc::new(Faults::new(fault, Interrupt::new().0)) }))
}

fn leaser(store: &Arc<FaultyStore<SeaStore>>) -> Leaser {
    Leaser { store: store.clone(), owner: this_owner(&up()), ttl: TTL, liveness: Arc::new(liveness) }
}

/// The server that every test works on, which need not exist.
async fn web_in(store: &dyn Store) -> Subject {
    store.claim_name(SubjectKind::Server, web().name.as_str()).await.unwrap()
}

async fn nothing() -> Result<()> {
    Ok(())
}

#[test]
fn a_process_that_asks_twice_is_refused() {
    block_on(async {
        let (_dir, store) = store(None).await;
        let (one, another) = (leaser(&store), leaser(&store));
        let name = web().name;
        let inner = one.hold(&name, async {
            for leaser in [&one, &another] {
                let refused = leaser.hold(&web().name, nothing()).await.expect_err("it is held");
                assert!(refused.message.contains(&format!("process {}", std::process::id())), "{refused:?}");
            }
            Ok(())
        });
        inner.await.unwrap();
        another.hold(&web().name, nothing()).await.unwrap();
    });
}

#[test]
fn work_that_was_dropped_leaves_the_lease_to_the_next_one() {
    block_on(async {
        let (_dir, store) = store(None).await;
        let leaser = leaser(&store);
        let name = web().name;
        let never = leaser.hold(&name, std::future::pending::<Result<()>>());
        assert!(tokio::time::timeout(TTL / 3, never).await.is_err());
        leaser.hold(&name, nothing()).await.unwrap();
    });
}

#[test]
fn a_process_that_lives_keeps_its_lease_when_the_clock_says_otherwise() {
    block_on(async {
        let (_dir, store) = store(None).await;
        let mut other = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        let ProcessId { pid, start_ticks, boot } = ProcessId::of(other.id()).unwrap().unwrap();
        let owner = LeaseOwner { pid, start_ticks, boot, ..this_owner(&up()) };
        // As after a suspend, or when somebody set the clock.
        let answer = store.acquire_lease(web_in(&*store).await, LeaseToken::new(), &owner, Duration::ZERO, None).await;
        assert_eq!(answer.unwrap(), LeaseAnswer::Granted);
        let leaser = leaser(&store);
        let refused = leaser.hold(&web().name, nothing()).await.expect_err("it is held");
        assert!(refused.message.contains(&format!("process {pid}")), "{refused:?}");
        // Of one on another machine nothing is known, so there the clock counts.
        let unknown = |_: &LeaseOwner| Liveness::Unknown;
        other.kill().unwrap();
        other.wait().unwrap();
        leaser.hold(&web().name, nothing()).await.unwrap();
        store.acquire_lease(web_in(&*store).await, LeaseToken::new(), &owner, Duration::ZERO, None).await.unwrap();
        Leaser { liveness: Arc::new(unknown), ..leaser }.hold(&web().name, nothing()).await.unwrap();
    });
}

/// Holds a lease for longer than it lasts without renewal, while so many renewals fail.
async fn held_with_failures(times: u32) -> (Result<()>, Duration) {
    let fault = Fault {
        call: Call::Named("store.renew_lease".into()),
        moment: Moment::Before,
        effect: Effect::FailTimes(times),
    };
    let (_dir, store) = store(Some(fault)).await;
    let begun = Instant::now();
    let work = async {
        tokio::time::sleep(TTL * 2).await;
        Ok(())
    };
    (leaser(&store).hold(&web().name, work).await, begun.elapsed())
}

#[test]
fn a_renewal_that_fails_is_tried_again_for_as_long_as_the_lease_holds() {
    block_on(async {
        held_with_failures(3).await.0.unwrap();
        let (result, time) = held_with_failures(u32::MAX).await;
        let failure = result.expect_err("it was never renewed");
        assert_eq!(failure.message, "the lease on web can't be renewed");
        assert!(time > TTL * 8 / 10 && time < TTL * 2, "the work was dropped after {time:?}");
    });
}

#[test]
fn work_ends_when_somebody_else_took_the_lease() {
    block_on(async {
        let (_dir, store) = store(None).await;
        let owner = LeaseOwner { machine: "another".into(), ..this_owner(&up()) };
        let taken = async {
            tokio::time::sleep(TTL / 10).await;
            let (web, ttl) = (web_in(&*store).await, Duration::from_secs(60));
            let ours = store.lease(web).await.unwrap();
            store.acquire_lease(web, LeaseToken::new(), &owner, ttl, ours.as_ref()).await.unwrap();
            std::future::pending::<Result<()>>().await
        };
        let failure = leaser(&store).hold(&web().name, taken).await.expect_err("it was taken over");
        assert_eq!(failure.message, "the lease on web was taken over by another Ostler");
        let holder = store.lease(web_in(&*store).await).await.unwrap().expect("it is the other one's");
        assert_eq!(holder.owner.machine, "another");
    });
}

#[test]
fn a_name_of_which_nothing_was_made_is_free_again() {
    block_on(async {
        let (_dir, store) = store(None).await;
        let leaser = leaser(&store);
        let before = web_in(&*store).await;
        // Nothing was made of it, so its name is free again.
        leaser.hold(&web().name, nothing()).await.unwrap();
        assert_eq!(store.subject(SubjectKind::Server, "web").await.unwrap(), None);
        // Whoever asked for the name before that comes to hold a lease on what nobody else will ever mean.
        let token = LeaseToken::new();
        let answer = store.acquire_lease(before, token, &this_owner(&up()), TTL, None).await.unwrap();
        assert_eq!(answer, LeaseAnswer::Granted);
        let name = web().name;
        let held = leaser.hold(&name, async {
            let now = web_in(&*store).await;
            assert_ne!(now, before);
            assert!(store.lease(now).await.unwrap().is_some());
            Ok(())
        });
        held.await.unwrap();
    });
}
