//! `ansible/bundle.lock`: version and sum of everything that goes into the bundle.

use super::BundleError;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// The lock file. JSON with one entry per input, so that a change reads well in a review.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Debian packages.
    pub debs: Vec<Deb>,
    /// Wheels.
    pub wheels: Vec<Wheel>,
}

/// A Debian package.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deb {
    /// Name.
    pub package: String,
    /// Version, with its epoch.
    pub version: String,
    /// Which of Debian's archives has it.
    pub archive: DebianArchive,
    /// Path below the archive's base: `pool/...`.
    pub path: String,
    /// Hex.
    pub sha256: String,
}

impl Deb {
    /// Name of the file in the cache.
    pub fn file(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// One of Debian's archives; each host may have mirrors of its own for them.
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
    /// Version.
    pub version: String,
    /// File name.
    pub file: String,
    /// Hex.
    pub sha256: String,
    /// What it is for.
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
    /// Is used while building.
    Tool,
}

impl Lock {
    /// Reads it.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        let text = fs::read_to_string(path).map_err(BundleError::at(path))?;
        serde_json::from_str(&text).map_err(|source| BundleError::LockSyntax { path: path.to_owned(), source })
    }

    /// Writes it.
    pub fn write(mut self, path: &Path) -> Result<(), BundleError> {
        self.debs.sort();
        self.wheels.sort();
        fs::write(path, self.to_text()).map_err(BundleError::at(path))
    }

    /// The lock file's text.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and lists always serialise") + "\n"
    }
}
