//! The serial console's file: its end, readable.

use super::{error::LocalError, machine::Home};
use ostler_core::text::plain;
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// What the guest wrote since the machine was started.
pub const CONSOLE: &str = "console.log";
/// What it wrote the time before.
const BEFORE: &str = "console.log.1";

/// Keeps the console of the last start aside.
pub fn rotate(home: &Home) -> Result<(), LocalError> {
    let console = home.file(CONSOLE);
    match fs::rename(&console, home.file(BEFORE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LocalError::file("keep", console)(error)),
        _ => Ok(()),
    }
}

/// The last `count` lines of a file that are not blank, without control sequences. No file, no lines.
pub fn tail(path: &Path, count: usize) -> Result<Vec<String>, LocalError> {
    match last_bytes(path) {
        Ok(bytes) => Ok(last_lines(&bytes, count)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(LocalError::file("read", path)(error)),
    }
}

/// The last `count` lines of what a console said that are not blank, without control sequences.
pub fn last_lines(said: &[u8], count: usize) -> Vec<String> {
    let text = plain(&String::from_utf8_lossy(said));
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

fn last_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
    let mut bytes = Vec::new();
    file.take(ENOUGH).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes that hold more lines than anybody asks for.
const ENOUGH: u64 = 64 * 1024;
