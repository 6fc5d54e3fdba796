//! The sample and the reference say what is: with the modules that Ostler really ships.

use ostler_spec::{ModuleMeta, Spec, SpecContext, plain_yaml};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shipped_modules() -> Vec<ModuleMeta> {
    let roles = fs::read_dir(root().join("ansible/roles/modules")).unwrap();
    let metas = roles.map(|role| role.unwrap().path().join("meta/ostler.yml")).filter(|path| path.exists());
    let metas = metas
        .map(|path| {
            let value =
                plain_yaml(&path, &fs::read_to_string(&path).unwrap()).unwrap_or_else(|faults| panic!("{faults}"));
            let meta = serde_json::from_value(serde_json::to_value(value).unwrap());
            meta.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect();
    ModuleMeta::share_settings(metas)
}

fn read(path: &Path) -> Spec {
    let catalog = fs::read_to_string(root().join("ansible/catalog/index.json")).unwrap();
    let context = SpecContext {
        path: path.to_owned(),
        folder: path.parent().unwrap().to_owned(),
        home: Some("/home/ann".into()),
        modules: &shipped_modules(),
        catalog: &serde_json::from_str(&catalog).unwrap(),
        is_file: &|_| true,
        check_key: &|_| Ok(()),
        read_file: &|_| Ok("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBA".into()),
    };
    ostler_spec::read(&fs::read_to_string(path).unwrap(), &context).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_example_is_accepted() {
    for example in fs::read_dir(root().join("examples")).unwrap() {
        let path = example.unwrap().path();
        if path.extension().is_some_and(|end| end == "yaml") {
            let spec = read(&path);
            assert!(!spec.servers.is_empty() || !spec.sites.is_empty());
        }
    }
}

#[test]
fn the_defaults_of_a_role_are_those_that_it_declares() {
    for module in shipped_modules() {
        let path = root().join("ansible/roles/modules").join(&module.name).join("defaults/main.yml");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let value = serde_json::to_value(plain_yaml(&path, &text).unwrap()).unwrap();
        let declared: BTreeMap<_, _> = module.settings.iter().map(|(key, setting)| (key, &setting.default)).collect();
        assert_eq!(value[&module.name], serde_json::to_value(declared).unwrap(), "{}", path.display());
    }
}

#[test]
fn the_sample_shows_every_module() {
    let spec = read(&root().join("examples/ostler.yaml"));
    let web1 = &spec.servers[0];
    let shipped: BTreeSet<String> = shipped_modules().into_iter().map(|meta| meta.name).collect();
    assert_eq!(web1.modules.keys().cloned().collect::<BTreeSet<_>>(), shipped);
    assert_eq!(web1.apps, ["nginx"]);
}

#[test]
fn the_reference_is_current() {
    const START: &str = "## Reference\n\n";
    let path = root().join("docs/spec.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once(START).unwrap();
    let note = after.lines().next().unwrap();
    let current = format!("{before}{START}{note}\n\n{}", ostler_spec::reference(&shipped_modules()).unwrap());
    is_current(&path, &text, &current);
}

#[test]
fn every_module_has_a_current_page_and_no_other_has_one() {
    let folder = root().join("docs/modules");
    let mut pages = BTreeSet::new();
    for module in shipped_modules() {
        assert!(!module.leaves.is_empty(), "meta/ostler.yml of {} does not say what it leaves", module.name);
        let more = root().join("ansible/roles/modules").join(&module.name).join("README.md");
        let path = folder.join(format!("{}.md", module.name));
        let page = ostler_spec::module_page(&module, &fs::read_to_string(more).unwrap_or_default()).unwrap();
        is_current(&path, &fs::read_to_string(&path).unwrap_or_default(), &format!("{NOTE}{page}"));
        pages.insert(path);
    }
    assert_eq!(fs::read_dir(folder).unwrap().map(|page| page.unwrap().path()).collect::<BTreeSet<_>>(), pages);
}

const NOTE: &str = "<!-- Made from the role's meta/ostler.yml and README.md; `UPDATE_DOCS=1 cargo test -p ostler-spec --test spec_docs` writes it anew. -->\n\n";

/// `UPDATE_DOCS=1` writes it instead.
fn is_current(path: &Path, text: &str, current: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, current).unwrap();
    } else {
        assert!(text == current, "{} is out of date: run this test with UPDATE_DOCS=1", path.display());
    }
}
