//! What a run is started with: arguments and environment, made from nothing. What the user's shell or a wrapper has set for
//! Ansible, Python, ssh or OpenSSL does not get through; settings that never differ stand in `ansible/ansible.cfg`.

use crate::{
    processes::{self, RUN_ID},
    rundir::RunDir,
};
use ostler_core::{
    ids::RunId,
    ports::{Playbook, RunRequest},
    spec::Strategy,
};
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// Hosts that Ansible works on at the same time.
const FORKS: usize = 25;

/// A program with its arguments and its whole environment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// The bundle's Python.
    pub program: PathBuf,
    /// Without the program itself.
    pub arguments: Vec<OsString>,
    /// All of it.
    pub environment: Vec<(&'static str, OsString)>,
}

/// The invocation for `request`, with `bundle` and `content` unpacked. `ids` are of the runs that it joins.
pub(crate) fn invocation(
    bundle: &Path,
    content: &Path,
    folder: &RunDir,
    ids: &[RunId],
    request: &RunRequest,
) -> Invocation {
    Invocation {
        program: bundle.join("bin/python3.11"),
        arguments: arguments(content, folder, request),
        environment: environment(bundle, content, folder, ids, request),
    }
}

fn arguments(content: &Path, folder: &RunDir, request: &RunRequest) -> Vec<OsString> {
    // -I: no PYTHON* variables, no user site, no current folder. -B: the bundle is never written to.
    let mut arguments: Vec<OsString> = vec!["-I".into(), "-B".into(), folder.launcher().into()];
    arguments.extend(["--inventory".into(), folder.inventory().into()]);
    arguments.extend(["--forks".into(), request.hosts.len().clamp(1, FORKS).to_string().into(), "--diff".into()]);
    if request.check {
        arguments.push("--check".into());
    }
    let playbook = match request.playbook {
        Playbook::Access => "access.yml",
        Playbook::Site => "site.yml",
    };
    arguments.push(content.join(playbook).into());
    arguments
}

fn environment(
    bundle: &Path,
    content: &Path,
    folder: &RunDir,
    ids: &[RunId],
    request: &RunRequest,
) -> Vec<(&'static str, OsString)> {
    let temporary: OsString = folder.temporary().into();
    let mut environment: Vec<(&str, OsString)> = vec![
        (RUN_ID, processes::mark(ids).into()),
        ("OSTLER_SOCKET", folder.socket().into()),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("HOME", folder.path().into()),
        ("LANG", "C.UTF-8".into()),
        ("TMPDIR", temporary.clone()),
        ("OPENSSL_CONF", "/dev/null".into()), // the host's may name what the bundle's OpenSSL lacks
        ("ANSIBLE_CONFIG", content.join("ansible.cfg").into()),
        ("ANSIBLE_HOME", folder.path().join("ansible").into()),
        ("ANSIBLE_LOCAL_TEMP", temporary),
        ("ANSIBLE_SSH_CONTROL_PATH_DIR", folder.path().join("cp").into()),
    ];
    if let Some(catalog) = &request.catalog {
        // Ours first: an app can never replace one of them.
        let roles = [content.join("roles/modules"), content.join("roles/system"), catalog.join("roles/apps")];
        environment.push(("ANSIBLE_ROLES_PATH", roles.map(PathBuf::into_os_string).join(OsStr::new(":"))));
        environment.push(("ANSIBLE_COLLECTIONS_PATH", catalog.join("collections").into()));
    }
    match request.strategy {
        Strategy::Linear => environment.push(("ANSIBLE_STRATEGY", "linear".into())),
        Strategy::Mitogen => {
            let plugins = bundle.join("lib/python3/dist-packages/ansible_mitogen/plugins/strategy");
            environment.push(("ANSIBLE_STRATEGY", "mitogen_linear".into()));
            environment.push(("ANSIBLE_STRATEGY_PLUGINS", plugins.into()));
            // It keeps one ssh per host by itself: a multiplexing master would only be one more process.
            environment.push(("ANSIBLE_SSH_ARGS", "-o ControlMaster=no".into()));
        }
    }
    environment.extend(common_agent(request).map(|socket| ("SSH_AUTH_SOCK", socket.into())));
    environment
}

/// The agent that all hosts share; where each has its own, their ssh arguments name it.
fn common_agent(request: &RunRequest) -> Option<&Path> {
    let mut sockets = request.hosts.iter().map(|host| host.transport.agent_socket.as_path());
    let first = sockets.next()?;
    sockets.all(|socket| socket == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::tests::request;

    #[test]
    fn a_run_gets_its_strategy_mode_and_agent() {
        let root = tempfile::tempdir().unwrap();
        let mut request = request(Strategy::Mitogen);
        request.check = true;
        let folder = RunDir::create(root.path(), request.run).unwrap();
        let invocation = invocation(Path::new("/bundle"), Path::new("/content"), &folder, &[request.run], &request);
        let arguments: Vec<_> =
            invocation.arguments.iter().skip(3).map(|argument| argument.to_str().unwrap()).collect();
        let inventory = folder.inventory();
        assert_eq!(
            arguments,
            ["--inventory", inventory.to_str().unwrap(), "--forks", "1", "--diff", "--check", "/content/site.yml"]
        );
        let value = |name: &str| {
            let found = invocation.environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        assert_eq!(value("ANSIBLE_STRATEGY").unwrap(), "mitogen_linear");
        assert_eq!(value("ANSIBLE_CONFIG").unwrap(), "/content/ansible.cfg");
        assert_eq!(value("ANSIBLE_ROLES_PATH"), None, "the shipped catalog stands in ansible.cfg");
        assert_eq!(value("SSH_AUTH_SOCK").unwrap(), "/run/agent");
        assert_eq!(value("OSTLER_RUN_ID").unwrap(), request.run.to_string());
    }

    #[test]
    fn roles_of_another_catalog_come_after_our_own() {
        let root = tempfile::tempdir().unwrap();
        let request = RunRequest { catalog: Some("/tree".into()), ..request(Strategy::Linear) };
        let folder = RunDir::create(root.path(), request.run).unwrap();
        let environment = environment(Path::new("/bundle"), Path::new("/content"), &folder, &[request.run], &request);
        let path = environment.iter().find(|(name, _)| *name == "ANSIBLE_ROLES_PATH").unwrap().1.to_str().unwrap();
        assert_eq!(path, "/content/roles/modules:/content/roles/system:/tree/roles/apps");
    }

    #[test]
    fn hosts_with_agents_of_their_own_get_no_common_one() {
        let mut request = request(Strategy::Linear);
        let mut other = request.hosts[0].clone();
        other.transport.agent_socket = "/run/another".into();
        request.hosts.push(other);
        assert_eq!(common_agent(&request), None);
    }

    #[test]
    fn no_secret_is_in_arguments_or_environment() {
        let root = tempfile::tempdir().unwrap();
        let request = request(Strategy::Linear);
        let folder = RunDir::create(root.path(), request.run).unwrap();
        let invocation = invocation(Path::new("/bundle"), Path::new("/content"), &folder, &[request.run], &request);
        assert!(!format!("{invocation:?}").contains("hunter2"));
    }
}
