//! What the bundle consists of and under which licences: `LICENSES`, next to the bundle and within it.

use super::{
    BundleError,
    archive::sorted_entries,
    lock::{Lock, Purpose},
};
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// One component.
struct Component {
    name: String,
    version: String,
    licence: String,
    texts: Vec<PathBuf>,
}

/// The text of LICENSES. Fails if a component comes without any statement of its licence.
pub fn listing(lock: &Lock, tree: &Path, packages: &Path) -> Result<String, BundleError> {
    let mut components = Vec::new();
    for deb in &lock.debs {
        components.push(debian_package(&deb.package, &deb.version, tree)?);
    }
    for wheel in lock.wheels.iter().filter(|wheel| wheel.purpose == Purpose::Install) {
        components.push(python_package(&packages.join(format!("{}-{}.dist-info", wheel.name, wheel.version)))?);
    }
    for manifest in sorted_entries(&packages.join("ansible_collections"))? {
        if manifest.ends_with("MANIFEST.json") {
            components.push(collection(&manifest)?);
        }
    }
    components.sort_by_key(|component| component.name.to_lowercase());
    let mut text =
        "What Ostler's Ansible bundle consists of. Paths of licence texts are relative to the bundle.\n".to_owned();
    for component in components {
        let Component { name, version, licence, texts } = component;
        let _ = writeln!(text, "\n{name} {version}\n  licence: {licence}");
        for path in texts {
            let _ = writeln!(text, "  text: {}", path.strip_prefix(tree).unwrap_or(&path).display());
        }
    }
    Ok(text)
}

/// Debian names the licences in one file, often several; they are listed once each where the file is machine-readable
/// (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>).
fn debian_package(package: &str, version: &str, tree: &Path) -> Result<Component, BundleError> {
    // A package without one shares it with another of the same source: its folder in /usr/share/doc is a link.
    let shared = match package {
        "libgcc-s1" => "gcc-12-base",
        "libpython3.11-stdlib" => "libpython3.11-minimal",
        other => other,
    };
    let own = tree.join("licences").join(package).join("copyright");
    let path = if own.is_file() { own } else { tree.join("licences").join(shared).join("copyright") };
    let text = read(&path)?;
    let mut names: Vec<&str> = Vec::new();
    if text.starts_with("Format:") {
        names.extend(text.lines().filter_map(|line| line.strip_prefix("License:")).map(str::trim));
    }
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    let licence = if names.is_empty() { "see its text".to_owned() } else { names.join(", ") };
    Ok(Component { name: package.to_owned(), version: version.to_owned(), licence, texts: vec![path] })
}

/// Reads the core metadata (PEP 566, PEP 639) of an installed wheel.
fn python_package(info: &Path) -> Result<Component, BundleError> {
    let metadata = read(&info.join("METADATA"))?;
    let head: Vec<&str> = metadata.lines().take_while(|line| !line.is_empty()).collect();
    let field = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let licence = field("License-Expression: ")
        .or_else(|| field("Classifier: License :: OSI Approved :: "))
        .or_else(|| field("License: "))
        .unwrap_or_else(|| "see its text".to_owned());
    let texts = sorted_entries(info)?.into_iter().filter(|path| path.is_file() && is_licence(path, info)).collect();
    Ok(Component {
        name: field("Name: ").unwrap_or_default(),
        version: field("Version: ").unwrap_or_default(),
        licence,
        texts,
    })
}

fn collection(manifest: &Path) -> Result<Component, BundleError> {
    let info: serde_json::Value = serde_json::from_str(&read(manifest)?)
        .map_err(|source| BundleError::LockSyntax { path: manifest.to_owned(), source })?;
    let info = &info["collection_info"];
    let word = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
    let folder = manifest.parent().expect("lies in its collection");
    let texts: Vec<PathBuf> =
        sorted_entries(folder)?.into_iter().filter(|path| path.is_file() && is_licence(path, folder)).collect();
    let mut licences: Vec<&str> =
        info["license"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    if licences.is_empty() {
        licences.push("see its text");
    }
    Ok(Component {
        name: format!("{}.{}", word("namespace"), word("name")),
        version: word("version"),
        licence: licences.join(", "),
        texts,
    })
}

/// A licence text lies at the top, or in a folder named for it.
fn is_licence(path: &Path, top: &Path) -> bool {
    let below = path.strip_prefix(top).expect("lies below").to_string_lossy().to_uppercase();
    ["LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS", "LICENSES/"].iter().any(|start| below.starts_with(start))
}

fn read(path: &Path) -> Result<String, BundleError> {
    let bytes = fs::read(path).map_err(BundleError::at(path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
