//! Everything that stands in the way is found before anything is touched.

use super::lab::{Lab, said, tcp};
use ostler_core::ports::Provider;
use ostler_testkit::hcloud::READ_ONLY_TOKEN;

#[tokio::test]
async fn all_findings_at_once() {
    let lab = Lab::new().await.with_token(READ_ONLY_TOKEN);
    let mut order = lab.order_with(|options| {
        options.types = vec!["cx22".into(), "cpx11".into(), "cx99".into()];
        options.locations = vec!["fsn1".into(), "mars1".into()];
    });
    order.openings.push(tcp(25));
    assert_eq!(
        lab.findings(&order).await,
        [
            "the token of `hc` may only read",
            "Hetzner has no server type `cx99`",
            "Hetzner has no location `mars1`",
            "warning: cx22 can't be ordered since 2026-02-01",
            "warning: cpx11 can't be ordered from 2099-12-31 on",
            "warning: Hetzner lets no new account send to TCP 25 and 465: mail that the server sends does not arrive",
        ]
    );
    assert_eq!(lab.left(), [].into());
}

#[tokio::test]
async fn what_can_not_be_had_anywhere() {
    let lab = Lab::new().await;
    let order = lab.order_with(|options| options.locations = vec!["ash".into()]);
    assert_eq!(lab.findings(&order).await, ["none of cx23 can be ordered in ash"]);
    let order = lab.order_with(|options| options.types = vec!["cx22".into()]);
    let gone = ["warning: cx22 can't be ordered since 2026-02-01", "none of cx22 can be ordered in fsn1"];
    assert_eq!(lab.findings(&order).await, gone);
    lab.cloud.sell_out("cx23", "fsn1");
    let order = lab.order();
    assert_eq!(lab.findings(&order).await, ["none of these can be had at Hetzner now: cx23 in fsn1"]);
    let order = lab.order_with(|options| options.locations.push("hel1".into()));
    assert_eq!(lab.findings(&order).await, [""; 0]);
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_said_without_it() {
    let lab = Lab::new().await.with_token("nobodys-token-0123456789");
    let failure = lab.provider.preflight(&lab.order()).await.unwrap_err();
    assert_eq!(said(&failure), "`hc` does not accept the token: unable to authenticate");
    assert!(!failure.hints.is_empty());
    let lab = Lab::new().await.with_token("two\nlines");
    let failure = lab.provider.preflight(&lab.order()).await.unwrap_err();
    assert_eq!(said(&failure), "the token of `hc` holds characters that no token has");
    assert!(lab.cloud.requests().is_empty());
}
