//! The steps by which a release comes to serve.

use super::{
    certificates,
    entrance::Entrance,
    names,
    record::{self, Release, SiteRecord},
    secrets,
};
use crate::{
    error::{Blame, Failure, Result},
    event::{EventKind, Level},
    hint::{Hint, Next},
    ids::{OperationId, ServerName, SiteName},
    model::Phase,
    operation::{Interrupt, Outputs, ScopedReporter, Step},
    ports::{Answer, Hook, HookEnd, Place, Probe, ReleaseOrder, Reporter, SiteImage, SiteSettings, Standing, Traffic},
    spec::{SiteCertificate, ZoneSpec},
    subject::Subject,
    text::one_line,
    world::World,
};
use serde::{Deserialize, Serialize};
use std::{
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// The recorded plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) site: SiteName,
    pub(super) server: ServerName,
    /// The number that the release gets.
    pub(super) number: u32,
    /// The image as the user named it.
    pub(super) reference: String,
    /// The folder that it is built of.
    #[serde(default)]
    pub(super) build: Option<PathBuf>,
    /// What that was, where an earlier release is gone back to.
    pub(super) image: Option<SiteImage>,
    pub(super) settings: SiteSettings,
    pub(super) back_to: Option<u32>,
    /// Zones in which records are made for it.
    #[serde(default)]
    pub(super) zones: Vec<ZoneSpec>,
    /// The certificate for its domains in them.
    #[serde(default)]
    pub(super) certificate: Option<SiteCertificate>,
    /// Commands that run once, without the hooks of what is gone back to: they were for another time.
    #[serde(default)]
    pub(super) before: Vec<String>,
    #[serde(default)]
    pub(super) after: Vec<String>,
}

/// The steps, in order. What fails before `record` is taken back; after it, it is gone on with.
pub(super) fn steps<'a>() -> Vec<Step<SiteContext<'a>>> {
    vec![
        Step::new("image", Phase::Deploy, get_image),
        Step::new("names", Phase::Deploy, names).undone_by(forget_names),
        Step::new("certificate", Phase::Deploy, certificate),
        Step::new("before", Phase::Deploy, before).undone_by(end_before),
        Step::new("start", Phase::Deploy, start).undone_by(stop),
        Step::new("run", Phase::Deploy, run),
        Step::new("answer", Phase::Deploy, answer),
        Step::new("switch", Phase::Deploy, switch).undone_by(switch_back),
        Step::new(RECORD, Phase::Deploy, record_it),
        Step::new("retire", Phase::Deploy, retire),
        Step::new("after", Phase::Deploy, after),
    ]
}

/// The step after which there is no way back.
pub(super) const RECORD: &str = "record";

/// How long traffic may take to follow.
const FOLLOWING: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a release that gets no more requests may take for those that it has.
const DRAIN: Duration = Duration::from_secs(2);
/// Copies that may end before a release is given up.
const ENDED: usize = 3;
/// How long a hook may take.
const HOOK: Duration = Duration::from_secs(3600);

/// One operation on one site.
pub(super) struct SiteContext<'a> {
    pub(super) world: &'a World,
    pub(super) subject: Subject,
    pub(super) operation: OperationId,
    pub(super) reporter: ScopedReporter<'a>,
    pub(super) site: SiteName,
    server: ServerName,
    plan: Option<Plan>,
    /// What it waits by.
    pub(super) interrupt: Interrupt,
    entrance: tokio::sync::OnceCell<Entrance>,
    begun: OnceLock<Instant>,
}

impl<'a> SiteContext<'a> {
    pub(super) fn new(
        world: &'a World,
        subject: Subject,
        operation: OperationId,
        (site, server): (&SiteName, &ServerName),
        plan: Option<Plan>,
    ) -> Self {
        Self {
            world,
            subject,
            operation,
            reporter: world.log.scope_named(subject, site.as_str(), operation),
            site: site.clone(),
            server: server.clone(),
            plan,
            interrupt: world.interrupt.clone(),
            entrance: tokio::sync::OnceCell::new(),
            begun: OnceLock::new(),
        }
    }

    pub(super) async fn entrance(&self) -> Result<&Entrance> {
        let open = || Entrance::open(self.world, &self.site, &self.server, self.operation);
        self.entrance.get_or_try_init(open).await
    }

    pub(super) async fn place(&self) -> Result<Place<'_>> {
        Ok(self.entrance().await?.place())
    }

    pub(super) fn server(&self) -> &ServerName {
        &self.server
    }

    pub(super) async fn close(self) {
        if let Some(entrance) = self.entrance.into_inner() {
            entrance.close().await;
        }
    }

    pub(super) async fn notice(&self, level: Level, message: impl Into<String>) {
        self.reporter.report(EventKind::Notice { level, message: message.into() }).await;
    }

    pub(super) async fn record(&self) -> Result<SiteRecord> {
        let missing = || Failure::new(Blame::Bug, format!("the site {} is missing from the state", self.site));
        Ok(record::record(&*self.world.store, &self.site).await?.ok_or_else(missing)?.1)
    }

    async fn pause(&self, length: Duration) -> Result<()> {
        tokio::select! {
            () = tokio::time::sleep(length.min(self.world.wait.interval)) => Ok(()),
            () = self.interrupt.wait() => Err(Interrupt::failure()),
        }
    }

    fn plan(&self) -> Result<&Plan> {
        self.plan.as_ref().ok_or_else(|| Failure::new(Blame::Bug, "this operation makes no release"))
    }

    async fn order(&self, image: &SiteImage) -> Result<ReleaseOrder> {
        let plan = self.plan()?;
        Ok(ReleaseOrder {
            site: self.site.clone(),
            number: plan.number,
            mark: self.operation.to_string(),
            image: image.clone(),
            settings: plan.settings.clone(),
            secrets: secrets::values(&*self.world.store, self.subject, &plan.settings.secrets).await?,
        })
    }

    async fn standing(&self, place: &Place<'_>, number: u32) -> Result<Option<Standing>> {
        let all = self.world.runtime.look(place, &self.site).await?;
        Ok(all.into_iter().find(|standing| standing.number == number))
    }

    /// When the new release must have answered.
    fn deadline(&self) -> Result<Instant> {
        let within = Duration::from_secs(u64::from(self.plan()?.settings.health.within));
        Ok(*self.begun.get_or_init(Instant::now) + within)
    }

    /// Fails where the release comes to nothing, whatever is waited for.
    async fn must_go_on(&self, place: &Place<'_>, order: &ReleaseOrder, standing: &Standing) -> Result<()> {
        if standing.ended.len() < ENDED {
            return Ok(());
        }
        let why = format!("its copies end again and again: {}", standing.ended[0]);
        Err(self.failed(place, order, why).await)
    }

    /// The failure of the new release, with what it said last.
    async fn failed(&self, place: &Place<'_>, order: &ReleaseOrder, why: String) -> Failure {
        Failure::new(Blame::Target, why)
            .because_of(format!("release {} of {} does not come up", order.number, self.site))
            .with_lines(self.last_words(place, order, None).await)
            .with_hint(Hint::from("mend the image or the spec, then ").with(Next::DeploySite(self.site.clone())))
    }

    /// What copies of the release said last, or a hook of it, without its secrets.
    async fn last_words(&self, place: &Place<'_>, order: &ReleaseOrder, hook: Option<Hook>) -> Vec<String> {
        let said = self.world.runtime.last_words(place, &self.site, order.number, hook).await.unwrap_or_default();
        said.iter().map(|line| one_line(&order.masked(line))).filter(|line| !line.is_empty()).collect()
    }

    /// Runs a command once, and waits for it. What it came to, where that is nothing good.
    async fn run_hook(&self, order: &ReleaseOrder, hook: Hook, command: &[String]) -> Result<Option<Failure>> {
        if command.is_empty() {
            return Ok(None);
        }
        let (runtime, place, until) = (&self.world.runtime, self.place().await?, Instant::now() + HOOK);
        runtime.begin_hook(&place, order, hook, command).await?;
        let end = loop {
            match runtime.hook(&place, &self.site, order.number, hook).await? {
                HookEnd::NotYet if Instant::now() > until => {
                    break HookEnd::Badly(format!("it is not over after {} s", HOOK.as_secs()));
                }
                HookEnd::NotYet => self.pause(PAUSE).await?,
                end => break end,
            }
        };
        let said = self.last_words(&place, order, Some(hook)).await;
        runtime.end_hook(&place, &self.site, order.number, hook).await?;
        let HookEnd::Badly(why) = end else { return Ok(None) };
        let message = format!("`{}` of {} failed", hook.key(), self.site);
        Ok(Some(Failure::new(Blame::Target, why).because_of(message).with_lines(said)))
    }

    /// Takes traffic from a release, and waits until nobody gets to it any more.
    pub(super) async fn withdraw(&self, place: &Place<'_>, standing: &Standing) -> Result<()> {
        self.world.runtime.withdraw(place, &self.site, standing.number).await?;
        if standing.traffic == Traffic::None {
            return Ok(());
        }
        let probe = Probe { host: &standing.host, path: "/", mark: &standing.mark };
        let until = Instant::now() + FOLLOWING;
        while let Answer::Release(_) = self.world.runtime.answer(place, &probe, Traffic::Marked).await? {
            if Instant::now() > until {
                let seconds = FOLLOWING.as_secs();
                let message =
                    format!("release {} of {} still gets requests after {seconds} s", standing.number, self.site);
                return Err(Failure::new(Blame::Target, message).with_hint(
                    Hint::from("see whether Traefik runs; ").with(Next::DeploySite(self.site.clone())).with(" goes on"),
                ));
            }
            self.pause(PAUSE).await?;
        }
        Ok(())
    }
}

/// What is to run, by what can't mean something else tomorrow.
#[derive(Serialize, Deserialize)]
pub(super) struct Got {
    image: SiteImage,
    /// What serves already is the very same, so there is nothing to do.
    pub(super) same: bool,
}

async fn get_image(ctx: &SiteContext<'_>, _: &Outputs) -> Result<Got> {
    let (plan, place) = (ctx.plan()?, ctx.place().await?);
    let runtime = &ctx.world.runtime;
    let image = match (&plan.image, &plan.build) {
        (None, Some(folder)) => match runtime.known_image(&place, &plan.reference).await? {
            Some(image) => image,
            None => runtime.build(&place, &ctx.site, folder, &ctx.reporter).await?,
        },
        (None, None) => runtime.image(&place, &plan.reference, &ctx.reporter).await?,
        (Some(image), _) if runtime.known_image(&place, &image.pinned).await?.is_some() => image.clone(),
        (Some(image), _) if !image.here_alone => runtime.image(&place, &image.pinned, &ctx.reporter).await?,
        (Some(_), _) => {
            let message =
                format!("the image of that release, `{}`, is not on {} any more", plan.reference, plan.server);
            return Err(
                Failure::new(Blame::Target, message).with_hint("bring it there again, or go back to another release")
            );
        }
    };
    let all = runtime.look(&place, &ctx.site).await?;
    let same = ctx.record().await?.current().is_some_and(|current| {
        (&current.image, &current.settings) == (&image, &plan.settings) && is_well(&all, current.number)
    });
    Ok(Got { image, same })
}

async fn names(ctx: &SiteContext<'_>, _: &Outputs) -> Result<()> {
    let plan = ctx.plan()?;
    if plan.zones.is_empty() {
        return Ok(());
    }
    names::ensure(ctx, &plan.zones, &plan.settings.domains).await
}

async fn forget_names(ctx: &SiteContext<'_>, _: &Outputs) -> Result<()> {
    names::keep_those_of(ctx).await
}

async fn certificate(ctx: &SiteContext<'_>, _: &Outputs) -> Result<()> {
    let plan = ctx.plan()?;
    match certificates::order(plan.certificate.as_ref(), &plan.zones, &plan.settings.domains)? {
        Some(order) => certificates::ensure(ctx, &order).await,
        None => Ok(()),
    }
}

async fn before(ctx: &SiteContext<'_>, outputs: &Outputs) -> Result<()> {
    let Some(order) = order(ctx, outputs).await? else { return Ok(()) };
    let mut record = ctx.record().await?;
    record.last = record.last.max(order.number);
    record::put(&*ctx.world.store, ctx.subject, &record).await?;
    let failure = ctx.run_hook(&order, Hook::Before, &ctx.plan()?.before).await?;
    let again = || Hint::from("mend it, then ").with(Next::DeploySite(ctx.site.clone()));
    failure.map_or(Ok(()), |failure| Err(failure.with_hint(again())))
}

async fn end_before(ctx: &SiteContext<'_>, _: &Outputs) -> Result<()> {
    let (plan, place) = (ctx.plan()?, ctx.place().await?);
    if plan.before.is_empty() {
        return Ok(());
    }
    ctx.world.runtime.end_hook(&place, &ctx.site, plan.number, Hook::Before).await
}

async fn start(ctx: &SiteContext<'_>, outputs: &Outputs) -> Result<()> {
    let Some(order) = order(ctx, outputs).await? else { return Ok(()) };
    ctx.begun.get_or_init(Instant::now);
    ctx.world.runtime.start(&ctx.place().await?, &order).await
}

/// Whether a release has the traffic, all its copies run, and nothing else is there.
pub(super) fn is_well(all: &[Standing], number: u32) -> bool {
    matches!(all, [one] if one.number == number && one.traffic == Traffic::All && one.running >= one.wanted)
}

async fn stop(ctx: &SiteContext<'_>, _: &Outputs) -> Result<()> {
    let (number, place) = (ctx.plan()?.number, ctx.place().await?);
    if ctx.record().await?.current == Some(number) {
        return Ok(());
    }
    if let Some(standing) = ctx.standing(&place, number).await? {
        ctx.withdraw(&place, &standing).await?;
    }
    ctx.world.runtime.remove(&place, &ctx.site, number).await
}

/// The order, unless nothing is to be done.
async fn order(ctx: &SiteContext<'_>, outputs: &Outputs) -> Result<Option<ReleaseOrder>> {
    let got = outputs.get::<Got>()?;
    if got.same { Ok(None) } else { ctx.order(&got.image).await.map(Some) }
}

async fn run(ctx: &SiteContext<'_>, outputs: &Outputs) -> Result<()> {
    let Some(order) = order(ctx, outputs).await? else { return Ok(()) };
    let (place, deadline) = (ctx.place().await?, ctx.deadline()?);
    loop {
        let Some(standing) = ctx.standing(&place, order.number).await? else {
            return Err(ctx.failed(&place, &order, "somebody else removed it".into()).await);
        };
        if standing.running >= standing.wanted {
            return Ok(());
        }
        ctx.must_go_on(&place, &order, &standing).await?;
        if Instant::now() > deadline {
            let last = standing.ended.first().or(standing.waiting.as_ref());
            let why = last.map(|last| format!(": {last}")).unwrap_or_default();
            let within = order.settings.health.within;
            let why = format!("{} of {} copies run after {within} s{why}", standing.running, standing.wanted);
            return Err(ctx.failed(&place, &order, why).await);
        }
        ctx.pause(PAUSE).await?;
    }
}

async fn answer(ctx: &SiteContext<'_>, outputs: &Outputs) -> Result<()> {
    let Some(order) = order(ctx, outputs).await? else { return Ok(()) };
    let (place, deadline) = (ctx.place().await?, ctx.deadline()?);
    if place.https.is_none() {
        let message =
            format!("port 443 of {} is not reached from here, so the site is tried on the server itself", ctx.server);
        ctx.notice(Level::Info, message).await;
    }
    // Requests go to one copy after the other.
    let (mut well, wanted) = (0, u32::from(order.settings.replicas) * 2);
    loop {
        let answer = ask(ctx, &place, &order, Traffic::Marked).await?;
        well = if is_good(&order, &answer) { well + 1 } else { 0 };
        if well >= wanted {
            return Ok(());
        }
        if well > 0 {
            continue;
        }
        if let Some(standing) = ctx.standing(&place, order.number).await? {
            ctx.must_go_on(&place, &order, &standing).await?;
        }
        if Instant::now() > deadline {
            return Err(ctx.failed(&place, &order, no_answer(&order, &answer)).await);
        }
        ctx.pause(PAUSE).await?;
    }
}

async fn ask(ctx: &SiteContext<'_>, place: &Place<'_>, order: &ReleaseOrder, traffic: Traffic) -> Result<Answer> {
    let path = order.settings.health.path.as_deref().unwrap_or("/");
    let probe = Probe { host: order.settings.domains[0].as_str(), path, mark: &order.mark };
    ctx.world.runtime.answer(place, &probe, traffic).await
}

/// Whether that is the answer of a release that is up.
fn is_good(order: &ReleaseOrder, answer: &Answer) -> bool {
    match (answer, &order.settings.health.path) {
        (Answer::Release(status), Some(_)) => (200..400).contains(status),
        (Answer::Release(status), None) => *status < 500,
        _ => false,
    }
}

fn no_answer(order: &ReleaseOrder, answer: &Answer) -> String {
    let SiteSettings { domains, port, health, .. } = &order.settings;
    let url = format!("https://{}{}", domains[0], health.path.as_deref().unwrap_or("/"));
    let why = match answer {
        Answer::Release(502..=504) => format!("nothing answers on port {port} of its container"),
        Answer::Release(status) => format!("it answers with status {status}"),
        Answer::Other(status) => format!("it is not brought to the new release, and answered with status {status}"),
        Answer::Nobody(why) => format!("nobody answers: {why}"),
    };
    format!("{url} is not well after {} s: {why}", health.within)
}

async fn switch(ctx: &SiteContext<'_>, outputs: &Outputs) -> Result<()> {
    let Some(order) = order(ctx, outputs).await? else { return Ok(()) };
    let (place, until) = (ctx.place().await?, Instant::now() + FOLLOWING);
    ctx.world.runtime.send(&place, &order, Traffic::All).await?;
    loop {
        let answer = ask(ctx, &place, &order, Traffic::All).await?;
        if is_good(&order, &answer) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(ctx.failed(&place, &order, no_answer(&order, &answer)).await);
        }
        ctx.pause(PAUSE).await?;
    }
}

/// The release before it still has its traffic, and gets all of it again as soon as this one gets none.
async fn switch_back(ctx: &SiteContext<'_>, outputs: &Outputs) -> Result<()> {
    let Some(Got { same: false, .. }) = outputs.find() else { return Ok(()) };
    let (number, place) = (ctx.plan()?.number, ctx.place().await?);
    match ctx.standing(&place, number).await? {
        Some(standing) if ctx.record().await?.current != Some(number) => ctx.withdraw(&place, &standing).await,
        _ => Ok(()),
    }
}

async fn record_it(ctx: &SiteContext<'_>, outputs: &Outputs) -> Result<()> {
    let got = outputs.get::<Got>()?;
    if got.same {
        return Ok(());
    }
    let plan = ctx.plan()?;
    let mut record = ctx.record().await?;
    record.serves(Release {
        number: plan.number,
        at: jiff::Timestamp::now(),
        operation: ctx.operation,
        reference: plan.reference.clone(),
        image: got.image.clone(),
        settings: plan.settings.clone(),
        back_to: plan.back_to,
    });
    record::put(&*ctx.world.store, ctx.subject, &record).await
}

async fn retire(ctx: &SiteContext<'_>, _: &Outputs) -> Result<()> {
    let (record, place) = (ctx.record().await?, ctx.place().await?);
    let all = ctx.world.runtime.look(&place, &ctx.site).await?;
    let old: Vec<_> = all.iter().filter(|standing| Some(standing.number) != record.current).collect();
    for standing in &old {
        ctx.withdraw(&place, standing).await?;
    }
    if old.iter().any(|standing| standing.traffic == Traffic::All) {
        ctx.pause(DRAIN).await?;
    }
    for standing in &old {
        ctx.world.runtime.remove(&place, &ctx.site, standing.number).await?;
    }
    ctx.world.runtime.keep_secrets(&place, &ctx.site, &record.kept_secrets()).await?;
    secrets::forget_others(&*ctx.world.store, ctx.subject, &record).await?;
    certificates::keep_that_of(ctx).await?;
    names::keep_those_of(ctx).await
}

/// What came of the hook, where that is nothing good. The release serves all the same.
#[derive(Serialize, Deserialize)]
pub(super) struct Afterwards {
    pub(super) failure: Option<Failure>,
}

async fn after(ctx: &SiteContext<'_>, outputs: &Outputs) -> Result<Afterwards> {
    let Some(order) = order(ctx, outputs).await? else { return Ok(Afterwards { failure: None }) };
    let failure = ctx.run_hook(&order, Hook::After, &ctx.plan()?.after).await?;
    Ok(Afterwards {
        failure: failure.map(|it| it.because_of(format!("release {} of {} serves", order.number, ctx.site))),
    })
}
