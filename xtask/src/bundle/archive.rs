//! Sums, and an archive whose bytes depend on the tree's contents alone.

use super::BundleError;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Of 22. Level 22 saves nothing more here that would be worth its memory.
const LEVEL: i32 = 19;
/// 128 MiB: the whole tree, so that equal files find one another. Within what every decoder accepts.
const WINDOW_LOG: u32 = 27;

/// Packs `tree` into `file`: sorted, without times and owners. Returns bytes before and after, and the file's sha256.
pub fn pack(tree: &Path, file: &Path) -> Result<(u64, u64, String), BundleError> {
    let mut builder = tar::Builder::new(Vec::new());
    for path in sorted_entries(tree)? {
        let at = |source| BundleError::File { path: path.clone(), source };
        let name = path.strip_prefix(tree).expect("entries lie in the tree");
        let metadata = path.symlink_metadata().map_err(at)?;
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_size(0);
        if metadata.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            let target = fs::read_link(&path).map_err(at)?;
            builder.append_link(&mut header, name, target).map_err(at)?;
        } else if metadata.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            builder.append_data(&mut header, name, &[][..]).map_err(at)?;
        } else {
            let bytes = fs::read(&path).map_err(at)?;
            header.set_mode(if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 });
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes.as_slice()).map_err(at)?;
        }
    }
    let plain = builder.into_inner().map_err(BundleError::at(file))?;
    let packed = compress(&plain).map_err(BundleError::at(file))?;
    // In one go: a build of Ostler may be reading it.
    let temporary = file.with_extension("new");
    fs::write(&temporary, &packed).map_err(BundleError::at(&temporary))?;
    fs::rename(&temporary, file).map_err(BundleError::at(file))?;
    Ok((plain.len() as u64, packed.len() as u64, sha256_hex(&packed)))
}

fn compress(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::bulk::Compressor::new(LEVEL)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    encoder.compress(plain)
}

/// Everything below `tree`, parents first, in the order of their bytes.
pub fn sorted_entries(tree: &Path) -> Result<Vec<PathBuf>, BundleError> {
    let mut found = Vec::new();
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(BundleError::at(&folder))? {
            let entry = entry.map_err(BundleError::at(&folder))?;
            if entry.file_type().map_err(BundleError::at(&folder))?.is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `file` exists and has this sum.
pub fn has_sum(file: &Path, sha256: &str) -> Result<bool, BundleError> {
    Ok(file.exists() && file_sum(file)? == sha256)
}

/// Fails unless `file` has this sum.
pub fn check_sum(file: &Path, sha256: &str) -> Result<(), BundleError> {
    let found = file_sum(file)?;
    if found == sha256 {
        return Ok(());
    }
    Err(BundleError::Sum { path: file.to_owned(), locked: sha256.to_owned(), found })
}

fn file_sum(file: &Path) -> Result<String, BundleError> {
    let mut reader = fs::File::open(file).map_err(BundleError::at(file))?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match reader.read(&mut buffer).map_err(BundleError::at(file))? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Sum of `bytes` in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
