//! A folder of this machine as it is sent to a server: the same archive for the same files, whoever has them and whenever they were written.

use ostler_core::{Blame, Classify, hint::Hint};
use regex::Regex;
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};

/// Most bytes of it.
const MOST: u64 = 512 << 20;

/// A folder as an archive.
pub(crate) struct Packed {
    /// 12 hexadecimal digits of its SHA-256.
    pub(crate) digest: String,
    pub(crate) tar: Vec<u8>,
}

/// Why a folder can't be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("{path} can't be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0} holds more than 512 MiB")]
    TooLarge(PathBuf),
    #[error("{path} has a line that Ostler can't read: `{line}`")]
    BadLine { path: PathBuf, line: String },
}

impl Classify for FolderError {
    fn blame(&self) -> Blame {
        Blame::Configuration
    }

    fn hints(&self) -> Vec<Hint> {
        match self {
            Self::TooLarge(_) => vec!["name in its `.dockerignore` what the build does not need".into()],
            _ => Vec::new(),
        }
    }
}

impl Packed {
    /// All files of a folder that its `.dockerignore` does not name, and always its Dockerfile.
    pub(crate) fn of(folder: &Path) -> Result<Self, FolderError> {
        let ignored = Ignored::of(folder)?;
        let mut files = Vec::new();
        collect(folder, Path::new(""), &ignored, &mut files)?;
        files.sort();
        let (mut builder, mut size) = (Builder::new(Vec::new()), 0);
        for file in files {
            let path = folder.join(&file);
            let failed = |source| FolderError::Unreadable { path: path.clone(), source };
            let meta = fs::symlink_metadata(&path).map_err(failed)?;
            let mut header = Header::new_gnu();
            header.set_mtime(0);
            if meta.is_symlink() {
                let to = fs::read_link(&path).map_err(failed)?;
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o777);
                builder.append_link(&mut header, &file, to).map_err(failed)?;
                continue;
            }
            size += meta.len();
            if size > MOST {
                return Err(FolderError::TooLarge(folder.to_owned()));
            }
            let bytes = fs::read(&path).map_err(failed)?;
            header.set_size(bytes.len().try_into().unwrap_or(u64::MAX));
            header.set_mode(if meta.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 });
            builder.append_data(&mut header, &file, bytes.as_slice()).map_err(failed)?;
        }
        let unfinished = |source| FolderError::Unreadable { path: folder.to_owned(), source };
        let tar = builder.into_inner().map_err(unfinished)?;
        let digest = Sha256::digest(&tar).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { digest, tar })
    }
}

/// Files and links below `folder`, by their paths in it.
fn collect(folder: &Path, at: &Path, ignored: &Ignored, files: &mut Vec<PathBuf>) -> Result<(), FolderError> {
    let path = folder.join(at);
    let failed = |source| FolderError::Unreadable { path: path.clone(), source };
    for entry in fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (kind, inside) = (entry.file_type().map_err(failed)?, at.join(entry.file_name()));
        let is_ignored = ignored.names(&inside);
        if kind.is_dir() {
            // A later line may take back what an earlier one names.
            if !is_ignored || ignored.takes_back {
                collect(folder, &inside, ignored, files)?;
            }
        } else if (kind.is_file() || kind.is_symlink()) && (!is_ignored || inside == Path::new("Dockerfile")) {
            files.push(inside);
        }
    }
    Ok(())
}

/// What a `.dockerignore` says: the last line that matches counts.
struct Ignored {
    lines: Vec<(Regex, bool)>,
    takes_back: bool,
}

impl Ignored {
    fn of(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join(".dockerignore");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(FolderError::Unreadable { path, source }),
        };
        let mut lines = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (pattern, ignored) = line.strip_prefix('!').map_or((line, true), |rest| (rest, false));
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            let bad = |_| FolderError::BadLine { path: path.clone(), line: line.to_owned() };
            lines.push((Regex::new(&expression(pattern)).map_err(bad)?, ignored));
        }
        let takes_back = lines.iter().any(|(_, ignored)| !ignored);
        Ok(Self { lines, takes_back })
    }

    fn names(&self, path: &Path) -> bool {
        let path = path.to_string_lossy();
        self.lines.iter().rev().find(|(regex, _)| regex.is_match(&path)).is_some_and(|(_, ignored)| *ignored)
    }
}

/// A line of a `.dockerignore` as a regular expression: what it names, and all below.
fn expression(pattern: &str) -> String {
    let (mut expression, mut rest) = (String::from("^"), pattern);
    while let Some(c) = rest.chars().next() {
        let (part, length) = match c {
            '*' if rest.starts_with("**/") => ("(?:.*/)?".to_owned(), 3),
            '*' if rest.starts_with("**") => (".*".to_owned(), 2),
            '*' => ("[^/]*".to_owned(), 1),
            '?' => ("[^/]".to_owned(), 1),
            c => (regex::escape(&c.to_string()), c.len_utf8()),
        };
        expression.push_str(&part);
        rest = &rest[length..];
    }
    expression + "(?:/.*)?$"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(packed: &Packed) -> Vec<String> {
        let mut archive = tar::Archive::new(packed.tar.as_slice());
        let entries = archive.entries().unwrap();
        entries.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
    }

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn the_same_files_are_the_same_archive_and_others_another() {
        let files = [("Dockerfile", "FROM scratch"), ("src/main.js", "1"), ("src/a/b.js", "2")];
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(one.path(), &files);
        write(other.path(), &[files[2], files[0], files[1]]);
        let packed = Packed::of(one.path()).unwrap();
        assert_eq!(names(&packed), ["Dockerfile", "src/a/b.js", "src/main.js"]);
        assert_eq!(packed.digest, Packed::of(other.path()).unwrap().digest);
        write(other.path(), &[("src/main.js", "3")]);
        assert_ne!(packed.digest, Packed::of(other.path()).unwrap().digest);
    }

    #[test]
    fn what_dockerignore_names_stays_here() {
        let folder = tempfile::tempdir().unwrap();
        let ignore = "# not needed\n/node_modules\n**/*.log\n*.md\n!README.md\nDockerfile\n";
        write(
            folder.path(),
            &[
                (".dockerignore", ignore),
                ("Dockerfile", ""),
                ("README.md", ""),
                ("TODO.md", ""),
                ("docs/kept.md", ""),
                ("node_modules/a/index.js", ""),
                ("src/node_modules/b.js", ""),
                ("src/deep/x.log", ""),
                ("x.log", ""),
            ],
        );
        let kept = names(&Packed::of(folder.path()).unwrap());
        assert_eq!(kept, [".dockerignore", "Dockerfile", "README.md", "docs/kept.md", "src/node_modules/b.js"]);
    }
}
