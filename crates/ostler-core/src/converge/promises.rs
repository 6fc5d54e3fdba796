//! What a spec promises about logging in is proved by doing it, from here, by each family of addresses that leads to the server.
//!
//! The key's login is proved by the session that the run ends with, and sshd has told that one which methods it offers: so what is
//! refused costs no connection. One more asks for root's, and one is the login by password where it is promised. None is a failed
//! login that fail2ban would count. It is done after a run that changed who gets in, and once for each new promise; what a `Match`
//! block says to addresses that we don't come from is asked of sshd by the role.

use crate::{
    converge::{diagnosis::is_change, host_vars},
    error::{Blame, Failure, Result},
    event::{AnsibleReport, Level},
    hint::{Hint, Next},
    ports::{ConnectError, Credential, LET_IN, Login, Session},
    reach::RUN_AS_ROOT,
    secret::Secret,
    spec::{RootLogin, ServerSpec, SshAuth},
    text::one_line,
    world::Context,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const FACTS: &str = concat!(include_str!("../reach/scripts/own_addresses.sh"), include_str!("scripts/access_facts.sh"));
/// Roles whose changes put a promise in doubt.
const ROLES: [&str; 4] = ["iptables", "ssh_policy", "target_user", "ufw"];
/// Name of the secret that says what was proved last.
const PROVED: &str = "promises-proved";
/// How long one login may take, where the machine is not emulated.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same at an address of the other family, to which there may be no way from here.
const ELSEWHERE: Duration = Duration::from_secs(5);

/// Nothing is proved any more of what the spec promises: a run changed something of who gets in, or nobody knows what it did. This is
/// recorded before anything else can fail, so whichever run is the next to end well proves the promises anew.
pub(crate) async fn doubt(ctx: &Context<'_>) -> Result<()> {
    ctx.world.store.remove_secret(Some(ctx.subject), PROVED).await.map(drop)
}

/// Whether a run changed something of who gets in.
pub(crate) fn change_access(reports: &[AnsibleReport]) -> bool {
    reports.iter().any(|report| match report {
        AnsibleReport::TaskResult(task) => {
            is_change(report) && task.role.as_deref().is_some_and(|role| ROLES.contains(&role))
        }
        _ => false,
    })
}

/// Proves the promises of the spec, unless they were proved and nothing has been in [`doubt`] since. `session`: as the target user, by a
/// connection made after the run.
pub(crate) async fn prove(ctx: &Context<'_>, session: &dyn Session) -> Result<()> {
    let promise = promise(ctx).await?;
    let store = &ctx.world.store;
    if !ctx.spec.ssh.enabled || store.secret(Some(ctx.subject), PROVED).await?.as_ref() == Some(&promise) {
        return Ok(());
    }
    let mut notes = Notes::new();
    let proved = try_all(ctx, session, &mut notes).await;
    for (level, message) in notes {
        ctx.notice(level, message).await;
    }
    proved?;
    store.put_secret(Some(ctx.subject), PROVED, &promise).await
}

/// What the spec promises about logging in, for people.
pub(crate) fn sentence(spec: &ServerSpec) -> String {
    let by = match spec.ssh.auth {
        SshAuth::KeyOnly => "a key and nothing else",
        SshAuth::KeyAndPassword => "a key or the password",
    };
    let root = match spec.ssh.root_login {
        _ if spec.user == "root" => "",
        RootLogin::No => "; root does not",
        RootLogin::ProhibitPassword => "; root with a key only",
        RootLogin::Yes => "; root as well",
    };
    format!("{} gets in with {by}{root}", spec.user)
}

/// What could not be proved (`Info`), and what somebody's own settings have otherwise (`Warning`).
pub(crate) type Notes = Vec<(Level, String)>;

/// Tries all that is promised about logging in, at each address of the server that a way leads to. Fails at the first promise that is not
/// kept.
pub(crate) async fn try_all(ctx: &Context<'_>, session: &dyn Session, notes: &mut Notes) -> Result<()> {
    let slowness = ctx.observe().await?.slowness.max(1);
    let addresses = try_way(ctx, session, slowness, notes).await?;
    let reached = session.transport().address;
    if ctx.login(reached, &ctx.spec.user).await?.through.is_none()
        && let Some(other) = addresses.into_iter().find(|address| address.is_ipv4() != reached.is_ipv4())
    {
        try_elsewhere(ctx, SocketAddr::new(other, ctx.spec.ssh.port), slowness, notes).await?;
    }
    Ok(())
}

/// All that the promises follow from, as a digest. Where it changes, they are proved anew.
async fn promise(ctx: &Context<'_>) -> Result<Secret> {
    let spec = &ctx.spec;
    let hash = host_vars::secret(ctx.world, spec).await?;
    let hash = hash.get("ostler_user_password_hash").map_or("", |hash| hash.expose());
    let all = serde_json::json!([spec.ssh, spec.user, spec.authorized_keys, spec.exclusive_keys, hash]).to_string();
    Ok(Secret::new(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, all.as_bytes()).to_string()))
}

/// The same at the server's address of the other family, as far as a way leads there from here.
async fn try_elsewhere(ctx: &Context<'_>, address: SocketAddr, slowness: u32, notes: &mut Notes) -> Result<()> {
    let login = ctx.login(address, &ctx.spec.user).await?;
    match ctx.world.remote.connect(&login, ELSEWHERE * slowness).await {
        Ok(session) => {
            let proved = try_way(ctx, session.as_ref(), slowness, notes).await;
            session.close().await;
            proved.map(drop)
        }
        Err(ConnectError::Refused(words)) => {
            let message = format!("{} can't log in at {}: {}", ctx.spec.user, address.ip(), one_line(&words));
            notes.push((Level::Warning, message));
            Ok(())
        }
        Err(error) => {
            notes.push(not_proved(&format!("logins at {}", address.ip()), &error));
            Ok(())
        }
    }
}

/// Tries them by the way that `session` came; returns the server's own addresses.
async fn try_way(ctx: &Context<'_>, session: &dyn Session, slowness: u32, notes: &mut Notes) -> Result<Vec<IpAddr>> {
    let (spec, remote) = (&ctx.spec, &ctx.world.remote);
    let facts = Facts::ask(session, &spec.user).await?;
    let login = ctx.login(session.transport().address, &spec.user).await?;
    let patience = PATIENCE * slowness;

    let mut offered = session.offered_methods();
    if offered.is_empty() {
        match remote.offered_methods(&login, patience).await {
            Ok(methods) => offered = methods,
            Err(error) => {
                notes.push(not_proved(&format!("what {} is offered at {}", spec.user, login.address.ip()), &error));
                return Ok(facts.addresses);
            }
        }
    }
    let fault = fault(spec.ssh.auth, &spec.user, &offered);
    let password_offered = fault.is_none();
    judge(ctx, &facts, &spec.user, fault, notes)?;
    if spec.ssh.auth == SshAuth::KeyAndPassword
        && password_offered
        && let Some(reference) = &spec.password
    {
        let credential = Credential::Password(ctx.world.resolve(reference).await?);
        let login = Login { credential, ..login.clone() };
        match remote.connect(&login, patience).await {
            Ok(by_password) => by_password.close().await,
            Err(ConnectError::Refused(words)) => return Err(refused(ctx, session, &words).await),
            Err(error) => notes.push(not_proved(&format!("the login by password at {}", login.address.ip()), &error)),
        }
    }

    // Where passwords are offered to all who may log in, sshd's own word on root is all that there is.
    if spec.ssh.auth == SshAuth::KeyOnly && spec.user != "root" {
        let login = Login { user: "root".to_owned(), ..login };
        match remote.offered_methods(&login, patience).await {
            Ok(offered) => judge(ctx, &facts, "root", self::fault(SshAuth::KeyOnly, "root", &offered), notes)?,
            Err(error) => notes.push(not_proved(&format!("what root is refused at {}", login.address.ip()), &error)),
        }
    }
    let wanted = match spec.ssh.root_login {
        RootLogin::No => "no",
        RootLogin::ProhibitPassword => "without-password",
        RootLogin::Yes => "yes",
    };
    if let Some(word) = facts.says("root", "permitrootlogin").filter(|word| *word != wanted) {
        let message = format!(
            "a setting on the server, such as a `Match` block, has PermitRootLogin `{word}` for root from here"
        );
        notes.push((Level::Warning, message));
    }
    Ok(facts.addresses)
}

/// What is wrong with the methods that sshd offers to an account.
fn fault(auth: SshAuth, account: &str, offered: &[String]) -> Option<String> {
    if offered == [LET_IN] {
        return Some(format!("sshd lets {account} log in without a key or a password"));
    }
    match auth {
        SshAuth::KeyOnly => {
            let others: Vec<&str> =
                offered.iter().map(String::as_str).filter(|method| *method != "publickey").collect();
            (!others.is_empty()).then(|| {
                format!("sshd offers {account} a login by {}, though `ssh.auth` is `key-only`", others.join(", "))
            })
        }
        SshAuth::KeyAndPassword => (!offered.iter().any(|method| method == "password")).then(|| {
            format!(
                "sshd offers {account} no login by password, but {}, though `ssh.auth` is `key-and-password`",
                offered.join(", ")
            )
        }),
    }
}

/// A fault that sshd's configuration has for us alone is somebody's `Match` block, for the role sees to all others.
fn judge(ctx: &Context<'_>, facts: &Facts, account: &str, fault: Option<String>, notes: &mut Notes) -> Result<()> {
    let Some(fault) = fault else { return Ok(()) };
    if facts.are_against(account, ctx.spec.ssh.auth) {
        notes.push((
            Level::Warning,
            format!("{fault}: a setting on the server, such as a `Match` block, has it so for us"),
        ));
        return Ok(());
    }
    Err(Failure::new(Blame::Target, fault)
        .because_of(format!("logging in to {} does not work as its spec promises", ctx.server()))
        .with_hint(
            Hint::from("its configuration says otherwise, so check whether another sshd runs there: ")
                .with(Next::Run { server: ctx.server().clone(), command: "sudo ss -tlnp".into() }),
        ))
}

/// The password is offered and does not let in. The server's log says why.
async fn refused(ctx: &Context<'_>, session: &dyn Session, words: &str) -> Failure {
    let (server, user) = (ctx.server(), &ctx.spec.user);
    let log = "exec sudo -n journalctl -q -o cat --since=-2min -n 8 -t sshd -t sshd-session -t sshd-auth";
    let said = session.run(log, b"").await.map(|output| output.stdout).unwrap_or_default();
    Failure::new(Blame::Target, one_line(words))
        .because_of(format!(
            "{user} can't log in to {server} with the password, though `ssh.auth` is `key-and-password`"
        ))
        .with_lines(said.lines().filter(|line| line.contains(user.as_str())).map(one_line).collect())
        .with_hint(
            Hint::from(format!(
                "sshd asks PAM, so check /etc/pam.d/sshd and `sudo chage -l {user}` there; \
                 `ssh: {{ auth: key-only }}` works without passwords. Then "
            ))
            .with(Next::Resume(server.clone())),
        )
}

fn not_proved(what: &str, error: &ConnectError) -> (Level, String) {
    let why = error.words().map_or_else(|| "another machine answers there".to_owned(), one_line);
    (Level::Info, format!("not proved: {what} ({why})"))
}

/// What the server says of itself.
#[derive(Debug, Default)]
struct Facts {
    /// For each account, sshd's keywords and their values for somebody who comes the way that we do.
    accounts: BTreeMap<String, BTreeMap<String, String>>,
    addresses: Vec<IpAddr>,
}

impl Facts {
    async fn ask(session: &dyn Session, user: &str) -> Result<Self> {
        let command = format!("{RUN_AS_ROOT} -- \"$SSH_CONNECTION\" {user} root");
        Ok(Self::read(&session.run(&command, FACTS.as_bytes()).await?.stdout))
    }

    fn read(text: &str) -> Self {
        let mut facts = Self::default();
        let mut account = "";
        for (keyword, value) in text.lines().filter_map(|line| line.trim().split_once(' ')) {
            match keyword {
                "account" => account = value,
                "address" => facts.addresses.extend(value.parse::<IpAddr>()),
                _ => {
                    facts.accounts.entry(account.to_owned()).or_default().insert(keyword.to_owned(), value.to_owned());
                }
            }
        }
        facts
    }

    fn says(&self, account: &str, keyword: &str) -> Option<&str> {
        Some(self.accounts.get(account)?.get(keyword)?)
    }

    /// Whether sshd's configuration has this account log in by other methods than the policy.
    fn are_against(&self, account: &str, auth: SshAuth) -> bool {
        let password = if auth == SshAuth::KeyAndPassword { "yes" } else { "no" };
        let is = |keyword, fine: &[&str]| self.says(account, keyword).is_none_or(|value| fine.contains(&value));
        !(is("passwordauthentication", &[password])
            && is("kbdinteractiveauthentication", &["no"])
            && is("permitemptypasswords", &["no"])
            && is("authenticationmethods", if password == "yes" { &["any"] } else { &["any", "publickey"] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(methods: &str) -> Vec<String> {
        methods.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn what_is_offered_must_be_what_is_promised() {
        for good in [(SshAuth::KeyOnly, "publickey"), (SshAuth::KeyAndPassword, "publickey,password")] {
            assert_eq!(fault(good.0, "ops", &offered(good.1)), None, "{good:?}");
        }
        for bad in [
            (SshAuth::KeyOnly, "publickey,password"),
            (SshAuth::KeyOnly, "publickey,keyboard-interactive"),
            (SshAuth::KeyOnly, "none"),
            (SshAuth::KeyAndPassword, "publickey"),
            (SshAuth::KeyAndPassword, "none"),
        ] {
            assert!(fault(bad.0, "ops", &offered(bad.1)).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn facts_tell_a_match_block_from_an_sshd_that_does_not_obey() {
        let facts = Facts::read(
            "account ops\npasswordauthentication no\nauthenticationmethods any\naccount root\npermitrootlogin yes\n\
             passwordauthentication yes\naddress 10.0.0.5\naddress 2001:db8::5\nnonsense\naddress x\n",
        );
        assert!(!facts.are_against("ops", SshAuth::KeyOnly));
        assert!(facts.are_against("root", SshAuth::KeyOnly) && facts.are_against("ops", SshAuth::KeyAndPassword));
        assert!(!facts.are_against("nobody", SshAuth::KeyOnly), "what is not known explains nothing");
        assert_eq!(facts.says("root", "permitrootlogin"), Some("yes"));
        assert_eq!(facts.addresses.len(), 2);
    }
}
