//! What `up` would do: a pure function of the spec, what is recorded and what is observed.

use crate::{
    error::{Blame, Failure},
    hint::{Hint, Next},
    ids::ServerName,
    model::{
        Finding, Observed, OperationRecord, OperationState, Power, Price, Reshape, ServerRecord, StepState, TunnelPlan,
    },
    spec::{ServerSpec, Value},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a server before anything is decided.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The provider does not make its servers: they are there already.
    pub adopts: bool,
    /// Its record and the operation that created it.
    pub recorded: Option<(ServerRecord, OperationRecord)>,
    /// What its machine does, where there is one.
    pub observed: Option<Observed>,
    /// What changing its hardware would take, where there is a machine.
    pub reshape: Reshape,
    /// What the provider found in the way of creating it, where there is none yet.
    pub preflight: Vec<Finding>,
    /// The template that it would be cloned from, for people.
    pub template: Option<String>,
    /// What it would cost, where there is none yet and somebody sends a bill.
    pub price: Option<Price>,
    /// What its tunnel takes, where there is something to change.
    pub tunnel: Option<TunnelPlan>,
}

/// What `up` would do to one server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerPlan {
    /// Which.
    pub server: ServerName,
    /// What, in order.
    pub actions: Vec<Action>,
    /// What deserves a line.
    pub warnings: Vec<Finding>,
    /// Why nothing is done, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Failure>,
}

/// One thing that `up` would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Makes a machine.
    Create {
        /// From this template, for people; otherwise from its image.
        #[serde(skip_serializing_if = "Option::is_none")]
        template: Option<String>,
        /// What it costs.
        #[serde(skip_serializing_if = "Option::is_none")]
        price: Option<Price>,
    },
    /// Takes over a server that is there already.
    Adopt,
    /// Goes on with a creation that did not come to its end.
    ResumeCreate {
        /// The step at which it goes on.
        step: String,
    },
    /// Undoes a creation that did not come to its end, since the spec now asks for another machine.
    Undo,
    /// Shuts down, changes the virtual hardware, starts again.
    Reshape {
        /// For people: `memory 1 GiB -> 2 GiB`.
        changes: Vec<String>,
    },
    /// Changes what can be changed while it runs.
    Adjust {
        /// For people: `backups on`.
        changes: Vec<String>,
    },
    /// Starts a machine that is off.
    Start,
    /// Runs Ansible.
    Converge {
        /// Modules that are switched on.
        modules: Vec<String>,
        /// Apps.
        apps: Vec<String>,
        /// Parameters of apps, as `nginx.worker_connections`, that are others than on record. Of a secret, that means its name:
        /// whether its text has changed, only a look at the server can tell.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        params: Vec<String>,
    },
    /// Makes a tunnel, changes it, or takes it away.
    Tunnel(TunnelPlan),
}

impl ServerPlan {
    /// The same with its hints in words alone, for programs that read JSON.
    pub fn with_hints_in_words(self, called: impl Fn(&Next) -> String) -> Self {
        let warnings = self.warnings.into_iter().map(|finding| finding.in_words(&called)).collect();
        Self { warnings, refused: self.refused.map(|failure| failure.in_words(&called)), ..self }
    }
}

/// Decides.
pub fn plan(spec: &ServerSpec, known: &Known) -> ServerPlan {
    let mut plan = ServerPlan {
        server: spec.name.clone(),
        actions: Vec::new(),
        warnings: known.preflight.iter().chain(&known.reshape.findings).filter(|f| !f.fatal).cloned().collect(),
        refused: None,
    };
    if let Err(refusal) = decide(spec, known, &mut plan.actions) {
        plan.actions.clear();
        plan.refused = Some(refusal);
        return plan;
    }
    plan.actions.push(Action::Converge {
        modules: spec.modules.iter().filter(|(_, settings)| settings.is_some()).map(|(name, _)| name.clone()).collect(),
        apps: spec.apps.clone(),
        params: known.recorded.as_ref().map_or_else(Vec::new, |(record, _)| other_params(&record.desired, spec)),
    });
    plan.actions.extend(known.tunnel.clone().map(Action::Tunnel));
    plan
}

/// Parameters of apps in which `a` and `b` differ.
fn other_params(a: &ServerSpec, b: &ServerSpec) -> Vec<String> {
    let all = [a, b].map(|spec| {
        let params = spec.app_params.iter();
        params
            .flat_map(|(app, params)| params.iter().map(move |(key, value)| (format!("{app}.{key}"), value)))
            .collect()
    });
    let [a, b]: [BTreeMap<String, &Value>; 2] = all;
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names.into_iter().filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}

fn decide(spec: &ServerSpec, known: &Known, actions: &mut Vec<Action>) -> Result<(), Failure> {
    let Some((record, creation)) = &known.recorded else {
        refuse_fatal(spec, &known.preflight)?;
        actions.push(beginning(known));
        return Ok(());
    };
    let name = &spec.name;
    match creation.state {
        OperationState::Unwinding | OperationState::Stuck => {
            return Err(Failure::new(Blame::User, format!("{name} is half destroyed")).with_hint(
                Hint::from(Next::Destroy(name.clone()))
                    .with(" finishes that; then ")
                    .with(Next::UpAgain)
                    .with(" creates it from scratch"),
            ));
        }
        OperationState::Undone => {
            refuse_fatal(spec, &known.preflight)?;
            actions.push(beginning(known));
        }
        OperationState::Running | OperationState::Failed => {
            refuse_fatal(spec, &known.preflight)?;
            if other_machine(&record.desired, spec).is_empty() {
                let next = creation.steps.iter().find(|s| s.state != StepState::Done);
                actions.push(Action::ResumeCreate { step: next.map(|s| s.name.clone()).unwrap_or_default() });
            } else {
                actions.extend([Action::Undo, beginning(known)]);
            }
        }
        OperationState::Succeeded => decide_on_existing(spec, record, known, actions)?,
    }
    Ok(())
}

fn beginning(known: &Known) -> Action {
    if known.adopts {
        Action::Adopt
    } else {
        Action::Create { template: known.template.clone(), price: known.price.clone() }
    }
}

fn decide_on_existing(
    spec: &ServerSpec,
    record: &ServerRecord,
    known: &Known,
    actions: &mut Vec<Action>,
) -> Result<(), Failure> {
    let name = &spec.name;
    let power = known.observed.as_ref().map_or(Power::Absent, |o| o.power);
    if power == Power::Absent {
        return Err(Failure::new(
            Blame::Provider,
            format!("the machine of {name} is gone, though Ostler did not remove it"),
        )
        .with_hint(
            Hint::from(Next::Destroy(name.clone()))
                .with(" clears what is left of it; then ")
                .with(Next::UpAgain)
                .with(" creates it from scratch"),
        ));
    }
    // Size and forwards are changed in place; user, keys and the rest are Ansible's.
    let fixed: Vec<_> = other_machine(&record.desired, spec).into_iter().filter(|k| !CHANGEABLE.contains(k)).collect();
    if !fixed.is_empty() {
        return Err(Failure::new(
            Blame::Configuration,
            format!(
                "servers.{name}.{}: can't be changed while the machine lives",
                fixed.join(&format!(", servers.{name}."))
            ),
        )
        .with_hint("put the old value back, or give the new machine another name"));
    }
    refuse_fatal(spec, &known.reshape.findings)?;
    if !known.reshape.changes.is_empty() {
        actions.push(Action::Reshape { changes: known.reshape.changes.clone() });
    } else if power == Power::Off {
        actions.push(Action::Start);
    }
    if !known.reshape.adjustments.is_empty() {
        actions.push(Action::Adjust { changes: known.reshape.adjustments.clone() });
    }
    Ok(())
}

/// Keys of what makes a machine, that are changed in place once it is made.
const CHANGEABLE: [&str; 10] = [
    "size",
    "local",
    "hetzner.type",
    "hetzner.location",
    "hetzner.volumes",
    "hetzner.backups",
    "hetzner.protect",
    "hetzner.firewall",
    "user",
    "authorized_keys",
];

/// Keys of the spec in which a machine made for `a` is another one than a machine made for `b`.
fn other_machine(a: &ServerSpec, b: &ServerSpec) -> Vec<&'static str> {
    let differs = |differences: &[(&'static str, bool)]| {
        differences.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect::<Vec<_>>()
    };
    let mut keys = differs(&[
        ("provider", a.provider.kind() != b.provider.kind()),
        ("image", a.image != b.image),
        ("network", a.networks != b.networks),
        ("size", a.size != b.size),
    ]);
    keys.extend(a.provider.other_machine(&b.provider));
    keys.extend(differs(&[
        ("user", a.user != b.user),
        ("authorized_keys", a.authorized_keys != b.authorized_keys),
        ("template", a.template != b.template),
    ]));
    keys
}

fn refuse_fatal(spec: &ServerSpec, findings: &[Finding]) -> Result<(), Failure> {
    refuse(format!("{} can't be created as specified", spec.name), findings)
}

/// Fails with this message where a finding is fatal; all that are become its causes.
pub(crate) fn refuse(message: String, findings: &[Finding]) -> Result<(), Failure> {
    let fatal: Vec<_> = findings.iter().filter(|f| f.fatal).collect();
    if fatal.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(Blame::Provider, message);
    failure.causes = fatal.iter().map(|f| f.message.clone()).collect();
    for hint in fatal.iter().flat_map(|finding| &finding.hints) {
        if !failure.hints.contains(hint) {
            failure.hints.push(hint.clone());
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests;
