//! Checksums as publishers write them.

use super::error::ImageError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    str::FromStr,
};

/// A checksum of a file: `sha256:HEX` or `sha512:HEX`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sum {
    kind: Kind,
    hex: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Sha256,
    Sha512,
}

impl Sum {
    /// Enough of it to name a file by.
    pub fn short(&self) -> &str {
        &self.hex[..16]
    }

    /// Its algorithm, as Proxmox VE and sha512sum(1) name it, and its digits.
    pub fn parts(&self) -> (&'static str, &str) {
        let algorithm = match self.kind {
            Kind::Sha256 => "sha256",
            Kind::Sha512 => "sha512",
        };
        (algorithm, &self.hex)
    }

    /// The SHA-512 of a file.
    pub fn sha512_of(path: &Path) -> io::Result<Self> {
        Ok(Self { kind: Kind::Sha512, hex: digest::<Sha512>(path)? })
    }

    /// A file's checksum of the same kind as this one.
    pub fn same_kind_of(&self, path: &Path) -> io::Result<Self> {
        let hex = match self.kind {
            Kind::Sha256 => digest::<Sha256>(path)?,
            Kind::Sha512 => digest::<Sha512>(path)?,
        };
        Ok(Self { kind: self.kind, hex })
    }
}

impl FromStr for Sum {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let bad = || ImageError::BadSum(text.to_owned());
        let (kind, hex) = text.split_once(':').ok_or_else(bad)?;
        let (kind, digits) = match kind {
            "sha256" => (Kind::Sha256, 64),
            "sha512" => (Kind::Sha512, 128),
            _ => return Err(bad()),
        };
        if hex.len() != digits || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        Ok(Self { kind, hex: hex.to_ascii_lowercase() })
    }
}

impl TryFrom<String> for Sum {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Sum> for String {
    fn from(sum: Sum) -> Self {
        sum.to_string()
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Sha256 => "sha256",
            Kind::Sha512 => "sha512",
        };
        write!(f, "{kind}:{}", self.hex)
    }
}

fn digest<D: Digest>(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = D::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
