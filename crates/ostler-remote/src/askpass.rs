//! How ssh gets a password: from a program that it starts, which reads it from a pipe in the session's folder.
//!
//! So the password is in no argv, no environment and no file; the pipe has a name, but what is in it is in memory only.

use ostler_core::secret::Secret;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Answers once: a password that was refused would be refused again, and count twice.
const PROGRAM: &str = "#!/bin/sh\ncd \"${0%/*}\" && mkdir asked 2>/dev/null && exec head -n 1 password\n";

/// A password that lies ready for one ssh.
pub(crate) struct Askpass {
    program: PathBuf,
    /// Open for both ways, so that writing never waits and what is written stays until it is read.
    _pipe: File,
}

impl Askpass {
    /// Lays it ready in `dir`, a folder that nobody else can enter.
    pub(crate) fn prepare(dir: &Path, password: &Secret) -> io::Result<Self> {
        let (program, pipe) = (dir.join("askpass"), dir.join("password"));
        fs::write(&program, PROGRAM)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let mut pipe = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&pipe)?;
        pipe.write_all(format!("{}\n", password.expose()).as_bytes())?;
        Ok(Self { program, _pipe: pipe })
    }

    /// What ssh must find in its environment (ssh(1), ENVIRONMENT).
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("SSH_ASKPASS", self.program.clone()), ("SSH_ASKPASS_REQUIRE", PathBuf::from("force"))]
    }
}
