//! Catalogs from real Git servers on this machine.

use ostler_ansible::{Catalog, CatalogError, CatalogStore, check_catalog, new_catalog};
use ostler_core::spec::CatalogSource;
use ostler_testkit::git_site::{GitRepository, GitSite};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// A repository with one app, its server, and a state directory.
struct Bench {
    repository: GitRepository,
    site: GitSite,
    state: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let repository = GitRepository::new();
        let site = GitSite::start(repository.root()).await.unwrap();
        let bench = Self { repository, site, state: tempfile::tempdir().unwrap() };
        bench.apps(&["one"]);
        bench
    }

    /// The catalog has exactly these apps.
    fn apps(&self, names: &[&str]) {
        let apps: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name, "role": name })).collect();
        self.repository.write("index.json", &serde_json::json!({ "apps": apps }).to_string());
        for name in names {
            self.repository.write(&format!("roles/apps/{name}/tasks/main.yml"), "- ansible.builtin.debug:\n");
        }
    }

    fn source(&self, branch: &str, commit: Option<&str>) -> CatalogSource {
        CatalogSource {
            url: self.site.url(),
            branch: branch.into(),
            commit: commit.map(str::to_owned),
            vault_password: None,
        }
    }

    fn store(&self) -> CatalogStore {
        CatalogStore::new(self.state.path())
    }

    async fn sync(&self) -> Catalog {
        self.store().sync(&self.source("stable", None), false).await.unwrap()
    }

    async fn fails(&self, source: &CatalogSource) -> CatalogError {
        self.store().sync(source, false).await.unwrap_err()
    }

    /// The one folder of the one repository.
    fn shelf(&self) -> PathBuf {
        let mut shelves = fs::read_dir(self.state.path().join("catalogs")).unwrap();
        shelves.next().unwrap().unwrap().path()
    }

    fn trees(&self) -> Vec<String> {
        let trees = fs::read_dir(self.shelf().join("trees")).unwrap().flatten();
        let mut trees: Vec<_> = trees.map(|entry| entry.file_name().into_string().unwrap()).collect();
        trees.retain(|name| !name.ends_with(".lock"));
        trees.sort();
        trees
    }

    /// Commits that the bare repository holds, as Git itself counts them.
    fn commits_held(&self) -> usize {
        let shelf = self.shelf();
        let output = std::process::Command::new("git")
            .args(["-c", "safe.directory=*", "cat-file", "--batch-check", "--batch-all-objects"])
            .current_dir(shelf.join("repository.git"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains(" commit ")).count()
    }
}

fn names(catalog: &Catalog) -> Vec<&str> {
    catalog.index.apps.iter().map(|app| app.name.as_str()).collect()
}

fn commit_of(catalog: &Catalog) -> &str {
    catalog.source.as_ref().unwrap().commit.as_deref().unwrap()
}

#[tokio::test]
async fn the_first_fetch_is_shallow_and_later_ones_take_what_is_new() {
    let bench = Bench::new().await;
    bench.repository.commit();
    let first = bench.repository.publish();
    let catalog = bench.sync().await;
    assert_eq!((names(&catalog), commit_of(&catalog)), (vec!["one"], first.as_str()));
    assert_eq!(catalog.warnings, Vec::<String>::new());
    assert_eq!(bench.commits_held(), 1, "the history was fetched as well");
    assert!(catalog.tree.as_ref().unwrap().join("roles/apps/one/tasks/main.yml").is_file());
    assert!(!catalog.tree.as_ref().unwrap().join(".git").exists());
    assert_eq!(fs::metadata(bench.state.path().join("catalogs")).unwrap().permissions().mode() & 0o077, 0);

    bench.apps(&["one", "two"]);
    bench.repository.commit();
    let second = bench.repository.publish();
    let newer = bench.sync().await;
    assert_eq!((names(&newer), commit_of(&newer)), (vec!["one", "two"], second.as_str()));
    assert_eq!(bench.commits_held(), 2, "the commit in between was fetched as well");
    assert_eq!(names(&bench.sync().await), ["one", "two"], "nothing new is no failure");
}

#[tokio::test]
async fn a_rewritten_history_is_followed() {
    let bench = Bench::new().await;
    bench.repository.publish();
    bench.sync().await;
    bench.repository.git(&["checkout", "-q", "--orphan", "anew"]);
    bench.apps(&["other"]);
    let rewritten = bench.repository.publish();
    let catalog = bench.sync().await;
    assert_eq!((names(&catalog), commit_of(&catalog)), (vec!["other"], rewritten.as_str()));
    bench.repository.git(&["commit", "-q", "--amend", "-m", "once more"]);
    bench.repository.push("stable");
    assert_eq!(commit_of(&bench.sync().await), bench.repository.git(&["rev-parse", "HEAD"]));
}

#[tokio::test]
async fn a_tree_stays_while_it_is_in_use_and_goes_afterwards() {
    let bench = Bench::new().await;
    let first = bench.repository.publish();
    let in_use = bench.sync().await;
    bench.apps(&["two"]);
    let second = bench.repository.publish();
    let newer = bench.sync().await;
    let mut both = vec![first, second.clone()];
    both.sort();
    assert_eq!(bench.trees(), both);
    assert!(in_use.tree.as_ref().unwrap().join("index.json").is_file());
    drop((in_use, newer));
    bench.sync().await;
    assert_eq!(bench.trees(), [second]);
}

#[tokio::test]
async fn a_pinned_commit_is_taken_wherever_it_stands_and_fetched_once() {
    for old_protocol in [false, true] {
        let bench = Bench::new().await;
        let pinned = bench.repository.publish();
        bench.apps(&["two"]);
        let tip = bench.repository.publish();
        if old_protocol {
            bench.site.speak_only_the_old_protocol();
        }
        for commit in [&pinned, &tip] {
            let catalog = bench.store().sync(&bench.source("stable", Some(commit)), false).await.unwrap();
            assert_eq!(commit_of(&catalog), commit);
            assert_eq!(names(&catalog), if *commit == pinned { ["one"] } else { ["two"] });
        }
        assert_eq!(commit_of(&bench.sync().await), tip, "the branch is still followed");
        let source = bench.source("stable", Some(&pinned));
        let catalog = bench.store().sync(&source, false).await.unwrap();
        let requests = bench.site.requests().len();
        bench.store().sync(&source, false).await.unwrap();
        bench.store().sync(&source, true).await.unwrap();
        assert_eq!(bench.site.requests().len(), requests, "a commit can't change: there was nothing to ask");
        drop(catalog);

        let missing = bench.fails(&bench.source("stable", Some(&"0".repeat(40)))).await;
        assert!(matches!(missing, CatalogError::NoCommit { .. }), "{missing}");
    }
}

#[tokio::test]
async fn a_broken_commit_never_takes_the_place_of_a_good_one() {
    let bench = Bench::new().await;
    bench.repository.write("index.json", "{");
    bench.repository.publish();
    let error = bench.fails(&bench.source("stable", None)).await.to_string();
    assert!(error.contains("index.json:1:1: not valid JSON"), "nothing good is there yet: {error}");

    bench.apps(&["one"]);
    let good = bench.repository.publish();
    bench.sync().await;
    bench.apps(&["one", "two"]);
    fs::remove_dir_all(bench.repository.work().join("roles/apps/two")).unwrap();
    bench.repository.write("roles/apps/one/tasks/main.yml", "- a: [\n");
    bench.repository.publish();
    let catalog = bench.sync().await;
    assert_eq!((names(&catalog), commit_of(&catalog)), (vec!["one"], good.as_str()));
    let [warning] = catalog.warnings.as_slice() else { panic!("{:?}", catalog.warnings) };
    for part in [
        "could not be refreshed",
        "there is no folder roles/apps/two",
        "roles/apps/one/tasks/main.yml:2:1: not valid YAML",
        &format!("using commit {}, fetched ", &good[..10]),
    ] {
        assert!(warning.contains(part), "nothing says `{part}`: {warning}");
    }
}

#[tokio::test]
async fn without_its_server_the_last_good_commit_is_used_and_its_age_said() {
    let bench = Bench::new().await;
    let source = bench.source("stable", None);
    let error = bench.store().sync(&source, true).await.unwrap_err();
    assert!(matches!(error, CatalogError::NotAtHand { .. }), "{error}");
    let good = bench.repository.publish();
    bench.sync().await;

    // Three days ago.
    let known = bench.shelf().join("known.json");
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&known).unwrap()).unwrap();
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(73);
    json["branches"]["stable"]["at"] = then.to_string().into();
    fs::write(&known, json.to_string()).unwrap();

    let Bench { site, state, .. } = bench;
    drop(site);
    let store = CatalogStore::new(state.path());
    let catalog = store.sync(&source, false).await.unwrap();
    assert_eq!(commit_of(&catalog), good);
    assert!(catalog.warnings[0].contains("can't be fetched"), "{:?}", catalog.warnings);
    assert!(
        catalog.warnings[0].ends_with(&format!("using commit {}, fetched 3 days ago", &good[..10])),
        "{:?}",
        catalog.warnings
    );
    let offline = store.sync(&source, true).await.unwrap();
    assert!(offline.warnings[0].contains("offline"), "{:?}", offline.warnings);
    let other = CatalogSource { branch: "testing".into(), ..source };
    let error = store.sync(&other, false).await.unwrap_err();
    assert!(matches!(error, CatalogError::Git { .. }), "another branch's commit is not this one's: {error}");
}

#[tokio::test]
async fn a_branch_that_is_not_there_is_named() {
    let bench = Bench::new().await;
    bench.repository.publish();
    let error = bench.fails(&bench.source("testing", None)).await;
    assert!(matches!(&error, CatalogError::NoBranch { branch, .. } if branch == "testing"), "{error}");
    let nowhere =
        CatalogSource { url: bench.site.url().replace("catalog.git", "nowhere.git"), ..bench.source("stable", None) };
    let error = bench.fails(&nowhere).await;
    assert!(matches!(error, CatalogError::Git { .. }), "{error}");
}

#[tokio::test]
async fn a_repository_of_this_machine_is_read_where_it_lies() {
    let bench = Bench::new().await;
    let first = bench.repository.publish();
    bench.apps(&["two"]);
    let second = bench.repository.publish();
    let source = CatalogSource { url: bench.repository.file_url(), ..bench.source("stable", None) };
    assert_eq!(commit_of(&bench.store().sync(&source, false).await.unwrap()), second);
    let pinned = CatalogSource { commit: Some(first.clone()), ..source.clone() };
    assert_eq!(commit_of(&bench.store().sync(&pinned, false).await.unwrap()), first);
    let work = CatalogSource { url: format!("file://{}", bench.repository.work().display()), ..source };
    assert_eq!(commit_of(&bench.store().sync(&work, false).await.unwrap()), second);
    assert!(bench.site.requests().is_empty());
}

#[tokio::test]
async fn only_files_that_belong_to_the_catalog_get_onto_the_disk() {
    let bench = Bench::new().await;
    let work = bench.repository.work();
    bench.repository.write("roles/apps/one/files/run.sh", "#!/bin/sh\n");
    fs::set_permissions(work.join("roles/apps/one/files/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("run.sh", work.join("roles/apps/one/files/link.sh")).unwrap();
    bench.repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", "1".repeat(40))]);
    bench.repository.git(&["add", "roles", "index.json"]);
    bench.repository.git(&["commit", "-q", "-m", "with a submodule"]);
    bench.repository.push("stable");
    let catalog = bench.sync().await;
    let tree = catalog.tree.clone().unwrap();
    let mode = |path: &str| fs::metadata(tree.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("roles/apps/one/files/run.sh"), mode("index.json")), (0o755, 0o644));
    assert_eq!(fs::read_link(tree.join("roles/apps/one/files/link.sh")).unwrap(), Path::new("run.sh"));
    assert_eq!(catalog.warnings, ["the catalog's submodule `sub` is left out"]);

    // Each by itself leads out; the last two only together.
    let cases: [&[(&str, &str)]; 4] = [
        &[("roles/out", "/etc/passwd")],
        &[("roles/out", "../../..")],
        &[("roles/out", "nowhere")],
        &[("roles/apps/one/up", "../../.."), ("out", "roles/apps/one/up/..")],
    ];
    for links in cases {
        for (path, target) in links {
            symlink(target, work.join(path)).unwrap();
        }
        bench.repository.publish();
        let catalog = bench.sync().await;
        assert!(catalog.warnings[0].contains("out` in commit"), "{links:?}: {:?}", catalog.warnings);
        assert!(catalog.warnings[0].contains("a link that leads out of the catalog"), "{:?}", catalog.warnings);
        assert!(!bench.trees().contains(&bench.repository.git(&["rev-parse", "HEAD"])));
        for (path, _) in links {
            fs::remove_file(work.join(path)).unwrap();
        }
    }
}

#[tokio::test]
async fn two_at_once_both_get_it() {
    let bench = Bench::new().await;
    let commit = bench.repository.publish();
    let (store, source) = (bench.store(), bench.source("stable", None));
    let (a, b) = tokio::join!(store.sync(&source, false), store.sync(&source, false));
    assert_eq!((commit_of(&a.unwrap()), commit_of(&b.unwrap())), (commit.as_str(), commit.as_str()));
    assert_eq!(bench.trees(), [commit]);
}

#[test]
fn a_new_catalog_is_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("catalog");
    new_catalog(&folder).unwrap();
    let checked = check_catalog(&folder, Path::new(""));
    assert!(checked.index.is_some() && checked.warnings.is_empty(), "{checked:?}");
    assert!(matches!(new_catalog(&folder), Err(CatalogError::Exists { .. })));
    for file in [
        "README.md",
        ".gitignore",
        "roles/apps/example/handlers/main.yml",
        "roles/apps/example/templates/index.html.j2",
    ] {
        assert!(folder.join(file).is_file(), "{file}");
    }
}

#[test]
fn a_check_names_what_the_roles_lack() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let said = || {
        let checked = check_catalog(dir.path(), Path::new(""));
        let lines =
            |lists: &[ostler_core::spec::SpecFaults]| lists.iter().map(|list| format!("{list}\n")).collect::<String>();
        (lines(&checked.faults), lines(&checked.warnings))
    };
    assert!(said().0.starts_with("index.json:1:1: can't be read"), "{}", said().0);
    write(
        "index.json",
        r#"{"apps": [{"name": "a", "role": "a"},
{"name": "firewall", "role": "ufw"},
{"name": "c", "role": "c"}]}"#,
    );
    write("roles/apps/c/defaults/main.yml", "a: 1\n b: 2\n");
    write("roles/apps/c/vars/secret.yml", "$ANSIBLE_VAULT;1.1;AES256\n616263\n");
    write("roles/apps/shared/tasks/main.yml", "- name: tagged\n  vars: { a: !unsafe '{{ x }}' }\n");
    let (faults, warnings) = said();
    assert_eq!(
        faults
            .lines()
            .filter(|line| !line.starts_with("  hint"))
            .map(|line| line.split(": did").next().unwrap())
            .collect::<Vec<_>>()[..3],
        [
            "index.json:1:33: apps[0].role: there is no folder roles/apps/a",
            "index.json:2:30: apps[1].role: a role `ufw` ships with Ostler and would run instead",
            "index.json:3:23: apps[2].role: roles/apps/c/tasks/main.yml is missing",
        ]
    );
    assert!(faults.contains("roles/apps/c/defaults/main.yml:2:"), "{faults}");
    assert!(!faults.contains("secret.yml"), "what is encrypted can be opened by whoever knows the password: {faults}");
    assert!(warnings.contains("secret.yml:1:1: it is encrypted"), "{warnings}");
    assert!(warnings.contains("no app has the role `shared`"), "{warnings}");
}

#[test]
fn a_role_of_a_collection_is_looked_for_in_the_collections_of_the_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("index.json", r#"{"apps": [{"name": "agent", "role": "community.zabbix.zabbix_agent"}]}"#);
    let checked = check_catalog(dir.path(), Path::new(""));
    let folder = "collections/ansible_collections/community/zabbix/roles/zabbix_agent";
    let said = checked.faults[0].to_string();
    assert!(said.contains(&format!("apps[0].role: there is no folder {folder}")), "{said}");
    write(&format!("{folder}/tasks/main.yml"), "- ansible.builtin.debug:\n");
    let index = check_catalog(dir.path(), Path::new("")).index.expect("a good catalog");
    assert_eq!(index.apps[0].role, "community.zabbix.zabbix_agent");

    // There too it is seen that a password is needed.
    let app = ["agent".to_owned()];
    assert_eq!(Catalog::in_folder(dir.path()).unwrap().encrypted_file(&app), None);
    let secret = format!("{folder}/vars/main.yml");
    write(&secret, "psk: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  616263\n");
    assert_eq!(Catalog::in_folder(dir.path()).unwrap().encrypted_file(&app), Some(secret.into()));
}
