//! `ostler plan`

use crate::{
    cli::{Global, Output},
    commands::spec_file,
    environment,
    output::{
        self, hints,
        preview::{check_text, count, failure_lines, place},
    },
    wiring::{Session, WaitArguments},
};
use ostler_core::{
    Failure, Result,
    event::AnsibleReport,
    ids::ServerName,
    model::TunnelChange,
    plan::{Action, ServerPlan},
    server::{
        drift::{self, Check, Findings},
        up,
    },
    site::{self, plan::SitePlan},
    spec::ServerSpec,
    text::plain,
    world::World,
};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode};

/// Show what `up` would do; nothing is touched.
///
/// What the provider would do to machines, and what Ansible would change on servers that run: each change with its difference, from
/// a run in check mode.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The spec file.
    file: PathBuf,
    /// Only these servers of the file.
    #[arg(value_parser = spec_file::server_name)]
    names: Vec<ServerName>,
    /// Don't ask the catalog's server: use what was fetched last.
    #[arg(long)]
    offline: bool,
    /// Only what the provider would do; the servers are not checked.
    #[arg(long)]
    no_check: bool,
    /// End with exit code 10 if there is something to do.
    #[arg(long, conflicts_with = "no_check")]
    exit_code: bool,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Exit code where `--exit-code` asks and there is something to do. No failure has it.
const SOMETHING_TO_DO: u8 = 10;

/// What is shown of one server.
#[derive(Serialize)]
struct Preview {
    #[serde(flatten)]
    plan: ServerPlan,
    /// None where it was not asked for, or where the plan is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Check>,
}

/// Servers and sites stand in one list.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Server(&'a Preview),
    Site(&'a SitePlan),
}

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let (spec, catalog) = spec_file::read(global, &arguments.file, arguments.offline).await?;
    let elsewhere = spec.elsewhere.clone();
    let sites = spec_file::sites_on(&spec, &arguments.names);
    let servers = spec_file::chosen(spec, &arguments.names)?;
    let session = Session::open(global, arguments.wait, "plan").await?;
    spec_file::must_be_known(&session, &arguments.file, elsewhere).await?;
    let session = session.with_catalog(catalog).with_spec_file(&arguments.file);
    // A check takes its time, so people see what is known of each server at once.
    let show = |text: String| {
        if global.output == Output::Human {
            session.stage.print(&text);
        }
    };
    let mut previews = Vec::new();
    for server in &servers {
        let preview = session.with_world(async |world| {
            let plan = up::plan_for(world, server).await?;
            show(plan_text(&plan));
            let wanted = !arguments.no_check && plan.refused.is_none();
            let check = if wanted { Some(check(&session, global.output, world, server, &plan).await) } else { None };
            if let Some(check) = &check {
                show(check_text(&server.name, check, environment::colour()));
            }
            Ok(Preview { plan, check })
        });
        previews.push(preview.await?);
        if session.interrupted() {
            break;
        }
    }
    let mut sites_planned = Vec::new();
    for site in &sites {
        if session.interrupted() {
            break;
        }
        let plan = session.with_world(async |world| site::plan::plan(world, site).await).await?;
        show(site_text(&plan));
        sites_planned.push(plan.with_hints_in_words(hints::command));
    }
    let previews: Vec<_> = previews.into_iter().map(Preview::with_hints_in_words).collect();
    let all: Vec<_> = previews.iter().map(Row::Server).chain(sites_planned.iter().map(Row::Site)).collect();
    output::data(global.output, &all, || total(&previews));
    let of_sites = || sites_planned.iter().filter_map(|plan| plan.refused.as_ref());
    let failures = || previews.iter().filter_map(Preview::failure).chain(of_sites());
    if global.output == Output::Quiet {
        failures().for_each(|failure| output::print_failure(global.output, failure));
    }
    let something_to_do = arguments.exit_code
        && (previews.iter().any(Preview::has_something_to_do)
            || sites_planned.iter().any(|plan| !plan.changes.is_empty()));
    let well = if something_to_do { SOMETHING_TO_DO } else { 0 };
    Ok(ExitCode::from(failures().next().map_or(well, |failure| failure.blame.exit_code())))
}

/// Looks at the server under its lease, so that nothing else runs on it meanwhile. People see in a live line where it is.
async fn check(session: &Session, output: Output, world: &World, spec: &ServerSpec, plan: &ServerPlan) -> Check {
    if let Some(answer) = drift::without_looking(spec, plan) {
        return answer;
    }
    let (stage, name) = (&session.stage, &spec.name);
    let now = |doing: &str| {
        if output == Output::Human {
            stage.set_message(&format!("{name}  checking  {doing}"));
        }
    };
    let told = |report: &AnsibleReport| {
        if let AnsibleReport::TaskStarted { role, task, .. } = report {
            now(&place(role, task, &None));
        }
    };
    now("logging in");
    let look = async { Ok(drift::check(world, spec, plan, &told).await) };
    let held = world.leaser.hold(name, look).await;
    stage.stop();
    held.unwrap_or_else(|failure| Check::Failed { failure, until_then: Findings::default() })
}

impl Preview {
    fn with_hints_in_words(mut self) -> Self {
        self.plan = self.plan.with_hints_in_words(hints::command);
        if let Some(Check::Failed { failure, .. }) = &mut self.check {
            *failure = failure.clone().in_words(hints::command);
        }
        self
    }

    fn failure(&self) -> Option<&Failure> {
        match &self.check {
            Some(Check::Failed { failure, .. }) => Some(failure),
            _ => self.plan.refused.as_ref(),
        }
    }

    fn changes(&self) -> usize {
        match &self.check {
            Some(Check::Done(findings) | Check::Failed { until_then: findings, .. }) => findings.changes.len(),
            _ => 0,
        }
    }

    fn has_something_to_do(&self) -> bool {
        // Ansible always runs; whether it finds something to do is what the check says.
        let of_provider = self.plan.actions.iter().any(|action| !matches!(action, Action::Converge { .. }));
        of_provider || self.changes() > 0
    }
}

/// The last line, where there is more than one server to sum up.
fn total(previews: &[Preview]) -> String {
    let checked = previews.iter().filter(|preview| matches!(preview.check, Some(Check::Done(_)))).count();
    if previews.len() < 2 || previews.iter().all(|preview| preview.check.is_none()) {
        return String::new();
    }
    let with_changes = previews.iter().filter(|preview| preview.has_something_to_do()).count();
    let changes = previews.iter().map(Preview::changes).sum();
    format!(
        "{}, {checked} checked: something to do on {with_changes}, {} of Ansible\n",
        count(previews.len(), "server"),
        count(changes, "change")
    )
}

fn site_text(plan: &SitePlan) -> String {
    let name = &plan.site;
    let side = |sign: char, text: &Option<String>| {
        text.as_ref().map(|text| format!("{name}    {sign} {}\n", plain(text))).unwrap_or_default()
    };
    let changes = plan
        .changes
        .iter()
        .map(|change| format!("{name}  {}\n{}{}", change.what, side('-', &change.from), side('+', &change.to)));
    let mut text = match (&plan.refused, plan.changes.is_empty()) {
        (Some(failure), _) => failure_lines(name, "refused", failure),
        (None, true) => format!("{name}  nothing to deploy\n"),
        (None, false) => format!("{name}  deploy a new release to {}:\n", plan.server),
    };
    text.extend(changes);
    text
}

fn plan_text(plan: &ServerPlan) -> String {
    let name = &plan.server;
    let mut text: String = plan.actions.iter().map(|action| format!("{name}  {}\n", sentence(action))).collect();
    text.extend(plan.warnings.iter().map(|finding| format!("{name}  warning: {}\n", finding.message)));
    text.extend(plan.refused.iter().map(|failure| failure_lines(name, "refused", failure)));
    text
}

fn sentence(action: &Action) -> String {
    match action {
        Action::Create { template: Some(template), .. } => format!("create a machine, cloned from {template}"),
        Action::Create { price: Some(price), .. } => format!("create a machine: {price}"),
        Action::Create { .. } => "create a machine".into(),
        Action::Adopt => "take over the existing server".into(),
        Action::ResumeCreate { step } => format!("resume creating it at step `{step}`"),
        Action::Undo => "undo its unfinished creation, because the spec now asks for another machine".into(),
        Action::Reshape { changes } => format!("shut down, change {}, start again", changes.join(", ")),
        Action::Adjust { changes } => format!("change while it runs: {}", changes.join(", ")),
        Action::Start => "start it".into(),
        Action::Converge { modules, apps, params } => format!(
            "run Ansible: modules {}; apps {}{}",
            if modules.is_empty() { "none".into() } else { modules.join(", ") },
            if apps.is_empty() { "none".into() } else { apps.join(", ") },
            if params.is_empty() { String::new() } else { format!("; other parameters {}", params.join(", ")) },
        ),
        Action::Tunnel(tunnel) => {
            let changes: Vec<_> = tunnel.changes.iter().map(|change| tunnel_change(*change)).collect();
            format!("tunnel {}: {}", tunnel.hostname, changes.join(", "))
        }
    }
}

fn tunnel_change(change: TunnelChange) -> &'static str {
    match change {
        TunnelChange::MakeTunnel => "make a tunnel",
        TunnelChange::MakeServiceToken => "make a service token",
        TunnelChange::MakeApplication => "make an Access application",
        TunnelChange::SetIngressRule => "set an ingress rule",
        TunnelChange::MakeRecord => "make a DNS record",
        TunnelChange::AdoptRecord => "adopt the DNS record that is there",
        TunnelChange::CloseSsh => "close SSH to all but the tunnel",
        TunnelChange::OpenSsh => "open SSH",
        TunnelChange::TakeDown => "take the tunnel away",
    }
}
