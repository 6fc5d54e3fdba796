//! SSH to the world's machines: who gets in, and what the scripts do that operations send.

use super::{FakeWorld, Guest, Machine, cluster};
use async_trait::async_trait;
use ostler_core::{
    Result,
    ids::{OperationId, ServerName},
    model::KeyPair,
    ports::{ConnectError, Credential, HostKey, Login, Output, PortState, Remote, Session, Transport},
    secret::Secret,
};
use std::{net::SocketAddr, time::Duration};

#[async_trait]
impl Remote for FakeWorld {
    fn generate_key(&self) -> Result<KeyPair> {
        self.faults.around_now("remote.generate_key", || {
            let private = OperationId::new().to_string();
            Ok(KeyPair { public: public_half(&private), private: Secret::new(private) })
        })
    }

    async fn forget(&self, server: &ServerName) -> Result<()> {
        self.faults
            .around("remote.forget", async {
                self.dir.remove(&format!("known_hosts/{server}"));
                Ok(())
            })
            .await
    }

    async fn tunnel_client(&self) -> Result<String> {
        Ok("of this test".to_owned())
    }

    async fn banner(&self, address: SocketAddr, _: Duration) -> bool {
        self.dir.machines().iter().any(|machine| machine.on && machine.address() == address && machine.ssh_is_open())
    }

    async fn try_port(&self, address: SocketAddr, limit: Duration) -> PortState {
        let is_web = address == super::WEB;
        if is_web || self.banner(address, limit).await { PortState::Open } else { PortState::Closed }
    }

    async fn host_keys(&self, address: SocketAddr, _: Option<&str>, _: Duration) -> Result<Vec<HostKey>, ConnectError> {
        let machine = self.dir.machines().into_iter().find(|machine| machine.on && machine.address() == address);
        let keys = machine.and_then(|machine| machine.guest).map(|guest| guest.host_key).into_iter();
        Ok(keys.map(|key| HostKey { fingerprint: format!("SHA256:{key}"), key }).collect())
    }

    async fn offered_methods(&self, login: &Login, _: Duration) -> Result<Vec<String>, ConnectError> {
        match self.machine_of(login) {
            Some(_) => Ok(vec!["publickey".into()]),
            None => Err(ConnectError::NoAnswer("connection refused".into())),
        }
    }

    async fn connect(&self, login: &Login, _: Duration) -> Result<Box<dyn Session>, ConnectError> {
        self.faults
            .around("remote.connect", async { Ok(self.log_in(login)) })
            .await
            .map_err(|failure| ConnectError::Broken(failure.message))??;
        Ok(Box::new(FakeSession { world: self.clone(), login: login.clone() }))
    }
}

impl FakeWorld {
    fn log_in(&self, login: &Login) -> Result<(), ConnectError> {
        self.dir.write(&format!("known_hosts/{}", login.server), &login.host_keys);
        let Some(machine) = self.machine_of(login) else {
            return Err(ConnectError::NoAnswer("connection refused".into()));
        };
        let guest = self.dir.machine(&machine).and_then(|machine| machine.guest).expect("it runs");
        if !login.host_keys.contains(&guest.host_key) {
            let (expected, offered) = (login.host_keys.clone(), Some(guest.host_key));
            return Err(ConnectError::HostKey { expected, offered });
        }
        if !guest.lets_in(login) {
            return Err(ConnectError::Refused("permission denied".into()));
        }
        Ok(())
    }

    /// The machine that a login gets to: through its tunnel, or by its own address as long as the firewall lets it in.
    fn machine_of(&self, login: &Login) -> Option<String> {
        match &login.through {
            Some(through) => self.machine_behind(through),
            None => self.machine_at(login.address).filter(|machine| machine.ssh_is_open()).map(|machine| machine.name),
        }
    }

    fn machine_at(&self, address: SocketAddr) -> Option<Machine> {
        self.dir.machines().into_iter().find(|machine| machine.on && machine.address() == address)
    }
}

const PREPARE_KEY: &str = include_str!("../../../ostler-core/src/reach/scripts/host_key_prepare.sh");
const ACTIVATE_KEY: &str = include_str!("../../../ostler-core/src/reach/scripts/host_key_activate.sh");
const LIMITS: &str = include_str!("../../../ostler-core/src/reach/scripts/limits.sh");
const REFUSAL: &str = include_str!("../../../ostler-core/src/reach/scripts/refusal.py");
const REPAIR: &str = include_str!("../../../ostler-core/src/converge/scripts/repair.sh");
const CHECK_SUDO: &str = include_str!("../../../ostler-core/src/server/scripts/adopt_check_sudo.sh");
const PREPARE: &str = include_str!("../../../ostler-core/src/server/scripts/adopt_prepare.sh");
const RELEASE: &str = include_str!("../../../ostler-core/src/server/scripts/adopt_release.sh");
const PENDING: &str = include_str!("../../../ostler-core/src/converge/scripts/pending_sshd.sh");
const GENERALISE: &str = include_str!("../../../ostler-core/src/server/scripts/generalise.sh");
const ACCESS_FACTS: &str = include_str!("../../../ostler-core/src/converge/scripts/access_facts.sh");
const VERIFY: &str = include_str!("../../../ostler-core/src/converge/scripts/verify.sh");
const WITHDRAW: &str = include_str!("../../../ostler-core/src/certificate/scripts/withdraw.sh");
const OPEN_SSH: &str = include_str!("../../../ostler-core/src/tunnel/scripts/open_ssh.sh");
const LEAVE: &str = include_str!("../../../ostler-core/src/tunnel/scripts/leave.sh");
const PREFETCH: &str = include_str!("../../../ostler-core/src/converge/scripts/prefetch.sh");

struct FakeSession {
    world: FakeWorld,
    login: Login,
}

#[async_trait]
impl Session for FakeSession {
    async fn run(&self, script: &str, stdin: &[u8]) -> Result<Output> {
        let stdin = String::from_utf8_lossy(stdin);
        if let Some(word) = stdin.strip_prefix(cluster::CLUSTER) {
            let arguments: Vec<&str> = script.split_once(" -- ").map_or("", |(_, rest)| rest).split(' ').collect();
            let call = format!("session.run cluster-{word}");
            return self.world.faults.around(&call, async { Ok(self.act_in_cluster(word, &arguments)) }).await;
        }
        let call = match stdin.as_ref() {
            PREPARE_KEY => "session.run prepare-key",
            ACTIVATE_KEY => "session.run activate-key",
            text if text.ends_with(REPAIR) => "session.run repair",
            LIMITS => "session.run limits",
            text if text.contains(REFUSAL) => "session.run refusal",
            text if text.contains("rollback arm") => "session.run arm",
            text if text.contains("rollback extend") => "session.run extend",
            text if text.contains("rollback disarm") => "session.run disarm",
            text if text.contains("rollback now") => "session.run roll-back",
            PREFETCH => "session.run prefetch",
            text if text.ends_with(ACCESS_FACTS) => "session.run access-facts",
            text if text.contains(VERIFY) => "session.run verify",
            GENERALISE => "session.run generalise",
            RELEASE => "session.run release",
            WITHDRAW => "session.run withdraw-certificate",
            OPEN_SSH => "session.run open-ssh",
            LEAVE => "session.run leave-tunnel",
            text if text.ends_with(PENDING) => "session.run pending",
            text if text.ends_with(PREPARE) => "session.run prepare",
            text if text.ends_with(CHECK_SUDO) => "session.run check-sudo",
            _ if script.contains("openssl s_client") => "session.run deliver-certificate",
            _ if script.contains("/run/ostler-waiting") => "session.run waiting",
            _ if script.contains("ip route get") => "session.run addresses",
            _ if script.contains("cloud-init status --wait") => "session.run cloud-init",
            _ if script.contains("id -un && sudo -n true") => "session.run prove",
            _ => panic!("the world knows no script `{script}` with `{stdin}`"),
        };
        self.world.faults.around(call, async { Ok(self.act(call)) }).await
    }

    fn offered_methods(&self) -> Vec<String> {
        vec!["publickey".into()]
    }

    fn transport(&self) -> Transport {
        let Login { address, user, .. } = self.login.clone();
        Transport { address, user, ssh_args: Vec::new(), agent_socket: "/nowhere".into() }
    }

    async fn close(self: Box<Self>) {}
}

impl FakeSession {
    /// The machine that it leads to. A connection that is there outlives the rule that would not let it in any more, but not its tunnel.
    fn machine(&self) -> Result<String, Output> {
        let name = match &self.login.through {
            Some(through) => self.world.machine_behind(through),
            None => self.world.machine_at(self.login.address).map(|machine| machine.name),
        };
        name.ok_or_else(|| Output { status: 255, stdout: String::new(), stderr: "connection lost".into() })
    }

    fn act_in_cluster(&self, script: &str, arguments: &[&str]) -> Output {
        let name = match self.machine() {
            Ok(name) => name,
            Err(lost) => return lost,
        };
        match cluster::act(&self.world.dir, &name, script, arguments) {
            Ok(stdout) => Output { status: 0, stdout, stderr: String::new() },
            Err(stderr) => Output { status: 1, stdout: String::new(), stderr },
        }
    }

    fn act(&self, call: &str) -> Output {
        let name = match self.machine() {
            Ok(name) => name,
            Err(lost) => return lost,
        };
        let mut stdout = String::new();
        let change = |change: &mut dyn FnMut(&mut Guest)| self.world.dir.change_guest(&name, change);
        match call {
            "session.run prepare-key" => change(&mut |guest| {
                let new = guest.next_host_key.get_or_insert_with(|| public_half(&OperationId::new().to_string()));
                stdout = format!("{new} root@{name}\n");
            }),
            "session.run activate-key" => change(&mut |guest| {
                guest.host_key = guest.next_host_key.take().unwrap_or_else(|| guest.host_key.clone());
            }),
            "session.run generalise" => {
                change(&mut |guest| (guest.user, guest.authorized_keys, guest.host_key) = Default::default())
            }
            "session.run open-ssh" => change(&mut |guest| guest.config["ostler_ssh_open"] = true.into()),
            "session.run leave-tunnel" => change(&mut |guest| guest.connector = false),
            "session.run release" => change(&mut |guest| guest.authorized_keys.clear()),
            "session.run prove" => stdout = format!("{}\n", self.login.user),
            "session.run repair" => change(&mut |guest| guest.dpkg_interrupted = false),
            "session.run cloud-init" => stdout = r#"{"errors": [], "recoverable_errors": {}}"#.into(),
            _ => {}
        }
        Output { status: 0, stdout, stderr: String::new() }
    }
}

impl Guest {
    fn lets_in(&self, login: &Login) -> bool {
        match &login.credential {
            Credential::Key(key) => {
                self.user == login.user && self.authorized_keys.contains(&public_half(key.expose()))
            }
            Credential::Password(password) => self
                .found
                .as_ref()
                .is_some_and(|(user, known)| (user, known.as_str()) == (&login.user, password.expose())),
            Credential::KeyFile { .. } | Credential::Agent { .. } => false,
        }
    }
}

/// The fakes' stand-in for elliptic curves.
fn public_half(private: &str) -> String {
    format!("ssh-ed25519 AAAA{}", private.replace('-', ""))
}
