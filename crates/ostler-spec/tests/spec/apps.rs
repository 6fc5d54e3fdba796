//! Apps, their dependencies, ports and parameters.

use crate::fixture::{catalog, check, check_server, good, server};
use ostler_spec::{AppMeta, SecretRef, Value, app_parameters, check_app};
use serde_json::json;

#[test]
fn apps_that_cannot_run() {
    check_server(
        "apps: [ ngnix, base, base ]",
        "
ostler.yaml:3:13: servers.web1.apps[0]: the catalog has no app `ngnix`
  hint: did you mean `nginx`?
ostler.yaml:3:26: servers.web1.apps[2]: `base` is named twice
",
    );
    check_server(
        "apps: [ hen ]",
        "ostler.yaml:3:13: servers.web1.apps[0]: apps depend on one another in a circle: hen -> egg -> hen",
    );
    check_server(
        "apps: [ widow ]",
        "ostler.yaml:3:13: servers.web1.apps[0]: app `widow` depends on `gone`, which the catalog does not have",
    );
    check_server(
        "apps: [ nginx, apache ]",
        "
ostler.yaml:3:20: servers.web1.apps[1]: app `apache` and app `nginx` both want port 80/tcp
  hint: one server can have only one of them
",
    );
    check_server(
        "apps: [ sftp ]",
        "
ostler.yaml:3:13: servers.web1.apps[0]: app `sftp` and the SSH server both want port 22/tcp
  hint: one server can have only one of them
",
    );
}

#[test]
fn parameters() {
    check_server(
        "apps: [ nginx ]\napp_params:\n  nginx: { worker_connections: 10, mode: big, index: [ A ], ratio: 1.5, workers: 1 }\n  \
         apache: {}\n  php: {}",
        "
ostler.yaml:5:36: servers.web1.app_params.nginx.worker_connections: 10 is out of range: 64 to 65536
ostler.yaml:5:46: servers.web1.app_params.nginx.mode: expected one of `fast`, `small`, found `big`
ostler.yaml:5:60: servers.web1.app_params.nginx.index[0]: `A` does not have the right form
  hint: it must match `^[a-z.]+$`
ostler.yaml:5:72: servers.web1.app_params.nginx.ratio: 1.5 is out of range: 0 to 1
ostler.yaml:5:77: servers.web1.app_params.nginx.workers: unknown key
  hint: known here: `index`, `mode`, `ratio`, `worker_connections`
ostler.yaml:6:15: servers.web1.app_params.apache: `apache` is not among the apps of this server
  hint: add it to `apps`, or take its parameters out
ostler.yaml:7:7: servers.web1.app_params.php: unknown key
  hint: known here: `nginx`, `apache`, `certs`, `base`, `mail`, `hen`, `egg`, `widow`, `cluster`, `sftp`
",
    );
    check_server(
        "apps: [ mail ]",
        "
ostler.yaml:2:3: servers.web1.app_params: app `mail` needs the parameter `domain`
  hint: write `app_params: { mail: { domain: … } }`
",
    );
    check_server(
        "apps: [ mail ]\napp_params: { mail: { other: 1 } }",
        "ostler.yaml:4:25: servers.web1.app_params.mail.domain: missing",
    );
}

/// Servers with these apps and parameters, one a line from line 2.
fn servers(all: &[(&str, &str)]) -> String {
    let line = |(name, rest): &(&str, &str)| format!("  {name}: {{ authorized_keys: [ keys/ann.pub ], {rest} }}\n");
    format!("servers:\n{}", all.iter().map(line).collect::<String>())
}

fn joins(name: &str) -> String {
    format!("apps: [ cluster ], app_params: {{ cluster: {{ join: {name} }} }}")
}

#[test]
fn servers_that_parameters_name() {
    let joining = good(&servers(&[("web1", "apps: [ cluster ]"), ("web2", &joins("web1")), ("web3", &joins("web1"))]));
    assert_eq!(joining.elsewhere, []);
    // It may be on record, which whoever reads the spec has to find out.
    let elsewhere = good(&servers(&[("web1", "apps: [ cluster ]"), ("web2", &joins("wev1"))])).elsewhere;
    let [there] = elsewhere.as_slice() else { panic!("{elsewhere:?}") };
    assert_eq!((there.server.as_str(), there.fault.line), ("wev1", 3));
    assert_eq!(there.fault.key_path, "servers.web2.app_params.cluster.join");
    assert_eq!(there.fault.message, "there is no server `wev1`, neither in this file nor on record");

    check(
        &servers(&[("web1", &joins("web1")), ("web2", &joins("db")), ("db", "apps: [ base ]")]),
        "
ostler.yaml:2:96: servers.web1.app_params.cluster.join: it names itself
  hint: `web1` is the one that others name: leave its `join` out
ostler.yaml:3:96: servers.web2.app_params.cluster.join: `db` does not have the app `cluster`
  hint: add `cluster` to its `apps`, or name another server
",
    );
    check(
        &servers(&[("web1", &joins("web2")), ("web2", &joins("web1")), ("web3", &joins("web2"))]),
        "
ostler.yaml:2:96: servers.web1.app_params.cluster.join: `web1` and `web2` name each other
  hint: `web2` is the one that others name: leave its `join` out
ostler.yaml:3:96: servers.web2.app_params.cluster.join: `web2` and `web1` name each other
  hint: `web1` is the one that others name: leave its `join` out
ostler.yaml:4:96: servers.web3.app_params.cluster.join: `web2` itself names `web1`
  hint: name `web1` here, too, unless that is this server
",
    );
}

#[test]
fn an_open_schema_lets_further_parameters_through() {
    let spec = good(&server("apps: [ mail ]\napp_params: { mail: { domain: example.org, other: { a: [ 1 ] } } }"));
    assert_eq!(spec.servers[0].app_params["mail"]["domain"], Value::String("example.org".into()));
    assert!(matches!(spec.servers[0].app_params["mail"]["other"], Value::Map(_)));
}

#[test]
fn secrets_among_parameters_are_named_and_never_held() {
    let spec = good(&server(
        "apps: [ mail ]\napp_params: { mail: { domain: a.org, password: { secret: mail }, accounts: { ann: { env: ANN }, \
         bob: { file: bob.txt } } } }",
    ));
    let web1 = &spec.servers[0];
    let password = SecretRef::Secret("mail".into());
    assert_eq!(web1.app_params["mail"]["password"], Value::Secret(password.clone()));
    let accounts = [SecretRef::Env("ANN".into()), SecretRef::File("/etc/specs/bob.txt".into())];
    assert_eq!(web1.secrets(), [&accounts[0], &accounts[1], &password]);
    let stored = serde_json::to_string(web1).unwrap();
    assert_eq!(serde_json::from_str::<ostler_spec::ServerSpec>(&stored).unwrap(), *web1);

    check_server(
        "apps: [ mail ]\napp_params: { mail: { domain: a.org, password: hunter2, accounts: { ann: 12345 } } }",
        "
ostler.yaml:4:52: servers.web1.app_params.mail.password: a secret must not be in this file
  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`; the one that was here is exposed: choose another
ostler.yaml:4:78: servers.web1.app_params.mail.accounts.ann: a secret must not be in this file
  hint: write `{ env: NAME }`, `{ file: PATH }` or `{ secret: NAME }`; the one that was here is exposed: choose another
",
    );
    let mail = catalog().apps.into_iter().find(|app| app.name == "mail").unwrap();
    let shown = app_parameters(&mail).unwrap().into_iter().find(|parameter| parameter.name == "password").unwrap();
    assert_eq!(shown.value, "`{ secret: NAME }`, `{ env: NAME }` or `{ file: PATH }`");
}

#[test]
fn a_schema_that_promises_more_than_is_checked_is_refused() {
    let check = |params| {
        let meta: AppMeta = serde_json::from_value(json!({ "name": "x", "role": "x", "params": params })).unwrap();
        check_app(&meta).map_err(|error| error.to_string())
    };
    let object = |property| json!({ "type": "object", "properties": { "a": property } });
    assert_eq!(
        check(object(json!({ "type": "string", "minLength": 3 }))),
        Err("`x.a`: unsupported in a schema of parameters: `minLength`".into())
    );
    assert_eq!(check(json!({ "type": "string" })), Err("`x`: unsupported in a schema of parameters: `type`".into()));
    assert_eq!(check(object(json!({ "type": "string", "pattern": "(" }))), Err("`x.a`: bad pattern".into()));
    assert_eq!(
        check(object(json!({ "type": "integer", "maximum": 5, "default": 6 }))),
        Err("`x.a`: bad default: 6 is out of range: at most 5".into())
    );
    for (rule, keyword) in [
        (json!({ "type": "string", "writeOnly": true, "pattern": "^.{12,}$" }), "pattern"),
        (json!({ "type": "string", "writeOnly": true, "default": "hunter2" }), "default"),
        (json!({ "type": "integer", "writeOnly": true }), "type"),
        (json!({ "writeOnly": true }), "type"),
    ] {
        let message =
            format!("`x.a`: a secret (`writeOnly`) is a string without further rules: `{keyword}` can't be checked");
        assert_eq!(check(object(rule)), Err(message));
    }
    assert_eq!(check(object(json!({ "type": "string", "writeOnly": false, "pattern": "^a$" }))), Ok(()));
    assert_eq!(check(object(json!({ "type": "object", "additionalProperties": { "type": "boolean" } }))), Ok(()));
}
