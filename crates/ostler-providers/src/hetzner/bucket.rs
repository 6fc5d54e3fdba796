//! The requests that a token has left. Hetzner gives each project 3,600 an hour, one back each second, whoever asks; so all Ostlers of a
//! state directory count together, in a small file for each token.

use super::error::HetznerError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Requests an hour.
const LIMIT: f64 = 3600.0;
/// Requests that come back in a second.
const BACK: f64 = LIMIT / 3600.0;

/// The bucket of one token.
#[derive(Clone, Debug)]
pub struct Bucket {
    file: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Level {
    /// Requests that may be sent at once.
    left: f64,
    /// When that was so, in seconds since 1970.
    at: f64,
}

impl Bucket {
    /// In this folder, which is made where it is missing. The file's name tells tokens apart and nothing of them.
    pub fn of(folder: &Path, token: &str) -> Self {
        let digest: String = Sha256::digest(token).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { file: folder.join(format!("{digest}.json")) }
    }

    /// Takes one request, and waits for it where none is left.
    pub async fn take(&self) -> Result<(), HetznerError> {
        loop {
            let wait = self.change(|left| if *left >= 1.0 { (*left -= 1.0, 0.0).1 } else { (1.0 - *left) / BACK })?;
            if wait <= 0.0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs_f64(wait)).await;
        }
    }

    /// What the vendor says is left, for others use the token, too.
    pub fn heard(&self, remaining: f64) -> Result<(), HetznerError> {
        self.change(|left| *left = left.min(remaining))
    }

    /// Changes what is left now, while nobody else does.
    fn change<T>(&self, change: impl FnOnce(&mut f64) -> T) -> Result<T, HetznerError> {
        self.locked(change).map_err(|source| HetznerError::Bucket { path: self.file.display().to_string(), source })
    }

    fn locked<T>(&self, change: impl FnOnce(&mut f64) -> T) -> std::io::Result<T> {
        let mut file = self.open()?;
        // It goes with the file; nothing is awaited until then.
        file.lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut left = match serde_json::from_str::<Level>(&text) {
            Ok(level) => (level.left + (now - level.at).max(0.0) * BACK).min(LIMIT),
            Err(_) => LIMIT,
        };
        let result = change(&mut left);
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&serde_json::to_vec(&Level { left, at: now })?)?;
        Ok(result)
    }

    fn open(&self) -> std::io::Result<File> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn two_who_share_a_token_share_what_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["secret"; 2].map(|token| Bucket::of(folder.path(), token));
        one.take().await.unwrap();
        one.heard(1.5).unwrap();
        other.take().await.unwrap();
        let begun = Instant::now();
        one.take().await.unwrap();
        assert!(begun.elapsed() > Duration::from_millis(300), "one comes back a second");
        Bucket::of(folder.path(), "another").take().await.unwrap();
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files.len(), 2, "{files:?}");
    }
}
