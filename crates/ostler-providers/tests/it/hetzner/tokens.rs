//! Requests that are refused for a while, and a token that is never shown.

use super::lab::{IMPATIENT, Lab, provider, said};
use ostler_core::ports::Provider;
use ostler_providers::hetzner::Patience;
use ostler_testkit::hcloud::{Fault, TOKEN};
use std::time::{Duration, Instant};

#[tokio::test]
async fn what_is_refused_for_a_while_is_asked_for_again() {
    let lab = Lab::new().await;
    lab.cloud.fail_times("POST /servers", 30, Fault::Error("rate_limit_exceeded", "limit reached"));
    lab.cloud.fail_times("POST /firewalls", 30, Fault::Error("locked", "locked"));
    for code in ["conflict", "bad_gateway", "timeout", "unavailable"] {
        lab.cloud.fail_times("POST /ssh_keys", 1, Fault::Nothing);
        lab.cloud.fail_times("GET /pricing", 2, Fault::Error(code, "later"));
        lab.findings(&lab.order()).await;
    }
    lab.create(&mut lab.order()).await.unwrap();
    assert_eq!(lab.cloud.requests_for("POST /servers").len(), 31);
    for code in ["resource_locked", "token_readonly", "deprecated_api_endpoint", "uniqueness_error"] {
        let before = lab.cloud.requests_for("GET /pricing").len();
        lab.cloud.fail("GET /pricing", Fault::Error(code, "never"));
        lab.provider.preflight(&lab.order()).await.unwrap_err();
        assert_eq!(lab.cloud.requests_for("GET /pricing").len(), before + 1, "{code}");
    }
}

#[tokio::test]
async fn a_token_without_requests_is_masked_in_the_vendors_own_words() {
    let impatient = Patience { waits: Duration::ZERO, ..IMPATIENT };
    let lab = Lab::new().await.with_patience(impatient);
    lab.cloud.rate_limit(3600, 0);
    let failure = lab.provider.preflight(&lab.order()).await.unwrap_err();
    let words = said(&failure);
    assert!(words.contains("for token '********...' reached"), "{words}");
    let shown = format!("{failure:?}");
    assert!(!shown.contains(&TOKEN[..12]), "{shown}");
}

#[tokio::test]
async fn requests_of_a_token_are_counted_together_and_waited_for() {
    let lab = Lab::new().await;
    // Another Ostler of the same state; the vendor tells this one that next to nothing is left.
    let other = provider(&lab.dir, TOKEN, IMPATIENT);
    lab.cloud.rate_limit(3600, 8);
    lab.provider.preflight(&lab.order()).await.unwrap();
    let begun = Instant::now();
    other.preflight(&lab.order()).await.unwrap();
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(lab.dir.path().join("hetzner").read_dir().unwrap().count() == 1);
}
