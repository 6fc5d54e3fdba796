//! Everything that is wrong with a catalog's files.

use super::{CatalogError, vault};
use crate::embedded::OWN_ROLES;
use ostler_core::{
    hint::{Hint, Next},
    spec::{CatalogIndex, Fault, RolePlace, SpecFaults, read_index, yaml_fault},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const INDEX: &str = "index.json";
/// Folders of a role in which each YAML file is Ansible's.
const YAML_FOLDERS: [&str; 5] = ["tasks", "handlers", "defaults", "vars", "meta"];
const LARGEST_INDEX: u64 = 1 << 20;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The index; none where anything is at fault.
    pub index: Option<CatalogIndex>,
    /// What is wrong, a list for each file, with paths that begin with the folder's.
    pub faults: Vec<SpecFaults>,
    /// What is no fault, but should be known.
    pub warnings: Vec<SpecFaults>,
}

impl Checked {
    /// The same with all hints in words alone; see [`SpecFaults::in_words`].
    pub fn in_words(self, called: impl Fn(&Next) -> String) -> Self {
        let words = |all: Vec<SpecFaults>| all.into_iter().map(|faults| faults.in_words(&called)).collect();
        Self { index: self.index, faults: words(self.faults), warnings: words(self.warnings) }
    }

    /// The index, or the faults of `what`.
    pub(super) fn into_index(self, what: impl Into<String>) -> Result<CatalogIndex, CatalogError> {
        self.index.ok_or_else(|| CatalogError::Faulty { what: what.into(), faults: self.faults })
    }
}

/// Looks at all files of the catalog in `folder` that Ostler or Ansible reads. In the faults, `shown` stands for the folder.
pub fn check_catalog(folder: &Path, shown: &Path) -> Checked {
    let mut found = Findings { folder, shown, faults: Vec::new(), warnings: Vec::new() };
    let index = found.index();
    Checked { index: index.filter(|_| found.faults.is_empty()), faults: found.faults, warnings: found.warnings }
}

struct Findings<'a> {
    folder: &'a Path,
    shown: &'a Path,
    faults: Vec<SpecFaults>,
    warnings: Vec<SpecFaults>,
}

impl Findings<'_> {
    fn index(&mut self) -> Option<CatalogIndex> {
        let text = match read_text(&self.folder.join(INDEX), LARGEST_INDEX) {
            Ok(text) => text,
            Err(error) => {
                let hint = (error.kind() == io::ErrorKind::NotFound)
                    .then(|| Hint::from(Next::NewCatalog).with(" makes a catalog to begin with"));
                self.fault(Path::new(INDEX), vec![fault(format!("can't be read: {error}"), hint)]);
                return None;
            }
        };
        let mut reading = read_index(&text);
        for place in &reading.roles {
            let fault = self.role_fault(place);
            reading.faults.extend(fault);
        }
        reading.faults.sort_by_key(|fault| (fault.line, fault.column));
        self.fault(Path::new(INDEX), reading.faults);
        self.warn(Path::new(INDEX), reading.warnings);
        self.roles(&reading.roles.iter().map(|place| place.role.as_str()).collect::<Vec<_>>());
        reading.index
    }

    /// Why the role of an app can't be run.
    fn role_fault(&self, place: &RolePlace) -> Option<Fault> {
        let role = super::role_folder(&place.role);
        let hint = if role.starts_with("collections") {
            // Those that ship with Ostler have modules only.
            "the catalog brings the collections that its roles come from"
        } else {
            "the role's tasks go in its `tasks/main.yml`"
        };
        if OWN_ROLES.contains(&place.role.as_str()) {
            let message = format!("a role `{}` ships with Ostler and would run instead", place.role);
            return Some(place.fault(message, "choose another name, and rename its folder"));
        }
        if !self.folder.join(&role).is_dir() {
            return Some(place.fault(format!("there is no folder {}", self.shown.join(&role).display()), hint));
        }
        let tasks = role.join("tasks");
        let is_there = ["main.yml", "main.yaml"].iter().any(|file| self.folder.join(&tasks).join(file).is_file());
        (!is_there).then(|| {
            let message = format!("{} is missing", self.shown.join(&tasks).join("main.yml").display());
            place.fault(message, "a role without it does nothing")
        })
    }

    /// Looks at all roles, also those that the index does not name: a role can include another.
    fn roles(&mut self, named: &[&str]) {
        let folder = Path::new("roles/apps");
        for role in self.entries(folder) {
            let name = role.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !self.folder.join(&role).is_dir() {
                continue;
            }
            if !named.contains(&name.as_str()) {
                let hint = format!("name it in {INDEX}, or leave it where other roles include it");
                self.warn(&role, vec![fault(format!("no app has the role `{name}`"), Some(hint.into()))]);
            }
            for part in YAML_FOLDERS {
                self.yaml_below(&role.join(part), 0);
            }
        }
    }

    fn yaml_below(&mut self, folder: &Path, depth: usize) {
        for path in self.entries(folder) {
            let whole = self.folder.join(&path);
            let is_yaml = path.extension().is_some_and(|end| end == "yml" || end == "yaml");
            if whole.is_dir() && depth < 16 {
                self.yaml_below(&path, depth + 1);
            } else if is_yaml {
                match read_text(&whole, u64::MAX) {
                    Ok(text) if vault::is_encrypted(text.as_bytes()) => {
                        let hint =
                            "specs that use it name the password: `catalog: { vault_password: { secret: NAME } }`";
                        self.warn(&path, vec![fault("it is encrypted and was not checked", Some(hint.into()))]);
                    }
                    Ok(text) => self.fault(&path, yaml_fault(&text).into_iter().collect()),
                    Err(error) => self.fault(&path, vec![fault(format!("can't be read: {error}"), None)]),
                }
            }
        }
    }

    /// What is in a folder, relative to the catalog's, sorted; nothing where there is no such folder.
    fn entries(&self, folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join(folder)).into_iter().flatten().flatten();
        let mut entries: Vec<_> = entries.map(|entry| folder.join(entry.file_name())).collect();
        entries.sort();
        entries
    }

    fn fault(&mut self, path: &Path, faults: Vec<Fault>) {
        if !faults.is_empty() {
            self.faults.push(SpecFaults { path: self.shown.join(path), faults });
        }
    }

    fn warn(&mut self, path: &Path, faults: Vec<Fault>) {
        if !faults.is_empty() {
            self.warnings.push(SpecFaults { path: self.shown.join(path), faults });
        }
    }
}

/// Of a file as a whole.
fn fault(message: impl Into<String>, hint: Option<Hint>) -> Fault {
    Fault { line: 1, column: 1, key_path: String::new(), message: message.into(), hints: hint.into_iter().collect() }
}

fn read_text(path: &Path, largest: u64) -> io::Result<String> {
    if fs::metadata(path)?.len() > largest {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    fs::read_to_string(path)
}
