//! Reads a spec file from disk, and the catalog that it names, for the commands that take one.

use crate::{
    cli::Global,
    environment,
    output::{self, hints},
    wiring::{self, Session},
};
use ostler_ansible::{Catalog, CatalogStore};
use ostler_core::{
    Blame, Failure, Result,
    hint::{Hint, Next},
    ids::ServerName,
    ports::Store,
    spec::{
        self, CatalogIndex, CatalogSource, Elsewhere, ReadError, ServerSpec, SiteSpec, Spec, SpecContext, SpecFaults,
    },
};
use std::{io, path::Path};

/// The spec in `path` and the catalog that its apps come from, or every fault in it. The catalog is refreshed first, unless
/// `offline`.
pub async fn read(global: &Global, path: &Path, offline: bool) -> Result<(Spec, Catalog)> {
    let text = read_text(path)?;
    let catalog = catalog_of(global, &text, path, offline).await?;
    let mut spec = with_context(path, &catalog.index, |context| spec::read(&text, context).map_err(in_words))?;
    for server in &mut spec.servers {
        server.catalog.clone_from(&catalog.source);
        if let (None, Some(file)) = (server.vault_password(), catalog.encrypted_file(&server.apps)) {
            return Err(no_vault_password(path, server, &file));
        }
    }
    Ok((spec, catalog))
}

/// Only the catalog of the spec in `path`.
pub async fn catalog(global: &Global, path: &Path, offline: bool) -> Result<Catalog> {
    catalog_of(global, &read_text(path)?, path, offline).await
}

async fn catalog_of(global: &Global, text: &str, path: &Path, offline: bool) -> Result<Catalog> {
    let unknown = CatalogIndex::default();
    match with_context(path, &unknown, |context| spec::read_catalog(text, context).map_err(in_words))? {
        Some(source) => sync(global, &source, offline).await,
        None => Ok(Catalog::shipped()?),
    }
}

/// A catalog from Git, and on standard error what its user should know.
pub async fn sync(global: &Global, source: &CatalogSource, offline: bool) -> Result<Catalog> {
    let catalog = CatalogStore::new(&wiring::state_dir(global)?)
        .sync(source, offline)
        .await
        .map_err(|error| error.in_words(hints::command))?;
    for warning in &catalog.warnings {
        output::print_warning(global.output, warning);
    }
    Ok(catalog)
}

/// The same of a source that stands in no file; `flag` names the flag that says a key of it.
pub async fn sync_from_flags(
    global: &Global,
    source: &CatalogSource,
    flag: impl Fn(&str) -> String,
) -> Result<Catalog> {
    spec::check_source(source).map_err(|fault| {
        let failure = Failure::new(Blame::User, format!("{}: {}", flag(&fault.key_path), fault.message));
        Failure { hints: fault.hints, ..failure }
    })?;
    sync(global, source, false).await
}

fn no_vault_password(spec: &Path, server: &ServerSpec, file: &Path) -> Failure {
    let message = format!(
        "{}: catalog.vault_password: missing: {} of the catalog, which {} needs, is encrypted with `ansible-vault`",
        spec.display(),
        file.display(),
        server.name
    );
    Failure::new(Blame::Configuration, message).with_hint(
        Hint::from("write `vault_password: { secret: NAME }` beside the catalog's `url`; ")
            .with(Next::SetSecret(None))
            .with(" stores it"),
    )
}

fn in_words(error: ReadError) -> Failure {
    error.in_words(hints::command).into()
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::new(Blame::Configuration, error.to_string())
            .because_of(format!("the spec file {} can't be read", path.display()))
    })?;
    Ok(spec::decode(&bytes).map_err(|fault| SpecFaults { path: path.to_owned(), faults: vec![fault] })?)
}

/// A file of keys that a spec names: a text, in whatever encoding editors write.
pub fn read_named_file(path: &Path) -> io::Result<String> {
    spec::decode(&std::fs::read(path)?).map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault.message))
}

fn with_context<T>(path: &Path, catalog: &CatalogIndex, work: impl FnOnce(&SpecContext<'_>) -> Result<T>) -> Result<T> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    work(&SpecContext {
        path: path.to_owned(),
        folder: absolute.parent().unwrap_or(Path::new("/")).to_owned(),
        home: environment::home(),
        modules: &ostler_ansible::module_catalog()?,
        catalog,
        read_file: &read_named_file,
        is_file: &|path| path.is_file(),
        check_key: &|path| ostler_remote::check_key_file(path, environment::ssh_agent().as_deref()),
    })
}

/// Fails unless all servers are on record that the spec in `path` names and that are not in it.
pub async fn must_be_known(session: &Session, path: &Path, named: Vec<Elsewhere>) -> Result<()> {
    let mut faults = Vec::new();
    for Elsewhere { server, fault, needs } in named {
        match (session.store.server(&server).await?, needs) {
            (None, _) => faults.push(fault),
            (Some(record), Some((app, fault))) if !record.desired.apps.iter().any(|it| it == app) => faults.push(fault),
            (Some(_), _) => {}
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(in_words(SpecFaults { path: path.to_owned(), faults }.into())),
    }
}

/// The servers of a spec that the command line names; all of them if it names none.
pub fn chosen(spec: Spec, names: &[ServerName]) -> Result<Vec<ServerSpec>> {
    for name in names {
        if !spec.servers.iter().any(|server| server.name == *name) {
            let known: Vec<_> = spec.servers.iter().map(|server| server.name.as_str()).collect();
            return Err(Failure::new(Blame::User, format!("{} has no server `{name}`", spec.path.display()))
                .with_hint(format!("it has: {}", known.join(", "))));
        }
    }
    Ok(spec.servers.into_iter().filter(|server| names.is_empty() || names.contains(&server.name)).collect())
}

/// The sites of a spec that are on servers which the command line names; all of them if it names none.
pub fn sites_on(spec: &Spec, names: &[ServerName]) -> Vec<SiteSpec> {
    spec.sites.iter().filter(|site| names.is_empty() || names.contains(&site.server)).cloned().collect()
}

/// For clap.
pub fn server_name(text: &str) -> std::result::Result<ServerName, String> {
    ServerName::parse(text).map_err(|error| error.to_string())
}
