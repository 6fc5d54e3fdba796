//! Who is a member of the cluster that an app made or joined, as its managers say it; and who may leave it.
//!
//! Managers decide by majority, and count those that are gone. So nobody leaves before the others can decide without it.

use crate::{
    converge::peer,
    error::Result,
    ids::{OperationId, ServerName},
    model::{Phase, ServerRecord},
    ports::Session,
    reach::RUN_AS_ROOT,
    spec::{AppMeta, Leave},
    text::one_line,
    world::World,
};
use std::net::IpAddr;

/// An app by which servers become members of one cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster<'a> {
    pub app: &'a AppMeta,
    pub scripts: &'a Leave,
}

/// Those of the apps of a server.
pub(crate) fn clusters<'a>(world: &'a World, record: &'a ServerRecord) -> impl Iterator<Item = Cluster<'a>> {
    record.desired.apps_of(&world.catalog).filter_map(Cluster::of)
}

impl<'a> Cluster<'a> {
    /// That of an app, if servers become members by it.
    pub fn of(app: &'a AppMeta) -> Option<Self> {
        Some(Self { app, scripts: app.peer.as_ref()?.leave.as_ref()? })
    }

    /// The server that this one joins, or its own name where it joins none.
    pub fn root<'r>(&self, record: &'r ServerRecord) -> &'r str {
        record.desired.joins(self.app).unwrap_or(record.name.as_str())
    }

    /// The other servers on record that are members of the same.
    pub async fn others(&self, world: &World, of: &ServerRecord) -> Result<Vec<ServerRecord>> {
        let is_other = |record: &ServerRecord| {
            let is_set_up = record.machine.is_some() && record.phase >= Phase::Provision;
            record.name != of.name
                && is_set_up
                && record.desired.apps.contains(&self.app.name)
                && self.root(record) == self.root(of)
        };
        Ok(world.servers().await?.into_iter().filter(is_other).collect())
    }

    /// The first of these servers that is a manager and lets us in, with its login and what it says of all members; else why none is. With
    /// `id`, only one of the cluster that has this member.
    pub async fn manager(
        &self,
        world: &World,
        operation: OperationId,
        servers: &[ServerRecord],
        id: Option<&str>,
    ) -> Result<Result<Manager, String>> {
        let mut whys = Vec::new();
        for record in servers {
            let name = &record.name;
            let session = match peer::log_in(world, record, operation).await? {
                Ok(session) => session,
                Err(why) => {
                    whys.push(why);
                    continue;
                }
            };
            let seen = tell(session.as_ref(), &self.scripts.members, &[]).await.map(|text| Members::read(&text));
            match seen {
                Ok(members) if id.is_none_or(|id| members.find(id).is_some()) => {
                    return Ok(Ok(Manager { name: name.clone(), session, members }));
                }
                Ok(_) => whys.push(format!("{name} is a manager of another {}", self.app.name)),
                Err(why) => whys.push(format!("{name}: {why}")),
            }
            session.close().await;
        }
        Ok(Err(whys.join("; ")))
    }
}

/// A manager that can be asked.
pub(crate) struct Manager {
    pub name: ServerName,
    pub session: Box<dyn Session>,
    pub members: Members,
}

impl Manager {
    /// What it says of all members now.
    pub async fn look(&self, script: &str) -> Result<Members, String> {
        tell(self.session.as_ref(), script, &[]).await.map(|text| Members::read(&text))
    }
}

/// Runs a script as root, with words that a shell takes as they stand; what it prints, or why it failed.
pub(crate) async fn tell(session: &dyn Session, script: &str, arguments: &[&str]) -> Result<String, String> {
    let command = format!("{RUN_AS_ROOT} -- {}", arguments.join(" "));
    match session.run(command.trim_end(), script.as_bytes()).await {
        Ok(output) if output.status == 0 => Ok(output.stdout),
        Ok(output) => {
            let last = output.stderr.lines().rfind(|line| !line.trim().is_empty());
            Err(last.map_or_else(|| format!("exit code {}", output.status), one_line))
        }
        Err(failure) => Err(one_line(&failure.message)),
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub id: String,
    pub name: String,
    pub address: Option<IpAddr>,
    pub manager: bool,
    /// The others hear of it.
    pub up: bool,
}

/// All members of a cluster, as one of its managers says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(Vec<Member>);

/// Why a member may not leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is the last manager, and these are still members.
    LastManager(Vec<String>),
    /// The managers that stay would have no majority, because of these.
    NoMajority(Vec<String>),
}

impl Members {
    /// From lines `ID ROLE STATE ADDRESS NAME`.
    pub fn read(text: &str) -> Self {
        let member = |line: &str| {
            let mut words = line.split_whitespace();
            let (id, role, state) = (words.next()?, words.next()?, words.next()?);
            let (address, name) = (words.next()?, words.next()?);
            let is_word = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            is_word.then(|| Member {
                id: id.to_owned(),
                name: name.to_owned(),
                address: address.parse().ok(),
                manager: role == "manager",
                up: state == "up",
            })
        };
        Self(text.lines().filter_map(member).collect())
    }

    pub fn find(&self, id: &str) -> Option<&Member> {
        self.0.iter().find(|member| member.id == id)
    }

    /// The member that a server is which can't be asked: the only one of its name or address.
    pub fn find_server(&self, name: &ServerName, address: Option<IpAddr>) -> Option<&Member> {
        let is_it =
            |member: &&Member| member.name == name.as_str() || (member.address.is_some() && member.address == address);
        let mut found = self.0.iter().filter(is_it);
        found.next().filter(|_| found.next().is_none())
    }

    /// Whether nobody else is a member.
    pub fn are_only(&self, id: &str) -> bool {
        self.0.iter().all(|member| member.id == id)
    }

    /// Whether nobody is a member.
    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that stay, where they can do without it.
    pub fn without(&self, id: &str) -> Result<Self, Refusal> {
        let rest = Self(self.0.iter().filter(|member| member.id != id).cloned().collect());
        let names = |of: &dyn Fn(&&Member) -> bool| rest.0.iter().filter(of).map(|it| it.name.clone()).collect();
        let leaves_managers = self.find(id).is_some_and(|member| member.manager);
        let managers = rest.0.iter().filter(|member| member.manager);
        let up = managers.clone().filter(|member| member.up).count();
        match managers.count() {
            _ if rest.0.is_empty() || !leaves_managers => Ok(rest),
            0 => Err(Refusal::LastManager(names(&|_| true))),
            all if up * 2 <= all => Err(Refusal::NoMajority(names(&|member| member.manager && !member.up))),
            _ => Ok(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Members {
        Members::read(text)
    }

    #[test]
    fn managers_leave_one_after_the_other_and_the_last_one_after_its_workers() {
        let all = members(
            "a manager up 10.0.0.1 web1\nb manager up 10.0.0.2 web2\nc manager up - web3\nd worker up - web4\nnonsense\n",
        );
        let two = all.without("c").unwrap();
        let one = two.without("b").unwrap();
        assert_eq!(one.without("a"), Err(Refusal::LastManager(vec!["web4".into()])));
        assert!(one.without("d").unwrap().without("a").unwrap().are_none());
    }

    #[test]
    fn nobody_leaves_managers_without_their_majority() {
        let silent = members("a manager up - web1\nb manager up - web2\nc manager down - web3\nd worker down - web4\n");
        assert_eq!(silent.without("b"), Err(Refusal::NoMajority(vec!["web3".into()])));
        assert!(silent.without("d").is_ok(), "workers don't vote");
        // The silent one goes first, and makes room.
        assert!(silent.without("c").unwrap().without("b").is_ok());
    }

    #[test]
    fn a_server_that_is_silent_is_known_by_its_name_or_address_and_only_where_that_is_clear() {
        let name = ServerName::parse("web2").unwrap();
        let all = members("a manager up 10.0.0.1 web1\nb manager down 10.0.0.2 web2\nc worker down 10.0.0.3 box\n");
        assert_eq!(all.find_server(&name, None).unwrap().id, "b");
        let other = ServerName::parse("web3").unwrap();
        assert_eq!(all.find_server(&other, "10.0.0.3".parse().ok()).unwrap().id, "c");
        assert_eq!(all.find_server(&other, None), None);
        assert_eq!(all.find_server(&name, "10.0.0.3".parse().ok()), None, "it could be either");
    }
}
