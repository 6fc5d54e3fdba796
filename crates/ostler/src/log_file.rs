//! The JSON-line log of everything, for people's own tools. The store stays the truth; this is a copy to grep.
//!
//! Several Ostlers may write it at once: each batch is one append, and who rotates it has a lock on the folder. Nobody waits for
//! that lock, for its holder may have been stopped.

use crate::output::hints;
use ostler_core::event::Event;
use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A log that is renamed away when it has grown.
pub struct LogFile {
    path: PathBuf,
}

/// Size in bytes at which the log is rotated.
const LIMIT: u64 = 10 * 1024 * 1024;
/// Rotated logs that are kept.
const KEEP: u32 = 5;

impl LogFile {
    /// `ostler.jsonl` in `dir`, which is made if it is missing.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { path: dir.join("ostler.jsonl") })
    }

    /// Appends events, a line each; but no progress, which is not stored either.
    pub fn append(&self, events: &[&Event]) -> io::Result<()> {
        let events: Vec<&&Event> = events.iter().filter(|event| event.kind.is_stored()).collect();
        if events.is_empty() {
            return Ok(());
        }
        // Two that rotate at once would push out what is young.
        let folder = fs::File::open(self.path.parent().unwrap_or(Path::new("/")))?;
        let grown = fs::metadata(&self.path).is_ok_and(|meta| meta.len() > LIMIT);
        if grown && rustix::fs::flock(&folder, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Another one may have done it in between.
            if fs::metadata(&self.path).is_ok_and(|meta| meta.len() > LIMIT) {
                self.rotate()?;
            }
        }
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, &event.with_hints_in_words(hints::command))?;
            lines.push(b'\n');
        }
        let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        io::Write::write_all(&mut file, &lines)
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..KEEP).rev() {
            match fs::rename(self.rotated(number), self.rotated(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.rotated(1))
    }

    fn rotated(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("jsonl.{number}"))
    }
}
