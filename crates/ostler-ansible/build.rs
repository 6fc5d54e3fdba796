//! Embeds the Ansible bundle (if `cargo xtask bundle` has made one), the `ansible/` folder, and the metadata of its roles as JSON.
//!
//! Sums and conversions are made here, so that the binary has nothing to hash or parse when it starts.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    env,
    error::Error,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let workspace = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let ansible = workspace.join("ansible");
    watch(&ansible);

    let tunnel = out.join("tunnel.json");
    let metadata = read_yaml(&ansible.join("roles/system/cloudflared/meta/ostler.yml"))?;
    fs::write(&tunnel, metadata["promises"].to_string())?;

    let bundle = bundle(&workspace.join("target/bundle"))?;
    let content = out.join("content.tar");
    fs::write(&content, tar_of(&ansible)?)?;
    let modules = out.join("modules.json");
    fs::write(&modules, serde_json::to_string(&module_metadata(&ansible.join("roles/modules"))?)?)?;

    let bundle = bundle.as_deref().map(embedded).transpose()?;
    let bundle = bundle.map_or_else(|| "None".to_owned(), |expression| format!("Some({expression})"));
    let text = format!(
        "pub(crate) const BUNDLE: Option<Embedded> = {bundle};\n\
         pub(crate) const CONTENT: Embedded = {content};\n\
         const MODULES: &str = include_str!({modules:?});\n\
         const TUNNEL: &str = include_str!({tunnel:?});\n\
         const CATALOG: &str = include_str!({catalog:?});\n\
         /// Roles that are found before those of any catalog.\n\
         pub(crate) const OWN_ROLES: &[&str] = &{roles:?};\n",
        roles = role_names(&ansible.join("roles"))?,
        content = embedded(&content)?,
        catalog = ansible.join("catalog/index.json"),
    );
    fs::write(out.join("embedded.rs"), text)?;
    Ok(())
}

/// The bundle, if there is one. The folder is watched only while there is none: it also holds downloads.
fn bundle(folder: &Path) -> Result<Option<PathBuf>> {
    let file = folder.join("ostler-ansible.tar.zst");
    if file.is_file() {
        watch(&file);
        return Ok(Some(file));
    }
    fs::create_dir_all(folder)?; // or cargo would find it missing, and run this at every build
    watch(folder);
    Ok(None)
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

/// An expression of type `Embedded`.
fn embedded(file: &Path) -> Result<String> {
    let sum: String = Sha256::digest(fs::read(file)?).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("Embedded {{ sha256: {sum:?}, bytes: include_bytes!({file:?}) }}"))
}

/// The folder as an archive that depends on names, contents and executable bits alone.
fn tar_of(folder: &Path) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for path in files_below(folder)? {
        let bytes = fs::read(&path)?;
        let executable = fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
        let mut header = tar::Header::new_gnu();
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path.strip_prefix(folder)?, bytes.as_slice())?;
    }
    Ok(builder.into_inner()?)
}

/// Sorted; without what Python leaves behind, hidden files, and the bundle's lock, which no run reads.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "__pycache__" || name == "bundle.lock" || name.ends_with(".pyc") {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Names of all roles in the folders of `roles`.
fn role_names(roles: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for kind in fs::read_dir(roles)? {
        for role in fs::read_dir(kind?.path())? {
            names.push(role?.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// `meta/ostler.yml` of every module, as one JSON list.
fn module_metadata(roles: &Path) -> Result<Vec<Value>> {
    let mut roles: Vec<PathBuf> = fs::read_dir(roles)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    roles.sort();
    let files = roles.into_iter().map(|role| role.join("meta/ostler.yml")).filter(|file| file.is_file());
    files.map(|file| read_yaml(&file).map_err(|error| format!("{}: {error}", file.display()).into())).collect()
}

fn read_yaml(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file)?;
    let documents = Yaml::load_from_str(&text)?;
    json(documents.first().ok_or("is empty")?)
}

fn json(yaml: &Yaml<'_>) -> Result<Value> {
    Ok(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
        Yaml::Value(Scalar::Integer(value)) => (*value).into(),
        Yaml::Value(Scalar::FloatingPoint(value)) => value.into_inner().into(),
        Yaml::Value(Scalar::String(value)) => value.as_ref().into(),
        Yaml::Sequence(items) => Value::Array(items.iter().map(json).collect::<Result<_>>()?),
        Yaml::Mapping(entries) => {
            let pair = |(key, value): (&Yaml<'_>, &Yaml<'_>)| -> Result<(String, Value)> {
                Ok((key.as_str().ok_or("has a key that is not a text")?.to_owned(), json(value)?))
            };
            Value::Object(entries.iter().map(pair).collect::<Result<Map<_, _>>>()?)
        }
        other => return Err(format!("has something that JSON can't say: {other:?}").into()),
    })
}
