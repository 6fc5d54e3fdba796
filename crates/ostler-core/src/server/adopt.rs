//! A server that was there before Ostler: whom to trust, the way in as it is, and the target user's own way in.

use crate::{
    converge::{
        cause::Cause,
        diagnosis::{self, Diagnosis},
        leftovers, pending_sshd, run,
    },
    error::{Blame, Failure, Result},
    event::{AnsibleReport, Level},
    hint::{Hint, Next},
    ids::RunId,
    model::{Phase, Seed},
    operation::{Outputs, Step},
    ports::{Credential, HostKey, Origin, Output, Playbook, RunRequest, Session},
    reach::{RUN_AS_ROOT, refusal, wait, waiting},
    secret::Secret,
    server::create,
    spec::{ExistingOptions, ServerSpec, Strategy},
    world::{Context, World},
};
use std::time::Duration;

const CHECK_SUDO: &str = include_str!("scripts/adopt_check_sudo.sh");
const PREPARE: &str = include_str!("scripts/adopt_prepare.sh");
const RELEASE: &str = include_str!("scripts/adopt_release.sh");

/// The steps that take a server over, in order.
pub(super) fn steps<'a>() -> Vec<Step<Context<'a>>> {
    vec![
        Step::new("keys", Phase::Create, make_key).undone_by(create::forget_keys).undone_last(),
        Step::new("machine", Phase::Create, record_server).undone_by(forget_server).undone_last(),
        Step::new("trust", Phase::Connect, pin_host_key),
        Step::new("access", Phase::Access, give_access).undone_by(take_access),
        Step::new("prove-access", Phase::Access, create::prove_access),
    ]
}

/// Asks the user everything that the steps will need to know, so that nothing is asked, and nothing is found missing, once
/// the work has begun.
pub(super) async fn ask(world: &World, spec: &ServerSpec) -> Result<()> {
    if spec.provider.way_in().is_some() {
        credential(world, spec).await?;
        // The host key is asked for where the server is talked to first.
    }
    Ok(())
}

fn options(spec: &ServerSpec) -> Result<&ExistingOptions> {
    spec.provider
        .way_in()
        .ok_or_else(|| Failure::new(Blame::Bug, format!("the plan does not say how to reach {}", spec.name)))
}

/// What the account is logged in with that the spec names.
async fn credential(world: &World, spec: &ServerSpec) -> Result<Credential> {
    let options = options(spec)?;
    if let Some(path) = &options.key {
        return Ok(Credential::KeyFile { path: path.clone(), agent: world.user_agent.clone() });
    }
    if let Some(password) = &options.password {
        return Ok(Credential::Password(world.resolve(password).await?));
    }
    let who = format!("{}@{}", options.user, options.address);
    let way_on = if world.user_agent.is_some() { " (empty: your ssh-agent)" } else { "" };
    let typed = world.ask.secret(&format!("password of {who}{way_on}")).await?;
    match (typed.filter(|typed| !typed.expose().is_empty()), &world.user_agent) {
        (Some(password), _) => Ok(Credential::Password(password)),
        // Whoever lists a key for the target user most likely has it at the account of today, too.
        (None, Some(agent)) => Ok(Credential::Agent { socket: agent.clone(), first: spec.authorized_keys.clone() }),
        (None, None) => Err(Failure::new(Blame::Configuration, format!("there is no way to log in as {who}"))
            .with_hint(format!("name `password` or `key` at servers.{}.existing, or start an ssh-agent", spec.name))),
    }
}

/// What sudo asks for, where the account is not root; a password that was given for the login serves both.
async fn sudo_password(world: &World, spec: &ServerSpec, credential: &Credential) -> Result<Option<Secret>> {
    let options = options(spec)?;
    match (credential, &options.password) {
        _ if options.user == "root" => Ok(None),
        (Credential::Password(password), _) => Ok(Some(password.clone())),
        (_, Some(reference)) => Ok(Some(world.resolve(reference).await?)),
        _ => Ok(None),
    }
}

async fn make_key(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    create::make_client_key(ctx).await
}

async fn record_server(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    let Origin::Adopts(adoption) = ctx.provider().origin() else {
        return Err(Failure::new(Blame::Bug, format!("the provider of {} adopts no servers", ctx.server())));
    };
    let order = create::order(ctx.world, &ctx.spec, ctx.operation, Seed::empty(), None);
    let machine = adoption.adopt(&order)?;
    ctx.update(|record| record.machine = Some(machine)).await?;
    Ok(())
}

/// The server itself stays as it is.
async fn forget_server(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    ctx.update(|record| record.machine = None).await?;
    Ok(())
}

/// Pins the host key: the one that the spec names, or the one that the user confirms.
async fn pin_host_key(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    ctx.update(|record| record.phase = Phase::Connect).await?;
    if !ctx.record().await?.host_keys.is_empty() {
        return Ok(());
    }
    wait::for_address(ctx).await?;
    let address = ctx.observe().await?.ssh.ok_or_else(|| nobody(ctx, "it has no address"))?;
    let wanted = options(&ctx.spec)?.host_key.as_deref();
    let shown = wait::for_host_keys(ctx, address, wanted).await?;
    let chosen = choose(ctx, &shown, &address.to_string()).await?.key.clone();
    ctx.update(|record| record.host_keys = vec![chosen]).await?;
    Ok(())
}

fn nobody(ctx: &Context<'_>, why: &str) -> Failure {
    Failure::new(Blame::Target, why).because_of(format!("{} does not answer", ctx.server()))
}

async fn choose<'k>(ctx: &Context<'_>, shown: &'k [HostKey], address: &str) -> Result<&'k HostKey> {
    let name = ctx.server();
    let first = shown.first().ok_or_else(|| nobody(ctx, &format!("nothing at {address} speaks SSH")))?;
    if let Some(wanted) = &options(&ctx.spec)?.host_key {
        return shown.iter().find(|key| key.fingerprint == *wanted).ok_or_else(|| {
            let all: Vec<_> = shown.iter().map(|key| key.fingerprint.as_str()).collect();
            Failure::new(
                Blame::Target,
                format!("{name} shows host key {}, but the spec says {wanted}", all.join(" and ")),
            )
            .with_hint("either something stands between you and the server, or the spec is of another server")
        });
    }
    let fingerprint = &first.fingerprint;
    if ctx.world.accept_new_host_keys {
        let message = format!("trusted the host key {fingerprint} of {name} as it was shown: nobody compared it");
        ctx.notice(Level::Warning, message).await;
        return Ok(first);
    }
    match ctx
        .world
        .ask
        .confirm(&format!("{name} at {address} shows the host key\n  {fingerprint}\nIs it the right one?"))
        .await?
    {
        Some(true) => Ok(first),
        answer => {
            let why = if answer.is_some() { "was not confirmed" } else { "can't be confirmed: nobody can be asked" };
            Err(Failure::new(Blame::Configuration, format!("the host key {fingerprint} of {name} {why}")).with_hint(
                format!(
                    "compare it with what `ssh-keygen -lf` shows on the server, and write it into the spec: \
                     `host_key: \"{fingerprint}\"`"
                ),
            ))
        }
    }
}

/// Makes the target user by the account that there is. Nothing is hardened here.
async fn give_access(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    leftovers::end_runs(ctx).await?;
    ctx.update(|record| record.phase = Phase::Access).await?;
    let credential = credential(ctx.world, &ctx.spec).await?;
    let sudo = sudo_password(ctx.world, &ctx.spec, &credential).await?;
    let session = wait::for_first_login(ctx, &options(&ctx.spec)?.user, credential, None).await?;
    let root = FirstAccount { ctx, session: session.as_ref(), password: sudo.as_ref() };
    let password = sudo.as_ref().map_or("", |password| password.expose());
    pending_sshd::refuse_first(ctx, session.as_ref(), BECOME_ROOT, &format!("{password}\n"))
        .await
        .map_err(|failure| another_account(failure, &ctx.spec))?;
    root.prepare().await?;
    if ctx.record().await?.unclean {
        leftovers::repair(ctx, session.as_ref(), BECOME_ROOT, &root.first("")).await?;
    }
    let record = ctx.update(|record| record.unclean = true).await?;
    let mut host = run::host(ctx, &record, session.transport()).await?;
    host.secret_vars.extend(sudo.iter().map(|password| ("ansible_become_password".to_owned(), password.clone())));
    let request = RunRequest {
        playbook: Playbook::Access,
        run: RunId::new(),
        hosts: vec![host],
        strategy: Strategy::Mitogen,
        catalog: None,
        check: false,
    };
    let observer = run::Observer::new(ctx, request.run, &record.pending_handlers);
    let result = waiting::told(ctx, session.as_ref(), ctx.world.engine.run(request, &observer)).await;
    let heard = observer.heard();
    let reports: Vec<AnsibleReport> = observer.into_reports();
    let diagnosis = Diagnosis::of(&reports, Some(session.as_ref()), heard).await;
    let unclean = !leftovers::run_ended(ctx, &result, &reports).await?;
    ctx.update(|record| record.unclean = unclean).await?;
    let judged = result.and_then(|summary| diagnosis::judge(ctx, Phase::Access, &summary, &reports, &diagnosis));
    let checked = match judged {
        Ok(()) => root.check_sudo().await,
        failed => failed,
    };
    // It is asked if the target user's login is refused.
    ctx.leave_session(session);
    checked
}

/// How long the first account is logged in anew to ask why the target user is not let in.
const ASKING: Duration = Duration::from_secs(20);

/// The failure of the target user's login with what the server says of it, where the account that there is gets in to ask. `first` is
/// its login.
pub(super) async fn explained(ctx: &Context<'_>, first: Option<Box<dyn Session>>, failure: Failure) -> Failure {
    if ctx.spec.provider.way_in().is_none() || failure.blame != Blame::Target {
        return failure;
    }
    let ask = async || {
        let credential = credential(ctx.world, &ctx.spec).await?;
        let sudo = sudo_password(ctx.world, &ctx.spec, &credential).await?;
        let session = match first {
            Some(session) => session,
            None => wait::for_first_login(ctx, &options(&ctx.spec)?.user, credential, Some(ASKING)).await?,
        };
        let explained = refusal::explained(ctx, session.as_ref(), sudo.as_ref(), &ctx.spec.user, failure.clone()).await;
        session.close().await;
        Ok::<_, Failure>(explained)
    };
    ask().await.unwrap_or(failure)
}

/// Root by whatever way there is: by itself, by sudo without a password, or with the one on the first line of the input.
const BECOME_ROOT: &str = "IFS= read -r password\n\
    [ \"$(id -u)\" = 0 ] && exec sh -s\n\
    sudo -n true 2>/dev/null && exec sudo -n sh -s\n\
    { printf '%s\\n' \"$password\"; exec cat; } | sudo -S -p '' sh -s";

/// The account that there is, which may become root.
struct FirstAccount<'a> {
    ctx: &'a Context<'a>,
    session: &'a dyn Session,
    password: Option<&'a Secret>,
}

impl FirstAccount<'_> {
    /// What [`BECOME_ROOT`] reads before its script, which is given `arguments`.
    fn first(&self, arguments: &str) -> String {
        let password = self.password.map_or("", |password| password.expose());
        format!("{password}\nset -- {arguments}\n")
    }

    async fn run(&self, arguments: &str, script: &str) -> Result<Output> {
        self.session.run(BECOME_ROOT, format!("{}{script}", self.first(arguments)).as_bytes()).await
    }

    async fn prepare(&self) -> Result<()> {
        let Self { ctx, session, .. } = self;
        let user = &options(&ctx.spec)?.user;
        let message = format!("{} can't be taken over as {user}", ctx.server());
        let seconds = ctx.world.wait.lock_limit().as_secs();
        let output = waiting::told(ctx, *session, self.run(&seconds.to_string(), PREPARE)).await;
        let output = output.map_err(|failure| another_account(failure, &ctx.spec).because_of(message.clone()))?;
        for line in output.stdout.lines() {
            ctx.notice(Level::Warning, line.to_owned()).await;
        }
        if output.status == 0 {
            return Ok(());
        }
        if let Some(cause) = Cause::of(&output.stderr) {
            let hint = match cause {
                Cause::Sudo { .. } => Hint::from(format!(
                    "let {user} become root by sudo on the server with the password of the spec and without a terminal, or name \
                     another account at servers.{}.existing",
                    ctx.server()
                )),
                _ => cause.hint(ctx.server()),
            };
            return Err(Failure::new(Blame::Target, cause.words(&[])).because_of(message).with_hint(hint));
        }
        let mut lines: Vec<String> = output.stderr.lines().map(str::to_owned).collect();
        let last = lines.pop().unwrap_or_else(|| format!("status {}", output.status));
        Err(Failure::new(Blame::Target, last).because_of(message).with_lines(lines))
    }

    /// Whether the target user may become root as Ostler will; here its rules can still be looked at.
    async fn check_sudo(&self) -> Result<()> {
        let (ctx, user) = (self.ctx, &self.ctx.spec.user);
        let output = self.run(user, CHECK_SUDO).await?;
        if output.status == 0 {
            return Ok(());
        }
        let said = output.stderr.trim().lines().last().unwrap_or("sudo fails without a message");
        let mut failure = Failure::new(Blame::Target, said)
            .because_of(format!("sudo does not let {user} on {} become root without a password", ctx.server()));
        let ours = format!("/etc/sudoers.d/zz-ostler-{}", user.replace('.', "_"));
        let server = ctx.server();
        let resume = || Next::Resume(server.clone());
        let hint = match output.stdout.trim() {
            file if file == ours => {
                Hint::from(format!("`sudo -l -U {user}` on {server} shows the settings that apply"))
            }
            "" | "/etc/sudoers" => {
                failure
                    .causes
                    .push(format!("sudo does not read {ours}, or a rule of /etc/sudoers comes after it and wins"));
                Hint::from(format!(
                    "make `@includedir /etc/sudoers.d` the last line of /etc/sudoers on {server}; then "
                ))
                .with(resume())
            }
            file => {
                failure.causes.push(format!("the last rule that matches wins, and that is in {file}, not in {ours}"));
                Hint::from(format!(
                    "exclude {user} from that rule, or rename the file so that it is read before {ours}; then "
                ))
                .with(resume())
            }
        };
        Err(failure.with_hint(hint))
    }
}

/// What to do about an account that gets in and runs nothing: images of clouds name another one to root, and a password that has expired is
/// to be changed by hand.
fn another_account(failure: Failure, spec: &ServerSpec) -> Failure {
    let named = failure.message.split_once("login as the user \"").and_then(|(_, rest)| rest.split_once('"'));
    let hint = match (named, spec.provider.way_in()) {
        (Some((user, _)), _) => {
            Hint::from(format!("set `user: {user}` at servers.{}.existing in the spec, then ", spec.name))
                .with(Next::Up { file: None })
        }
        (None, Some(existing)) if failure.message.contains("password has expired") => Hint::from(format!(
            "log in by hand (`ssh {}@{}`) and set a new password; then ",
            existing.user, existing.address
        ))
        .with(Next::Resume(spec.name.clone())),
        _ => return failure,
    };
    failure.with_hint(hint)
}

/// Takes out what lets Ostler in, as far as the server can be reached; a server that is gone is no reason to keep its record.
async fn take_access(ctx: &Context<'_>, _: &Outputs) -> Result<()> {
    let record = ctx.record().await?;
    let blob = record.client_key.as_deref().and_then(|key| key.split(' ').nth(1)).unwrap_or_default();
    let message = match release(ctx, &record.login_user, blob).await {
        Ok(()) => format!(
            "{} is released: Ostler's key is removed from it. What Ostler set up there stays, with user {}",
            ctx.server(),
            record.login_user
        ),
        Err(failure) => format!(
            "{} could not be reached ({failure}): Ostler's key stays in authorized_keys of {} there",
            ctx.server(),
            record.login_user
        ),
    };
    ctx.notice(Level::Warning, message).await;
    Ok(())
}

async fn release(ctx: &Context<'_>, user: &str, blob: &str) -> Result<()> {
    let session = wait::for_new_login(ctx, user, Duration::from_secs(15)).await?;
    let output = session.run(&format!("{RUN_AS_ROOT} -- {user} {blob}"), RELEASE.as_bytes()).await?;
    session.close().await;
    if output.status == 0 { Ok(()) } else { Err(Failure::new(Blame::Target, output.stderr.trim())) }
}
