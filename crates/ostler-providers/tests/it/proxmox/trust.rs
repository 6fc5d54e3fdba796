//! The right certificate, the right token, and what each says that is not.

use super::lab::{Lab, place, said};
use ostler_core::{Blame, ports::Provider, spec::ProxmoxTrust};
use ostler_testkit::pve::{FakeNode, TOKEN_ID};

#[tokio::test]
async fn the_cluster_s_authority_is_as_good_as_a_fingerprint() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    let endpoint = &mut place(&mut order).endpoint;
    endpoint.trust = ProxmoxTrust::Authority(lab.node.authority().into());
    assert_eq!(lab.findings(&order).await, [""; 0]);
    let stranger = FakeNode::start().await.unwrap();
    place(&mut order).endpoint.trust = ProxmoxTrust::Authority(stranger.authority().into());
    let refusal = lab.refusal(&order).await;
    assert!(
        refusal.starts_with(&format!("the certificate of {} is not signed by its authority", lab.node.url())),
        "{refusal}"
    );
}

#[tokio::test]
async fn another_certificate_is_refused_with_both_fingerprints() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    place(&mut order).endpoint.trust = ProxmoxTrust::Fingerprint("ab".repeat(32));
    let pinned = ["AB"; 32].join(":");
    let expected =
        format!("{} shows the certificate {}, but {pinned} is pinned", lab.node.url(), lab.node.fingerprint());
    assert_eq!(lab.refusal(&order).await, expected);
    assert_eq!(lab.node.requests(), [], "it never learned the token");
}

#[tokio::test]
async fn a_wrong_token_says_so_and_is_never_shown() {
    for (token, words) in [
        (
            format!("{TOKEN_ID}=00000000-dead-beef-0000-000000000000"),
            "`pve1` does not accept the token: invalid token value!",
        ),
        (
            "ann@pam!x=00000000-dead-beef-0000-000000000000".into(),
            "`pve1` does not accept the token: no such token 'ann@pam!x'",
        ),
    ] {
        let lab = Lab::new().await.with_token(&token);
        assert_eq!(lab.refusal(&lab.order()).await, words);
    }
    let lab = Lab::new().await.with_token("dead-beef");
    let failure = lab.provider.preflight(&lab.order()).await.unwrap_err();
    assert_eq!(said(&failure), "the token of `pve1` does not have the form `USER@REALM!TOKENID=UUID`");
    assert!(failure.blame == Blame::Configuration && !failure.hints.is_empty());
}

#[tokio::test]
async fn no_route_is_one_message() {
    let lab = Lab::new().await;
    let mut order = lab.order();
    place(&mut order).endpoint.url = "https://127.0.0.1:9".into();
    let refusal = lab.refusal(&order).await;
    assert!(refusal.starts_with("https://127.0.0.1:9 can't be reached: "), "{refusal}");
}
