//! Where QEMU's programs are. The search path is given, not read: a library does not look at its environment.

use super::error::LocalError;
use std::{env, ffi::OsString, path::PathBuf};

/// Finds programs.
#[derive(Clone, Debug)]
pub struct Programs {
    search_path: OsString,
}

impl Programs {
    /// Looks in `search_path`, which is written as `PATH` is.
    pub fn new(search_path: impl Into<OsString>) -> Self {
        Self { search_path: search_path.into() }
    }

    /// The emulator.
    pub fn qemu(&self) -> Result<PathBuf, LocalError> {
        self.find("qemu-system-x86_64")
    }

    /// The tool for disks.
    pub fn qemu_img(&self) -> Result<PathBuf, LocalError> {
        self.find("qemu-img")
    }

    fn find(&self, name: &'static str) -> Result<PathBuf, LocalError> {
        env::split_paths(&self.search_path)
            .map(|folder| folder.join(name))
            .find(|path| path.is_absolute() && path.is_file())
            .ok_or(LocalError::ProgramMissing(name))
    }
}
