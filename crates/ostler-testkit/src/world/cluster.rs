//! A cluster whose managers decide by majority: what its scripts do that the catalog of the world has.

use super::{Member, WorldDir};
use ostler_core::spec::{AppMeta, Facts, Leave, Peer, Strategy};

/// The app by which servers become members.
pub fn cluster_app() -> AppMeta {
    let script = |word: &str| format!("{CLUSTER}{word}");
    AppMeta {
        name: "cluster".into(),
        role: "cluster".into(),
        description: String::new(),
        version: None,
        packages: Vec::new(),
        ports: Vec::new(),
        depends: Vec::new(),
        strategy: Strategy::default(),
        facts: Facts::default(),
        template: false,
        promises: Vec::new(),
        peer: Some(Peer {
            param: "join".into(),
            asks: script("asks"),
            plain: Vec::new(),
            leave: Some(Leave {
                member: script("member"),
                members: script("members"),
                only: script("only"),
                drain: script("drain"),
                demote: script("demote"),
                leave: script("leave"),
                forget: script("forget"),
            }),
        }),
        params: None,
    }
}

/// What its scripts begin with.
pub(super) const CLUSTER: &str = "cluster: ";

/// What a script prints that runs on `server`, or what it says as it fails. `arguments`: the id of a member, and maybe `force`.
pub(super) fn act(dir: &WorldDir, server: &str, script: &str, arguments: &[&str]) -> Result<String, String> {
    let mut all = dir.cluster();
    let is_up = |member: &Member| !member.left && dir.machine(&member.server).is_some_and(|machine| machine.on);
    let own = all.iter().find(|member| member.server == server).filter(|member| !member.left).cloned();
    let role = |member: &Member| if member.manager { "manager" } else { "worker" };
    let votes = all.iter().filter(|member| member.manager);
    let has_majority = votes.clone().filter(|member| is_up(member)).count() * 2 > votes.count();
    let of = |word: Option<&&str>| word.and_then(|id| id.strip_prefix("id-")).unwrap_or_default().to_owned();
    let wanted = of(arguments.first());
    match script {
        "asks" => return Ok("token secret\n".into()),
        "member" => return Ok(own.map(|own| format!("id-{server} {}\n", role(&own))).unwrap_or_default()),
        "leave" => {
            if own.is_some_and(|own| own.manager) {
                return Err("it still takes itself for a manager".into());
            }
            all.iter_mut().filter(|member| member.server == server).for_each(|member| member.left = true);
        }
        _ if !own.is_some_and(|own| own.manager) => return Err("it is no manager".into()),
        _ if !has_majority => {
            dir.say("a majority was lost");
            return Err("there is no leader".into());
        }
        "only" => return Ok(String::new()),
        "members" => {
            let line = |member: &Member| {
                let state = if is_up(member) { "up" } else { "down" };
                format!("id-{0} {1} {state} - {0}\n", member.server, role(member))
            };
            return Ok(all.iter().map(line).collect());
        }
        "drain" => all.iter_mut().filter(|member| member.server == wanted).for_each(|member| member.drained = true),
        "demote" => all.iter_mut().filter(|member| member.server == wanted).for_each(|member| member.manager = false),
        "forget" => {
            let forced = arguments.get(1) == Some(&"force");
            match all.iter().find(|member| member.server == wanted) {
                Some(member) if member.manager => return Err("it is a manager".into()),
                Some(member) if !forced && is_up(member) => return Err("it is not down".into()),
                _ => all.retain(|member| member.server != wanted),
            }
        }
        other => return Err(format!("unknown script {other}")),
    }
    dir.write("cluster.json", &all);
    Ok(String::new())
}
