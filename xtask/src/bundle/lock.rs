//! `ansible/bundle.lock`: version and checksum of every input of the bundle.

use super::BundleError;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// The lock file. It is JSON with one entry per input, so that a change is easy to review.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    pub debs: Vec<Deb>,
    pub wheels: Vec<Wheel>,
}

/// A Debian package.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deb {
    pub package: String,
    /// With its epoch.
    pub version: String,
    pub archive: DebianArchive,
    /// Path below the archive's base: `pool/...`.
    pub path: String,
    /// Hex.
    pub sha256: String,
}

impl Deb {
    /// Its file name in the cache.
    pub fn file(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// One of Debian's archives. A host may use its own mirror for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebianArchive {
    /// `bookworm` and `bookworm-updates`.
    Debian,
    /// `bookworm-security`.
    DebianSecurity,
}

/// A wheel from PyPI.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Distribution name as in the file name.
    pub name: String,
    pub version: String,
    /// Its file name, on PyPI and in the cache.
    pub file: String,
    /// Hex.
    pub sha256: String,
    pub purpose: Purpose,
}

/// What a wheel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Goes into the bundle.
    Install,
    /// Some of its collections go into the bundle.
    Collections,
    /// The build uses it.
    Tool,
}

impl Lock {
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        let text = fs::read_to_string(path).map_err(BundleError::at(path))?;
        serde_json::from_str(&text).map_err(|source| BundleError::LockSyntax { path: path.to_owned(), source })
    }

    /// Writes the lock, with its entries sorted.
    pub fn write(mut self, path: &Path) -> Result<(), BundleError> {
        self.debs.sort();
        self.wheels.sort();
        fs::write(path, self.to_text()).map_err(BundleError::at(path))
    }

    /// The text of the lock file; [`Self::write`] sorts its entries first.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and lists always serialise") + "\n"
    }
}
