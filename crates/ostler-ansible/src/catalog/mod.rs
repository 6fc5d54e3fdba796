//! Catalogs: where apps come from. One ships with Ostler; others are Git repositories.
//!
//! `git` fetches, `checkout` writes a commit's files, `check` says everything that is wrong with them, and [`CatalogStore`] keeps
//! the good ones: each commit in a folder of its own that is never changed, so that a run in progress keeps what it began with.

mod check;
mod checkout;
mod error;
mod git;
mod new;
mod store;
mod vault;

pub use check::{Checked, check_catalog};
pub use error::CatalogError;
pub use new::new_catalog;
pub use store::CatalogStore;

use crate::AnsibleError;
use ostler_core::spec::{CatalogIndex, CatalogSource};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// A catalog at hand.
#[derive(Debug)]
pub struct Catalog {
    /// Its apps.
    pub index: CatalogIndex,
    /// Where it comes from, with the commit; `None`: it ships with Ostler.
    pub source: Option<CatalogSource>,
    /// Folder with its files, there as long as this lives; `None`: it ships with Ostler.
    pub tree: Option<PathBuf>,
    /// What its user should know: that it could not be refreshed, or what of it was left out.
    pub warnings: Vec<String>,
    /// Keeps the folder from being removed.
    _in_use: Option<File>,
}

impl Catalog {
    /// The one that ships with Ostler.
    ///
    /// # Errors
    /// As for [`catalog_index`](crate::catalog_index).
    pub fn shipped() -> Result<Self, AnsibleError> {
        let index = crate::catalog_index()?;
        Ok(Self { index, source: None, tree: None, warnings: Vec::new(), _in_use: None })
    }

    /// One that lies in a folder, as its author works on it.
    ///
    /// # Errors
    /// All its faults.
    pub fn in_folder(folder: &Path) -> Result<Self, CatalogError> {
        let index = check_catalog(folder, folder).into_index(format!("the catalog in {}", folder.display()))?;
        Ok(Self { index, source: None, tree: Some(folder.to_owned()), warnings: Vec::new(), _in_use: None })
    }

    /// A file, relative to the catalog's folder, of the roles of these apps that holds something encrypted with `ansible-vault`.
    /// Roles that those include are not looked at.
    pub fn encrypted_file(&self, apps: &[String]) -> Option<PathBuf> {
        let tree = self.tree.as_ref()?;
        let roles = self.index.apps.iter().filter(|meta| apps.contains(&meta.name)).map(|meta| &meta.role);
        let file = roles.map(|role| tree.join(role_folder(role))).find_map(|role| vault::first_encrypted(&role))?;
        file.strip_prefix(tree).ok().map(Path::to_owned)
    }
}

/// Where a catalog has a role: `name`, or `namespace.collection.name` of a collection that it brings.
fn role_folder(role: &str) -> PathBuf {
    match role.split('.').collect::<Vec<_>>().as_slice() {
        [namespace, collection, role] => {
            let collection = Path::new("collections/ansible_collections").join(namespace).join(collection);
            collection.join("roles").join(role)
        }
        _ => Path::new("roles/apps").join(role),
    }
}
