//! A catalog to begin with.

use super::CatalogError;
use std::{fs, path::Path};

const FILES: [(&str, &str); 8] = [
    ("index.json", include_str!("template/index.json")),
    ("README.md", include_str!("template/README.md")),
    (".gitignore", include_str!("template/gitignore")),
    ("roles/apps/example/tasks/main.yml", include_str!("template/roles/apps/example/tasks/main.yml")),
    ("roles/apps/example/defaults/main.yml", include_str!("template/roles/apps/example/defaults/main.yml")),
    ("roles/apps/example/handlers/main.yml", include_str!("template/roles/apps/example/handlers/main.yml")),
    ("roles/apps/example/templates/index.html.j2", include_str!("template/roles/apps/example/templates/index.html.j2")),
    (
        "roles/apps/example/templates/example.service.j2",
        include_str!("template/roles/apps/example/templates/example.service.j2"),
    ),
];

/// Makes a catalog with one app in `folder`, which must not be there yet, or be empty but for a `.git`.
pub fn new_catalog(folder: &Path) -> Result<(), CatalogError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().filter(|entry| entry.file_name() != ".git").count(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(CatalogError::at(folder)(error)),
    };
    if entries > 0 {
        return Err(CatalogError::Exists { path: folder.to_owned() });
    }
    for (path, text) in FILES {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(CatalogError::at(parent))?;
        fs::write(&path, text).map_err(CatalogError::at(&path))?;
    }
    Ok(())
}
