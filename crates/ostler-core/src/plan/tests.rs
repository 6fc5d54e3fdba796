//! What `up` would do, for everything that can be known of a server.

use super::*;
use crate::{
    ids::OperationId,
    model::{OperationKind, StepRecord, TunnelChange},
    spec::{Forward, ImageRef, LocalOptions, ProviderOptions, SecretRef, Settings},
    testing::{record, server},
};

fn finding(fatal: bool, message: &str) -> Finding {
    Finding { fatal, message: message.into(), hints: vec!["mend it".into()] }
}

/// Steps of a creation.
const STEPS: [&str; 5] = ["keys", "image", "machine", "boot", "address"];

/// A server that was made for `made_for`, whose creation is in `state`, with `done` of its steps.
fn known(made_for: &ServerSpec, state: OperationState, done: usize, power: Power) -> Known {
    let mut steps = STEPS.map(StepRecord::pending).to_vec();
    steps.iter_mut().take(done).for_each(|step| step.state = StepState::Done);
    let recorded = record(made_for);
    let creation = OperationRecord {
        id: OperationId::new(),
        subject: recorded.subject(),
        name: made_for.name.to_string(),
        kind: OperationKind::Create,
        state,
        plan: "{}".into(),
        outputs: "{}".into(),
        steps,
        failure: None,
        started: jiff::Timestamp::UNIX_EPOCH,
        ended: None,
    };
    let observed = Observed { power, ssh: None, detail: String::new(), forwards: Vec::new(), slowness: 1 };
    Known { recorded: Some((recorded, creation)), observed: Some(observed), ..Known::default() }
}

fn finished(made_for: &ServerSpec, power: Power) -> Known {
    known(made_for, OperationState::Succeeded, STEPS.len(), power)
}

/// The actions in short, or why there are none.
fn check(spec: &ServerSpec, known: &Known) -> String {
    let plan = plan(spec, known);
    match plan.refused {
        Some(refusal) => {
            assert_eq!(plan.actions, [], "a refused plan does nothing");
            assert!(!refusal.hints.is_empty(), "a refusal says what to do");
            format!("refused ({:?}): {}", refusal.blame, refusal.message)
        }
        None => plan.actions.iter().map(short).collect::<Vec<_>>().join(", "),
    }
}

fn short(action: &Action) -> String {
    match action {
        Action::Create { template: None, .. } => "create".into(),
        Action::Create { template: Some(template), .. } => format!("create from {template}"),
        Action::Adopt => "adopt".into(),
        Action::ResumeCreate { step } => format!("resume at {step}"),
        Action::Undo => "undo".into(),
        Action::Reshape { changes } => format!("reshape ({})", changes.join(", ")),
        Action::Adjust { changes } => format!("adjust ({})", changes.join(", ")),
        Action::Start => "start".into(),
        Action::Converge { .. } => "converge".into(),
        Action::Tunnel(tunnel) => format!("tunnel {}", tunnel.hostname),
    }
}

#[test]
fn a_new_server() {
    let web = server("web");
    assert_eq!(check(&web, &Known::default()), "create, converge");
    let known = Known { template: Some("template-1 (VM 100)".into()), ..Known::default() };
    assert_eq!(check(&web, &known), "create from template-1 (VM 100), converge");
    let tunnel = TunnelPlan { hostname: "ssh.example.com".into(), changes: vec![TunnelChange::CloseSsh] };
    let known = Known { tunnel: Some(tunnel), ..Known::default() };
    assert_eq!(check(&web, &known), "create, converge, tunnel ssh.example.com");
    let known = Known { preflight: vec![finding(true, "no disk space"), finding(false, "slow")], ..Known::default() };
    assert_eq!(check(&web, &known), "refused (Provider): web can't be created as specified");
    let refused = plan(&web, &known);
    assert_eq!(refused.refused.unwrap().causes, ["no disk space"]);
    assert_eq!(refused.warnings, [finding(false, "slow")]);
}

#[test]
fn a_creation_that_did_not_come_to_its_end() {
    let web = server("web");
    for state in [OperationState::Running, OperationState::Failed] {
        assert_eq!(check(&web, &known(&web, state, 0, Power::Absent)), "resume at keys, converge");
        assert_eq!(check(&web, &known(&web, state, 4, Power::On)), "resume at address, converge");
    }
    let mut more_modules = web.clone();
    more_modules.modules.insert("ufw".into(), Some(Settings::new()));
    let failed = |spec| known(spec, OperationState::Failed, 4, Power::On);
    assert_eq!(check(&more_modules, &failed(&web)), "resume at address, converge");
    let mut bigger = web.clone();
    bigger.size.memory *= 2;
    assert_eq!(check(&bigger, &failed(&web)), "undo, create, converge");
}

#[test]
fn what_is_destroyed_or_half_destroyed() {
    let web = server("web");
    for state in [OperationState::Unwinding, OperationState::Stuck] {
        assert_eq!(check(&web, &known(&web, state, 4, Power::Off)), "refused (User): web is half destroyed");
    }
    assert_eq!(check(&web, &known(&web, OperationState::Undone, 0, Power::Absent)), "create, converge");
}

#[test]
fn a_finished_server() {
    let web = server("web");
    assert_eq!(check(&web, &finished(&web, Power::On)), "converge");
    assert_eq!(check(&web, &finished(&web, Power::Off)), "start, converge");
    let gone = "refused (Provider): the machine of web is gone, though Ostler did not remove it";
    assert_eq!(check(&web, &finished(&web, Power::Absent)), gone);
}

#[test]
fn changed_hardware_of_a_finished_server() {
    let web = server("web");
    let mut bigger = web.clone();
    bigger.size.memory *= 2;
    bigger.provider = ProviderOptions::Local(LocalOptions { forward: vec![Forward { host: None, guest: 80 }] });
    for power in [Power::On, Power::Off] {
        let mut known = finished(&web, power);
        known.reshape.changes = vec!["memory 1 GiB -> 2 GiB".into()];
        assert_eq!(check(&bigger, &known), "reshape (memory 1 GiB -> 2 GiB), converge");
        known.reshape.adjustments = vec!["backups on".into()];
        assert_eq!(check(&bigger, &known), "reshape (memory 1 GiB -> 2 GiB), adjust (backups on), converge");
        known.reshape.findings = vec![finding(true, "disks can't shrink")];
        assert_eq!(check(&bigger, &known), "refused (Provider): web can't be created as specified");
    }
}

#[test]
fn what_can_not_be_changed_while_the_machine_lives() {
    let web = server("web");
    let mut other = web.clone();
    other.image = ImageRef::Named("debian-12".into());
    other.networks.push(web.networks[0].clone());
    let refusal =
        "refused (Configuration): servers.web.image, servers.web.network: can't be changed while the machine lives";
    assert_eq!(check(&other, &finished(&web, Power::On)), refusal);
    let mut people = web.clone();
    (people.user, people.authorized_keys) = ("operator".into(), vec!["ssh-ed25519 AAAA".into()]);
    assert_eq!(check(&people, &finished(&web, Power::On)), "converge");
}

#[test]
fn a_plan_names_what_is_switched_on() {
    let mut web = server("web");
    web.modules = [("ufw".into(), Some(Settings::new())), ("swap".into(), None)].into();
    web.apps = vec!["nginx".into()];
    let actions = plan(&web, &Known::default()).actions;
    assert_eq!(
        actions[1],
        Action::Converge { modules: vec!["ufw".into()], apps: vec!["nginx".into()], params: Vec::new() }
    );
}

#[test]
fn a_plan_names_the_parameters_that_are_others_and_never_shows_them() {
    let mut web = server("web");
    let params = |password: SecretRef, port| {
        let params = [("password", Value::Secret(password)), ("port", Value::Int(port)), ("kept", Value::Bool(true))];
        BTreeMap::from([("shop".to_owned(), params.map(|(key, value)| (key.to_owned(), value)).into())])
    };
    web.app_params = params(SecretRef::Env("OLD".into()), 80);
    let mut other = web.clone();
    other.app_params = params(SecretRef::Secret("new".into()), 81);
    let plan = plan(&other, &finished(&web, Power::On));
    let Some(Action::Converge { params, .. }) = plan.actions.last() else { panic!("{plan:?}") };
    assert_eq!(params, &["shop.password", "shop.port"]);
}
