//! Runs of the whole playbook on a throw-away server.

use super::*;
use ostler_core::{
    event::TaskResult,
    ids::ServerName,
    ports::{RunHost, Transport},
    secret::Secret,
    spec::{AppMeta, CatalogIndex, Facts},
};
use ostler_testkit::targets::{Lab, Target, TargetOptions};
use serde_json::json;
use std::process::Command as Program;

/// A server, and the playbook with a catalog.
pub(super) struct Server {
    bench: Bench,
    index: CatalogIndex,
    pub target: Target,
    ssh_args: Vec<String>,
    pub lab: Lab,
}

/// What a run did.
pub(super) struct Played {
    pub status: i32,
    pub results: Vec<TaskResult>,
    /// Every report, as JSON.
    pub said: String,
    pub stderr: String,
}

impl Played {
    #[track_caller]
    pub fn well(self) -> Self {
        assert_eq!(self.status, 0, "{}\n{}", self.failures().join("\n"), self.stderr);
        self
    }

    /// Place and message of what failed.
    pub fn failures(&self) -> Vec<String> {
        let failed = self.results.iter().filter(|task| task.result == TaskOutcome::Failed && !task.ignored);
        failed.map(|task| format!("{}: {}", task.place(), task.msg.as_deref().unwrap_or_default())).collect()
    }

    /// Places of what changed.
    pub fn changes(&self) -> Vec<String> {
        let changed = self.results.iter().filter(|task| task.result == TaskOutcome::Changed && !task.aggregate);
        changed.map(TaskResult::place).collect()
    }
}

impl Server {
    /// `None`, and a line that says why, where there can be none. `catalog` stands in the place of the one that ships.
    pub fn start(name: &str, catalog: Option<&Path>) -> Option<Self> {
        let bench = Bench::new("")?;
        let lab = Lab::start()?;
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ansible");
        let content = bench.scratch.path().join("playbook");
        fs::remove_dir_all(&content).unwrap();
        copy(&ours, &content);
        if let Some(catalog) = catalog {
            fs::remove_dir_all(content.join("catalog")).unwrap();
            copy(catalog, &content.join("catalog"));
        }
        let index = serde_json::from_slice(&fs::read(content.join("catalog/index.json")).unwrap()).unwrap();

        let key = bench.scratch.path().join("id");
        succeed(Program::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        let options = TargetOptions::new(name).key(public.trim()).package("python3").package("sudo").docker();
        let target = lab.boot_one(options);
        let known_hosts = bench.scratch.path().join("known_hosts");
        fs::write(&known_hosts, format!("{} {}\n", target.address(), target.host_key())).unwrap();
        let options = [format!("UserKnownHostsFile={}", known_hosts.display()), "IdentityAgent=none".to_owned()];
        let mut ssh_args = vec!["-F".to_owned(), "none".to_owned(), "-i".to_owned(), key.display().to_string()];
        ssh_args.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), option]));
        Some(Self { bench, index, target, ssh_args, lab })
    }

    /// A run with these apps and host variables, under mitogen.
    pub async fn play(&self, apps: &[&str], vars: serde_json::Value, check: bool) -> Played {
        self.play_with(apps, vars, check, None).await
    }

    /// The same with the password of the catalog's vault.
    pub async fn play_with(
        &self,
        apps: &[&str],
        vars: serde_json::Value,
        check: bool,
        vault_password: Option<&str>,
    ) -> Played {
        let meta = |app: &&str| self.index.apps.iter().find(|meta| meta.name == *app).expect("an app of the catalog");
        let metas: Vec<&AppMeta> = apps.iter().map(meta).collect();
        let packages: Vec<&String> = metas.iter().flat_map(|meta| &meta.packages).collect();
        let roles: Vec<&String> = metas.iter().map(|meta| &meta.role).collect();
        let all_facts = metas.iter().any(|meta| meta.facts == Facts::All);
        let mut host_vars =
            json!({ "modules": {}, "apps": roles, "ostler_packages": packages, "ostler_all_facts": all_facts });
        host_vars.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
        let host = RunHost {
            name: ServerName::parse(self.target.name()).unwrap(),
            transport: Transport {
                address: self.target.ssh(),
                user: self.target.account().to_owned(),
                ssh_args: self.ssh_args.clone(),
                agent_socket: "/nonexistent".into(),
            },
            vars: serde_json::from_value(host_vars).unwrap(),
            secrets: Default::default(),
            secret_vars: vault_password
                .map(|password| ("ostler_vault_password".to_owned(), Secret::new(password)))
                .into_iter()
                .collect(),
        };
        let request = RunRequest { hosts: vec![host], check, ..request(Strategy::Mitogen) };
        let (observer, receiver) = Observer::new(false);
        let summary = match self.bench.run(&request, &observer).await {
            Ok(summary) => summary,
            Err(failure) => RunSummary { status: -1, hosts: BTreeMap::new(), stderr_tail: vec![failure.to_string()] },
        };
        let reports = all(receiver).await;
        let said = serde_json::to_string(&reports).unwrap();
        let result = |report| if let AnsibleReport::TaskResult(result) = report { Some(*result) } else { None };
        Played {
            status: summary.status,
            results: reports.into_iter().filter_map(result).collect(),
            said,
            stderr: summary.stderr_tail.join("\n"),
        }
    }

    /// Standard output of a shell command line on the server, which must succeed.
    #[track_caller]
    pub fn tell(&self, script: &str) -> String {
        self.target.exec(script).ok().stdout
    }
}

/// A folder with all in it.
pub(super) fn copy(from: &Path, to: &Path) {
    succeed(Program::new("cp").arg("-a").arg(from).arg(to));
}

#[track_caller]
pub(super) fn succeed(program: &mut Program) {
    let output = program.output().unwrap();
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
}
