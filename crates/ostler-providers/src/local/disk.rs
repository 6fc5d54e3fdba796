//! Disks: thin overlays of images, made and grown by `qemu-img`.

use super::{error::LocalError, programs::Programs};
use serde::Deserialize;
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

/// What `qemu-img info` says of a disk or image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskInfo {
    /// `qcow2`, `raw`, ...
    pub format: String,
    /// Bytes that a guest sees.
    pub virtual_size: u64,
}

/// Looks at a disk or image, also while a machine uses it.
pub async fn info(programs: &Programs, path: &Path) -> Result<DiskInfo, LocalError> {
    let args = [OsStr::new("--output=json"), OsStr::new("--force-share"), path.as_os_str()];
    let output = qemu_img(programs, "info", path, &args).await?;
    serde_json::from_slice(&output).map_err(|source| LocalError::Damaged { path: path.to_owned(), source })
}

/// Makes `disk` an overlay of `image` with `size` bytes. It is there whole or not at all.
pub async fn create(programs: &Programs, disk: &Path, image: &Path, size: u64) -> Result<(), LocalError> {
    let image = fs::canonicalize(image).map_err(LocalError::file("read", image))?;
    let base = info(programs, &image).await?;
    if base.virtual_size > size {
        return Err(LocalError::ImageTooBig { image, needs: mib_up(base.virtual_size), wanted: size / MIB });
    }
    let fresh = PathBuf::from(disk.as_os_str().to_owned()).with_extension("new");
    let bytes = size.to_string();
    let args = ["-q", "-f", "qcow2", "-F", &base.format, "-b"].map(OsStr::new);
    let args: Vec<&OsStr> =
        args.into_iter().chain([image.as_os_str(), fresh.as_os_str(), OsStr::new(bytes.as_str())]).collect();
    qemu_img(programs, "create", disk, &args).await?;
    fs::rename(&fresh, disk).map_err(LocalError::file("make", disk))
}

/// Grows `disk`, which no machine may be using, to `size` bytes.
pub async fn grow(programs: &Programs, disk: &Path, size: u64) -> Result<(), LocalError> {
    let bytes = size.to_string();
    let args = [OsStr::new("-q"), OsStr::new("-f"), OsStr::new("qcow2"), disk.as_os_str(), OsStr::new(bytes.as_str())];
    qemu_img(programs, "resize", disk, &args).await.map(drop)
}

/// Whole MiB that hold `bytes`.
pub fn mib_up(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}

async fn qemu_img(
    programs: &Programs,
    verb: &'static str,
    path: &Path,
    args: &[&OsStr],
) -> Result<Vec<u8>, LocalError> {
    let program = programs.qemu_img()?;
    let output = tokio::process::Command::new(&program)
        .arg(verb)
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(LocalError::file("run", program))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or("it printed nothing").trim_start_matches("qemu-img: ").to_owned();
    Err(LocalError::QemuImg { verb, path: path.to_owned(), said })
}

/// Whether the file is there.
pub fn exists(path: &Path) -> Result<bool, LocalError> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LocalError::file("read", path)(error)),
    }
}

/// Bytes of a mebibyte.
pub const MIB: u64 = 1 << 20;
