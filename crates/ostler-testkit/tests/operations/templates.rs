//! A template is made, disturbed, then gone on with: in the end it is a template, or nothing.

use crate::{
    bench::{Bench, Verb, empty, web},
    cases::{Case, at, block_on, cases, each},
    creating::disturb,
};
use ostler_core::{
    model::{OperationKind, StepState},
    spec::TemplateContents,
};
use ostler_testkit::world::{Effect, Moment, set_step};

pub fn template() -> Verb {
    let digest = TemplateContents::of(&web(), &Default::default(), "of this test").digest;
    Verb::Template(Box::new(ostler_core::spec::ServerSpec { template: Some(digest), ..web() }))
}

/// Disturbs the making, goes on with it, and compares with an undisturbed one.
fn ends_as_a_template(start: &Bench, cases: &[Case]) {
    let expected = block_on(async {
        let undisturbed = start.copy();
        undisturbed.must(&template()).await;
        undisturbed.assert_events_end().await;
        undisturbed.snapshot().await
    });
    each(cases, async |case| {
        let bench = start.copy();
        disturb(&bench, &template(), &case.fault).await;
        bench.must(&case.then).await;
        if matches!(case.then, Verb::Destroy) {
            return bench.assert_nothing_left().await;
        }
        // One that was cut off while its identity was taken away is made anew.
        bench.assert_log(1..=2);
        let machine = bench.world().machine("web").expect("it is there");
        let guest = machine.guest.expect("it was booted");
        assert!(machine.template && !machine.on && machine.seed.is_none());
        assert_eq!((guest.user.as_str(), guest.host_key.as_str(), guest.authorized_keys.len()), ("", "", 0));
        assert_eq!(bench.snapshot().await, expected);
        // And it stays what it is.
        bench.must(&template()).await;
        bench.must(&Verb::Resume).await;
        assert_eq!(bench.snapshot().await, expected);
    });
}

#[test]
fn half_done_calls_and_kills_before_that() {
    let started = |kind, step: &str| at(&set_step(kind, step, StepState::Started), Moment::After, Effect::Kill);
    let faults = vec![
        at("provider.create", Moment::Middle, Effect::Kill),
        started(OperationKind::Create, "ssh"),
        started(OperationKind::Apply, "ansible"),
        at("provider.make_template", Moment::After, Effect::Kill),
        at("session.run generalise", Moment::Before, Effect::Kill),
    ];
    ends_as_a_template(&empty(), &cases(faults, &[Verb::Resume, template()]));
}

#[test]
fn no_server_of_a_spec_is_ever_taken_for_it() {
    let bench = empty();
    block_on(async {
        bench.must(&template()).await;
        let before = bench.snapshot().await;
        let refusal = bench.run(&Verb::Up(Box::new(web())), None).await.result.expect_err("it is a template");
        assert!(refusal.message.contains("servers.web.template"), "{refusal:?}");
        assert_eq!(bench.snapshot().await, before);
        bench.must(&Verb::Destroy).await;
        bench.assert_nothing_left().await;
    });
}
