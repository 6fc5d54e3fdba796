//! Examples for the tests of this crate.

use crate::{
    ids::{OperationId, ServerName, SubjectId},
    model::{Phase, ServerRecord},
    spec::*,
};

/// A plain server with nothing switched on.
pub fn server(name: &str) -> ServerSpec {
    ServerSpec {
        name: ServerName::parse(name).unwrap(),
        provider: ProviderOptions::Local(LocalOptions::default()),
        image: ImageRef::Named("debian-13".into()),
        size: Size { cpus: 1, memory: 1 << 30, disk: 8 << 30 },
        networks: vec![Network::default()],
        user: "admin".into(),
        password: None,
        authorized_keys: Vec::new(),
        exclusive_keys: false,
        ssh: SshPolicy { root_login: RootLogin::ProhibitPassword, ..SshPolicy::default() },
        modules: Default::default(),
        catalog: None,
        apps: Vec::new(),
        app_params: Default::default(),
        tunnel: None,
        ansible: AnsibleOptions::default(),
        template: None,
    }
}

/// Its record when nothing is known yet.
pub fn record(spec: &ServerSpec) -> ServerRecord {
    ServerRecord {
        id: SubjectId::new(),
        name: spec.name.clone(),
        provider: spec.provider.kind(),
        phase: Phase::Create,
        created_by: OperationId::new(),
        desired: spec.clone(),
        login_user: spec.user.clone(),
        machine: None,
        machine_next: None,
        host_keys: Vec::new(),
        client_key: None,
        pending_handlers: Vec::new(),
        unclean: false,
        verified: None,
    }
}
