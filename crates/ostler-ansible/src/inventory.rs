//! The inventory: hosts, how to reach them, and their variables, exchange over a private socket so that no secret is on disk, in an
//! argument or in an environment.

use crate::AnsibleError;
use ostler_core::{
    ports::{RunHost, RunRequest},
    secret::Secret,
    spec::{self, SecretRef},
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, OnceLock},
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

/// Marks a value that the callback plugin has to mask wherever it turns up.
const SECRET_MARK: &str = "__ostler_secret__";
/// Longest request that is read, in bytes.
const REQUEST_LIMIT: usize = 4096;

/// The answer to `{"request":"inventory"}`, in the format of an inventory script, as one line.
pub(crate) fn document(request: &RunRequest) -> Secret {
    let names: Vec<&str> = request.hosts.iter().map(|host| host.name.as_str()).collect();
    let vars: Map<String, Value> = request.hosts.iter().map(|host| (host.name.to_string(), host_vars(host))).collect();
    Secret::new(json!({"all": {"hosts": names}, "_meta": {"hostvars": vars}}).to_string())
}

/// The request's own variables come last: they may say, for instance, that a host is this one.
fn host_vars(host: &RunHost) -> Value {
    let transport = &host.transport;
    let mut vars = Map::from_iter([
        ("ansible_host".to_owned(), json!(transport.address.ip().to_string())),
        ("ansible_port".to_owned(), json!(transport.address.port())),
        ("ansible_user".to_owned(), json!(transport.user)),
        ("ansible_ssh_common_args".to_owned(), json!(quoted(&transport.ssh_args))),
        ("ansible_python_interpreter".to_owned(), json!("/usr/bin/python3")),
        // What is large, mitogen compresses by itself.
        ("mitogen_ssh_compression".to_owned(), json!(false)),
        // Mitogen's own figures stand before ours on the command line, where the first one counts: half a minute, not five.
        ("mitogen_ssh_keepalive_interval".to_owned(), json!(10)),
        ("mitogen_ssh_keepalive_count".to_owned(), json!(3)),
    ]);
    vars.extend(host.vars.iter().map(|(name, value)| (name.clone(), exchange(value, &host.secrets))));
    // The launcher makes it the name of mitogen's interpreters on the server.
    vars.extend(vars.get("ostler_mark").cloned().map(|mark| ("mitogen_mask_remote_name".to_owned(), mark)));
    vars.extend(host.secret_vars.iter().map(|(name, secret)| (name.clone(), marked(secret))));
    Value::Object(vars)
}

/// A value with the texts of the secrets that it names.
fn exchange(value: &spec::Value, secrets: &BTreeMap<SecretRef, Secret>) -> Value {
    match value {
        spec::Value::Secret(name) => {
            marked(secrets.get(name).expect("a run is given the secrets that its variables name"))
        }
        spec::Value::List(items) => items.iter().map(|item| exchange(item, secrets)).collect(),
        spec::Value::Map(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), exchange(value, secrets))).collect())
        }
        plain => json!(plain),
    }
}

fn marked(secret: &Secret) -> Value {
    json!({ SECRET_MARK: secret.expose() })
}

/// One text that Python's `shlex.split` takes apart into `arguments`.
fn quoted(arguments: &[String]) -> String {
    let quote = |argument: &String| format!("'{}'", argument.replace('\'', r#"'"'"'"#));
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Answers until it is dropped.
pub(crate) struct Server {
    task: JoinHandle<()>,
    exchange: Arc<Exchange>,
}

struct Exchange {
    document: Secret,
    /// Why the plugin can't do with it.
    refused: OnceLock<String>,
}

impl Server {
    /// Listens at `path`, which lies in a folder of this user's alone.
    pub fn start(path: &Path, document: Secret) -> Result<Self, AnsibleError> {
        let listener = UnixListener::bind(path).map_err(AnsibleError::at(path))?;
        let exchange = Arc::new(Exchange { document, refused: OnceLock::new() });
        let shared = Arc::clone(&exchange);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let exchange = Arc::clone(&shared);
                // A peer that fails to ask or to listen shows it by itself: Ansible then has no inventory.
                tokio::spawn(async move { answer(stream, &exchange).await });
            }
        });
        Ok(Self { task, exchange })
    }

    /// Why the inventory plugin ended the run before it began, if it did.
    pub fn refused(&self) -> Option<&str> {
        self.exchange.refused.get().map(String::as_str)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one request of a process of the same user; the folder's mode alone would let root's processes in as well.
async fn answer(mut stream: UnixStream, exchange: &Exchange) -> io::Result<()> {
    if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let (reader, mut writer) = stream.split();
    let line = crate::events::next_line(&mut BufReader::new(reader), REQUEST_LIMIT).await?.unwrap_or_default();
    let request: Value = serde_json::from_slice(&line).unwrap_or_default();
    match (request["request"].as_str(), request["why"].as_str()) {
        (Some("inventory"), _) => writer.write_all(exchange.document.expose().as_bytes()).await?,
        (Some("refuse"), Some(why)) => {
            let _ = exchange.refused.set(why.to_owned()); // the first reason is the one that counts
            writer.write_all(b"{}").await?;
        }
        _ => writer.write_all(br#"{"error":"the requests are inventory and refuse"}"#).await?,
    }
    writer.write_all(b"\n").await
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ostler_core::ports::Playbook;
    use ostler_core::{
        ids::{RunId, ServerName},
        ports::Transport,
        spec::Strategy,
    };
    use tokio::io::AsyncReadExt;

    pub(crate) fn request(strategy: Strategy) -> RunRequest {
        let transport = Transport {
            address: "127.0.0.1:2222".parse().unwrap(),
            user: "ada".to_owned(),
            ssh_args: vec![
                "-F".to_owned(),
                "none".to_owned(),
                "-o".to_owned(),
                "UserKnownHostsFile=/a b/it's".to_owned(),
            ],
            agent_socket: "/run/agent".into(),
        };
        let host = RunHost {
            name: ServerName::parse("web").unwrap(),
            transport,
            vars: BTreeMap::from([("modules".to_owned(), spec::Value::List(vec![spec::Value::Int(1)]))]),
            secrets: BTreeMap::new(),
            secret_vars: BTreeMap::from([("ostler_password".to_owned(), Secret::new("hunter2"))]),
        };
        RunRequest {
            playbook: Playbook::Site,
            run: RunId::new(),
            hosts: vec![host],
            strategy,
            catalog: None,
            check: false,
        }
    }

    #[test]
    fn a_host_is_told_how_it_is_reached_and_what_it_shall_be() {
        let document: Value = serde_json::from_str(document(&request(Strategy::Linear)).expose()).unwrap();
        assert_eq!(
            document,
            json!({"all": {"hosts": ["web"]}, "_meta": {"hostvars": {"web": {
                "ansible_host": "127.0.0.1",
                "ansible_port": 2222,
                "ansible_user": "ada",
                "ansible_ssh_common_args": r#"'-F' 'none' '-o' 'UserKnownHostsFile=/a b/it'"'"'s'"#,
                "ansible_python_interpreter": "/usr/bin/python3",
                "mitogen_ssh_compression": false,
                "mitogen_ssh_keepalive_interval": 10,
                "mitogen_ssh_keepalive_count": 3,
                "modules": [1],
                "ostler_password": {"__ostler_secret__": "hunter2"},
            }}}})
        );
    }

    #[test]
    fn a_secret_within_a_variable_is_told_with_its_mark() {
        let mut request = request(Strategy::Linear);
        let host = &mut request.hosts[0];
        let name = SecretRef::Env("SHOP".into());
        let value = BTreeMap::from([("shop".to_owned(), spec::Value::Secret(name.clone()))]);
        host.vars.insert("passwords".into(), spec::Value::List(vec![spec::Value::Map(value)]));
        host.secrets.insert(name, Secret::new("hunter3"));
        let document: Value = serde_json::from_str(document(&request).expose()).unwrap();
        let passwords = &document["_meta"]["hostvars"]["web"]["passwords"];
        assert_eq!(passwords, &json!([{ "shop": { "__ostler_secret__": "hunter3" } }]));
        assert!(!format!("{request:?}").contains("hunter"));
    }

    async fn ask(path: &Path, line: &str) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn only_the_right_question_is_answered_with_the_inventory() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("socket");
        let server = Server::start(&path, Secret::new("{\"all\":1}")).unwrap();
        assert_eq!(ask(&path, "{\"request\":\"inventory\"}\n").await, "{\"all\":1}\n");
        assert!(ask(&path, "GET / HTTP/1.1\n").await.contains("error"));
        assert!(ask(&path, &format!("{}\n", "x".repeat(100_000))).await.contains("error"));
        assert_eq!(server.refused(), None);
        assert_eq!(ask(&path, "{\"request\":\"refuse\",\"why\":\"no\"}\n").await, "{}\n");
        assert_eq!(server.refused(), Some("no"));
    }
}
