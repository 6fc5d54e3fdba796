//! What build.rs put into the binary.

use crate::AnsibleError;
use ostler_core::spec::{CatalogIndex, ModuleMeta, Promise};

/// A file in the binary.
#[derive(Clone, Copy)]
pub(crate) struct Embedded {
    /// Hex.
    pub sha256: &'static str,
    /// The file.
    pub bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Whether this build carries an Ansible bundle.
pub fn has_bundle() -> bool {
    BUNDLE.is_some()
}

/// Tells the roles of this build from those of another: a sum over all of them.
pub fn roles_id() -> &'static str {
    CONTENT.sha256
}

/// The metadata of all modules, by name.
///
/// # Errors
/// [`AnsibleError::Metadata`] if a role says something that this version does not know; a test keeps that out of builds.
pub fn module_catalog() -> Result<Vec<ModuleMeta>, AnsibleError> {
    serde_json::from_str(MODULES)
        .map(ModuleMeta::share_settings)
        .map_err(|source| AnsibleError::Metadata { what: "meta/ostler.yml of the modules", source })
}

/// What holds on a server that has a tunnel, by the role that sets up its end.
///
/// # Errors
/// As for [`module_catalog`].
pub fn tunnel_promises() -> Result<Vec<Promise>, AnsibleError> {
    serde_json::from_str(TUNNEL)
        .map_err(|source| AnsibleError::Metadata { what: "meta/ostler.yml of cloudflared", source })
}

/// The catalog's index.
///
/// # Errors
/// As for [`module_catalog`].
pub fn catalog_index() -> Result<CatalogIndex, AnsibleError> {
    serde_json::from_str(CATALOG).map_err(|source| AnsibleError::Metadata { what: "catalog/index.json", source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::spec::FIREWALLS;

    #[test]
    fn every_module_and_app_has_metadata_that_this_version_reads() {
        let modules = module_catalog().unwrap();
        let of = |name: &str| &modules.iter().find(|module| module.name == name).unwrap().settings;
        assert!(!of("ufw").is_empty());
        for firewall in FIREWALLS {
            assert_eq!(of(firewall), of("ufw"), "all firewalls have the same settings");
        }
        assert!(!tunnel_promises().unwrap().is_empty());
        let index = catalog_index().unwrap();
        assert!(!index.apps.is_empty());
    }
}
