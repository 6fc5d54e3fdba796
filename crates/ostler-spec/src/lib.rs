//! The desired state: `ostler.yaml`, read into types that can't say anything impossible.
//!
//! One description of the file's shape (`grammar`) serves four: the check of a text (`walk`), the values of what is not
//! written, the JSON Schema for editors (`schema`) and the reference for people (`reference`). A text passes through
//! `node` (YAML with places), `walk` (right shape, defaults filled in) and `convert` (types, and rules that join keys);
//! none of them stops at the first fault.

mod access;
mod apps;
mod balancer;
mod catalog;
mod convert;
mod dns;
mod encoding;
pub mod error;
mod fault;
mod format;
mod grammar;
mod hetzner;
pub mod hint;
mod index;
mod model;
mod module;
mod mount;
mod name;
mod node;
mod opening;
mod params;
mod peers;
mod promise;
mod provider;
mod proxmox;
mod public_key;
mod question;
mod reference;
mod rsa;
mod rules;
mod schema;
mod shape;
mod site;
mod size;
mod template;
mod timezone;
mod tunnel;
mod value;
mod walk;

pub use balancer::{HetznerBalancer, HetznerHealth, HetznerHttpCheck, HetznerService};
pub use catalog::*;
pub use dns::{DnsOptions, ZoneSpec};
pub use encoding::decode;
pub use fault::{Fault, SpecFaults, join as key_path};
pub use hetzner::hetzner_endpoint;
pub use index::{IndexReading, RolePlace, read_index};
pub use model::*;
pub use module::*;
pub use name::*;
pub use opening::{FIREWALLS, Opening, Source, app_ports, openings};
pub use params::{ShapeError, app_parameters, check_app, check_module};
pub use promise::Promise;
pub use provider::ProviderOptions;
pub use question::{KeyRule, Question, QuestionKind, Questions, Word, shown};
pub use reference::Parameter;
pub use rules::{IMAGES as NAMED_IMAGES, KINDS as PROVIDER_KINDS};
pub use site::{Domain, SITE_APP, SiteCertificate, SiteHealth, SiteSource, SiteSpec};
pub use template::*;

use node::Kind;
use std::{
    io,
    path::{Path, PathBuf},
};

/// What the reading of a spec needs to know besides its text.
pub struct SpecContext<'a> {
    /// The file as the user named it: starts each fault.
    pub path: PathBuf,
    /// Its folder, absolute: relative paths in the file are relative to it, and mean the same wherever they are read again.
    pub folder: PathBuf,
    /// What `~/` stands for.
    pub home: Option<PathBuf>,
    /// Modules that there are.
    pub modules: &'a [ModuleMeta],
    /// Apps that there are.
    pub catalog: &'a CatalogIndex,
    /// Reads a file of keys. This crate does no I/O.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Whether there is such a file.
    pub is_file: &'a dyn Fn(&Path) -> bool,
    /// Whether ssh can use the private key in a file.
    pub check_key: &'a dyn Fn(&Path) -> Result<(), KeyFault>,
}

/// Why ssh can't use a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFault {
    /// What is wrong, with the key's path.
    pub message: String,
    /// What to do, without a final full stop.
    pub hint: String,
}

/// Why there is no spec.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is at fault.
    #[error(transparent)]
    Faults(#[from] SpecFaults),
    /// A module's or an app's description is.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl crate::error::Classify for ReadError {
    fn blame(&self) -> crate::error::Blame {
        match self {
            ReadError::Faults(faults) => faults.blame(),
            ReadError::Shape(error) => error.blame(),
        }
    }

    fn hints(&self) -> Vec<hint::Hint> {
        match self {
            ReadError::Faults(faults) => faults.hints(),
            ReadError::Shape(error) => error.hints(),
        }
    }
}

impl ReadError {
    /// The same with the hints of all faults in words alone; see [`SpecFaults::in_words`].
    pub fn in_words(self, called: impl Fn(&hint::Next) -> String) -> Self {
        match self {
            Self::Faults(faults) => Self::Faults(faults.in_words(called)),
            Self::Shape(error) => Self::Shape(error),
        }
    }
}

/// Reads a spec, or says everything that is wrong with it.
pub fn read(text: &str, context: &SpecContext<'_>) -> Result<Spec, ReadError> {
    match parse(text, context, Some(context.catalog))? {
        Parsed { spec: Some(spec), faults, .. } if faults.is_empty() => Ok(spec),
        Parsed { faults, .. } => Err(SpecFaults::new(&context.path, faults).into()),
    }
}

/// Reads where the apps of a spec come from, which must be known before the apps can be checked; `None`: from the catalog that
/// ships with Ostler. Where a spec names another one, everything in it but the apps is checked as well, for a file that is at
/// fault is no reason to fetch anything. `context.catalog` is not looked at.
pub fn read_catalog(text: &str, context: &SpecContext<'_>) -> Result<Option<CatalogSource>, ReadError> {
    match parse(text, context, None)? {
        Parsed { spec: Some(spec), faults, .. } if faults.is_empty() => Ok(spec.catalog),
        Parsed { names_catalog: false, .. } => Ok(None),
        Parsed { faults, .. } => Err(SpecFaults::new(&context.path, faults).into()),
    }
}

/// Holds a source that stands in no file against the rules of `catalog`; the first fault has its key (`url`) as its path.
pub fn check_source(source: &CatalogSource) -> Result<(), Fault> {
    let value = serde_json::to_value(source).and_then(serde_json::from_value).expect("plain data of this crate");
    let mut faults = Vec::new();
    let node = node::Node::from_value(&value, fault::At { line: 1, column: 1 });
    walk::walk(&node, &grammar::catalog(), "", &mut faults);
    faults.into_iter().next().map_or(Ok(()), Err)
}

/// What came of a text.
struct Parsed {
    /// Whole only where there are no faults.
    spec: Option<Spec>,
    faults: Vec<Fault>,
    /// It has a `catalog` that is not null.
    names_catalog: bool,
}

fn parse(text: &str, context: &SpecContext<'_>, catalog: Option<&CatalogIndex>) -> Result<Parsed, ShapeError> {
    let shape = grammar::spec(context.modules, catalog)?;
    let mut faults = Vec::new();
    let mut names_catalog = false;
    let spec = match node::load(text) {
        Ok(node) if matches!(node.kind, Kind::Null) => {
            faults.push(fault::Problem::new("the file is empty").hint(convert::SHORTEST).at(node.at, ""));
            None
        }
        Ok(mut node) => {
            node::duplicates(&node, "", &mut faults);
            node.forget(|key| key.starts_with(grammar::SHARED));
            let found = walk::walk(&node, &shape, "", &mut faults);
            names_catalog = found.get("catalog").is_some_and(|catalog| !catalog.is_null());
            convert::spec(&found, context, catalog, &mut faults)
        }
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    Ok(Parsed { spec, faults, names_catalog })
}

/// JSON Schema (draft 2020-12) of the spec, for editors.
pub fn json_schema(modules: &[ModuleMeta], catalog: &CatalogIndex) -> Result<serde_json::Value, ShapeError> {
    Ok(schema::document(&grammar::spec(modules, Some(catalog))?))
}

/// Markdown tables of every key of the spec, and of the modules.
pub fn reference(modules: &[ModuleMeta]) -> Result<String, ShapeError> {
    Ok(reference::tables(&grammar::spec(modules, Some(&CatalogIndex::default()))?))
}

/// A module's page in Markdown; `more` is what its metadata can't say.
pub fn module_page(module: &ModuleMeta, more: &str) -> Result<String, ShapeError> {
    Ok(reference::page(module, &params::module(module)?, more))
}

/// Any small YAML file as plain data, with the same bounds and the same care for duplicate keys as a spec.
pub fn plain_yaml(path: &Path, text: &str) -> Result<Value, SpecFaults> {
    let mut faults = Vec::new();
    match node::load(text) {
        Ok(node) => {
            node::duplicates(&node, "", &mut faults);
            if faults.is_empty() {
                return Ok(node.to_value());
            }
        }
        Err(fault) => faults.push(fault),
    }
    Err(SpecFaults::new(path, faults))
}

/// What keeps a text from being YAML at all. What its tags and values mean is not looked at, for they are someone else's.
pub fn yaml_fault(text: &str) -> Option<Fault> {
    node::syntax_fault(text)
}
