//! What it would mean that servers leave the clusters they are members of: whether the others can do without them, what runs nowhere else,
//! and in which order several go. Touches nothing.

use crate::{
    converge::{
        members::{Cluster, Members, Refusal, clusters, tell},
        peer,
    },
    error::{Blame, Failure, Result},
    hint::{Hint, Next},
    ids::ServerName,
    model::{Phase, ServerRecord},
    server::destroy,
    world::{Context, World},
};
use futures::future::try_join_all;

/// What a server is in one cluster, and what its leaving meets.
pub(super) enum Parting {
    /// It is no member.
    Nothing,
    /// It is the only member, on which these run.
    Last { only: Vec<String> },
    /// Others stay.
    Member(Box<Membership>),
    /// It can't be asked, and the others can't tell, for this reason.
    Unknown(String),
}

/// A member among others.
pub(super) struct Membership {
    pub id: String,
    pub manager: bool,
    /// Whether the server itself can be asked.
    answers: bool,
    /// All members, where a manager can be asked.
    members: Option<Members>,
    /// Why no other manager can be asked; `None`: one can.
    alone: Option<String>,
    /// What runs nowhere else.
    only: Vec<String>,
}

impl Membership {
    /// Whether another manager can be asked.
    pub fn has_other_manager(&self) -> bool {
        self.alone.is_none()
    }

    /// What runs on it alone, for people.
    pub fn losses(&self, name: &ServerName, app: &str) -> Option<String> {
        (!self.only.is_empty()).then(|| format!("only {name} runs these of its {app} now: {}", self.only.join(", ")))
    }
}

/// Looks at a server and, where that takes it, at the others of its cluster.
pub(super) async fn look(world: &World, record: &ServerRecord, cluster: Cluster<'_>) -> Result<Parting> {
    let (operation, scripts) = (record.created_by, cluster.scripts);
    let others = cluster.others(world, record).await?;
    let own = match peer::log_in(world, record, operation).await? {
        Ok(session) => session,
        Err(why) => return look_from_outside(world, record, cluster, &others, why).await,
    };
    let said = match tell(own.as_ref(), &scripts.member, &[]).await {
        Ok(said) => said,
        Err(why) => {
            own.close().await;
            let why = format!("{} does not say whether it is a member: {why}", record.name);
            return look_from_outside(world, record, cluster, &others, why).await;
        }
    };
    let Some((id, role)) = said.trim().split_once(' ') else {
        own.close().await;
        return Ok(Parting::Nothing);
    };
    let manager = role == "manager";
    let own_view = match manager {
        true => tell(own.as_ref(), &scripts.members, &[]).await.ok().map(|text| Members::read(&text)),
        false => None,
    };
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    if own_view.as_ref().is_some_and(|members| members.are_only(id)) {
        let only = tell(own.as_ref(), &scripts.only, &[id]).await.map(lines).unwrap_or_default();
        own.close().await;
        return Ok(Parting::Last { only });
    }
    own.close().await;
    let mut membership =
        Membership { id: id.to_owned(), manager, answers: true, members: own_view, alone: None, only: Vec::new() };
    match cluster.manager(world, operation, &others, Some(id)).await? {
        Ok(other) => {
            membership.only = tell(other.session.as_ref(), &scripts.only, &[id]).await.map(lines).unwrap_or_default();
            other.session.close().await;
            membership.members = Some(other.members);
        }
        Err(why) if manager && membership.members.is_none() && others.is_empty() => {
            let none = "its managers have no majority, and no other of them is known";
            return Ok(Parting::Unknown(if why.is_empty() { none.to_owned() } else { why }));
        }
        Err(why) => {
            let none = || "no other of its managers is known".to_owned();
            membership.alone = Some(if why.is_empty() { none() } else { why });
        }
    }
    Ok(Parting::Member(Box::new(membership)))
}

/// The same of a server that can't be asked itself.
async fn look_from_outside(
    world: &World,
    record: &ServerRecord,
    cluster: Cluster<'_>,
    others: &[ServerRecord],
    why: String,
) -> Result<Parting> {
    if others.is_empty() {
        return Ok(Parting::Nothing);
    }
    let manager = match cluster.manager(world, record.created_by, others, None).await? {
        Ok(manager) => manager,
        Err(whys) => return Ok(Parting::Unknown(format!("{why}; {whys}"))),
    };
    let ctx = Context::new(world, record.subject(), record.created_by, record.desired.clone());
    let address = ctx.observe().await.ok().and_then(|seen| seen.ssh).map(|address| address.ip());
    let found = manager.members.find_server(&record.name, address).cloned();
    let parting = match found {
        None => Parting::Unknown(format!("{why}; {} knows no single member of its name or address", manager.name)),
        Some(member) => match manager.members.without(&member.id) {
            Ok(_) => Parting::Member(Box::new(Membership {
                id: member.id,
                manager: member.manager,
                answers: false,
                members: Some(manager.members),
                alone: None,
                only: Vec::new(),
            })),
            Err(Refusal::LastManager(_)) => Parting::Nothing,
            Err(Refusal::NoMajority(silent)) => {
                Parting::Unknown(format!("{why}; {} would have no majority without it", silent.join(", ")))
            }
        },
    };
    manager.session.close().await;
    Ok(parting)
}

/// Refuses what would cost the others their majority. `members`: those that are left when its turn comes, where others go before it.
/// Returns those that are left after it.
pub(super) fn judge(
    record: &ServerRecord,
    parting: &Parting,
    members: Option<&Members>,
    app: &str,
) -> Result<Option<Members>> {
    let Parting::Member(member) = parting else { return Ok(None) };
    let name = &record.name;
    let Some(members) = members.or(member.members.as_ref()) else {
        return match (&member.alone, member.manager) {
            (Some(why), true) => Err(nobody_to_ask(name, app, why)),
            _ => Ok(None),
        };
    };
    let rest = match members.without(&member.id) {
        Ok(rest) => rest,
        Err(why) if member.answers => return Err(refused(name, app, &why)),
        Err(_) => return Ok(Some(members.clone())),
    };
    match &member.alone {
        Some(why) if member.manager && !members.are_only(&member.id) => Err(nobody_to_ask(name, app, why)),
        _ => Ok(Some(rest)),
    }
}

fn nobody_to_ask(name: &ServerName, app: &str, why: &str) -> Failure {
    let message = format!("{name} is a manager of its {app}, and no other one can be asked to do without it");
    Failure::new(Blame::Target, why)
        .because_of(message)
        .with_hint("bring another manager back first, or make it no manager any more by hand")
}

/// The failure that a refusal is.
pub(super) fn refused(name: &ServerName, app: &str, why: &Refusal) -> Failure {
    let known = |names: &[String]| names.iter().filter_map(|name| ServerName::parse(name).ok()).collect::<Vec<_>>();
    let destroy_first = |names: &[String], more: &str| {
        let mut hint = Hint::from("first ");
        for (index, name) in known(names).into_iter().enumerate() {
            hint = if index > 0 { hint.with(", ") } else { hint }.with(Next::Destroy(name));
        }
        hint.with(more)
    };
    match why {
        Refusal::LastManager(others) => {
            let message =
                format!("{name} is the last manager of its {app}, and these are still members: {}", others.join(", "));
            Failure::new(Blame::User, message)
                .with_hint(destroy_first(others, "; or name all of them at once: then this one goes last"))
        }
        Refusal::NoMajority(silent) => {
            let message = format!(
                "without {name} the managers of its {app} would have no majority: {} can't be reached by the others",
                silent.join(", ")
            );
            Failure::new(Blame::Target, message)
                .with_hint(destroy_first(silent, ", or bring back what can't be reached"))
        }
    }
}

/// What is said of a server that could not be taken out.
pub(super) fn stays(name: &ServerName, app: &str, why: &str) -> String {
    format!("{name} is not taken out of its {app}, and its entry there stays: {why}")
}

/// In which order servers are destroyed, and what that means.
#[derive(Debug, Default)]
pub struct Course {
    /// Those of a list go one after the other; the lists go side by side.
    pub chains: Vec<Vec<ServerName>>,
    /// What somebody should know first.
    pub warnings: Vec<String>,
}

/// One of several that go.
struct Leaver {
    record: ServerRecord,
    root: String,
    app: String,
    parting: Parting,
}

impl Leaver {
    /// Workers, managers that are silent, other managers, and last the one that the others joined.
    fn rank(&self) -> u8 {
        match &self.parting {
            Parting::Member(member) if !member.manager => 0,
            Parting::Member(member) if !member.answers => 1,
            _ if self.root != self.record.name.as_str() => 2,
            _ => 3,
        }
    }

    /// `everybody`: of its cluster nobody stays.
    fn warning(&self, world: &World, everybody: bool) -> Option<String> {
        let Self { record, app, parting, .. } = self;
        let name = &record.name;
        match parting {
            Parting::Nothing => None,
            Parting::Member(_) if everybody => None,
            Parting::Member(member) => member.losses(name, app),
            Parting::Unknown(why) => Some(stays(name, app, why)),
            // What runs on a server that Ostler did not make goes on there.
            Parting::Last { only } if only.is_empty() || world.provider(record.provider).origin().adopts() => None,
            Parting::Last { only } => {
                Some(format!("{name} is the only member of its {app}: with it these end: {}", only.join(", ")))
            }
        }
    }
}

/// Finds an order in which these servers can be destroyed without any cluster losing its majority; refuses where there is none.
pub async fn course(world: &World, names: &[ServerName]) -> Result<Course> {
    let mut course = Course::default();
    let mut looks = Vec::new();
    for name in names {
        let record = world.store.server(name).await?.ok_or_else(|| destroy::unknown(name))?;
        looks.push(look_at_first(world, record));
    }
    let mut leavers = Vec::new();
    for (name, leaver) in names.iter().zip(try_join_all(looks).await?) {
        match leaver {
            Some(leaver) => leavers.push(leaver),
            None => course.chains.push(vec![name.clone()]),
        }
    }
    leavers.sort_by_key(|leaver| (leaver.app.clone(), leaver.root.clone(), leaver.rank()));
    for group in leavers.chunk_by(|a, b| (&a.app, &a.root) == (&b.app, &b.root)) {
        let mut members = None;
        for Leaver { record, app, parting, .. } in group {
            members = judge(record, parting, members.as_ref(), app)?.or(members);
        }
        let everybody = members.as_ref().is_some_and(Members::are_none);
        course.warnings.extend(group.iter().filter_map(|leaver| leaver.warning(world, everybody)));
        course.chains.push(group.iter().map(|leaver| leaver.record.name.clone()).collect());
    }
    Ok(course)
}

async fn look_at_first(world: &World, record: ServerRecord) -> Result<Option<Leaver>> {
    if record.machine.is_none() || record.phase < Phase::Provision {
        return Ok(None);
    }
    let Some(cluster) = clusters(world, &record).next() else { return Ok(None) };
    let parting = look(world, &record, cluster).await?;
    let (root, app) = (cluster.root(&record).to_owned(), cluster.app.name.clone());
    Ok(Some(Leaver { record, root, app, parting }))
}
