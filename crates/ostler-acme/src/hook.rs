//! What LEGO calls to have a name proved, and how that gets to the Ostler that runs LEGO.
//!
//! LEGO starts the program as `PROGRAM present NAME VALUE` or `PROGRAM cleanup NAME VALUE`, in its own folder, where a socket lies. What passes
//! is as public as the record that it becomes.

use crate::AcmeError;
use ostler_core::{Failure, ports::Validation};
use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    process::ExitCode,
    sync::Mutex,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

/// Tells a process by its presence that LEGO started it.
pub const HOOK: &str = "OSTLER_ACME_HOOK";
/// In LEGO's folder, where it starts programs.
const SOCKET: &str = "hook";
const DONE: &[u8] = b"done";

/// Does what LEGO asks of this process, if LEGO started it.
pub fn answer_hook() -> Option<ExitCode> {
    std::env::var_os(HOOK)?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let ask = || {
        let mut stream = UnixStream::connect(SOCKET)?;
        stream.write_all(words.join(" ").as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    // Whoever runs LEGO knows what went wrong, and says it.
    Some(if ask().is_ok_and(|answer| answer == DONE) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes the questions of one run of LEGO.
pub(crate) struct Hook {
    listener: UnixListener,
    /// Why the first of them failed that did.
    pub failure: Mutex<Option<Failure>>,
}

impl Hook {
    /// Listens in LEGO's folder, whatever the length of its path: a socket's own path may have no more than 107 bytes (unix(7)).
    pub fn listen(folder: &File) -> Result<Self, AcmeError> {
        let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
        let listener = UnixListener::bind(&path).map_err(AcmeError::at(path))?;
        Ok(Self { listener, failure: Mutex::default() })
    }

    /// Answers until it is dropped.
    pub async fn serve(&self, validation: &dyn Validation) {
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else { continue };
            let mut asked = String::new();
            if (&mut stream).take(4096).read_to_string(&mut asked).await.is_err() {
                continue;
            }
            let words: Vec<&str> = asked.split(' ').collect();
            let done = match words.as_slice() {
                ["present", name, value] => validation.publish(name.trim_end_matches('.'), value).await,
                ["cleanup", name, value] => validation.withdraw(name.trim_end_matches('.'), value).await,
                _ => continue,
            };
            match done {
                Ok(()) => drop(stream.write_all(DONE).await),
                Err(failure) => drop(self.failure.lock().expect("no panic while held").get_or_insert(failure)),
            }
        }
    }
}
