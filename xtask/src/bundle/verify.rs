//! Proves that the bundle needs nothing from the host: it runs in a Debian 13 root without Python, in an empty environment.

use super::{BundleError, Paths, process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A play that needs the interpreter, the module machinery, YAML's C part and a collection.
const PLAYBOOK: &str = "\
- hosts: localhost
  gather_facts: true
  vars:
    ansible_python_interpreter: '{{ ansible_playbook_python }}'
  tasks:
    - ansible.builtin.copy: {content: 'it works', dest: /proof}
    - community.general.ini_file: {path: /proof.ini, section: a, option: b, value: c, mode: '0600'}
    - ansible.builtin.assert: {that: ansible_facts.distribution_release == 'trixie'}
";

/// Runs ansible-playbook against localhost in such a root.
pub fn run(paths: &Paths) -> Result<(), BundleError> {
    if !rustix::process::geteuid().is_root() {
        return Err(BundleError::NotRoot);
    }
    // mmdebstrap refuses folders that only root can enter. `target` may be one.
    let scratch =
        tempfile::Builder::new().prefix("ostler-verify-").tempdir().map_err(BundleError::at(Path::new("/tmp")))?;
    let root = debian_without_python(scratch.path())?;
    unpack(&paths.archive(), &root.join("opt/ostler"))?;
    let playbook = root.join("site.yml");
    fs::write(&playbook, PLAYBOOK).map_err(BundleError::at(&playbook))?;
    // A process finds its own libraries through /proc (ld.so(8), $ORIGIN). The mount ends with the namespace.
    let mut proc = std::ffi::OsString::from("--mount-proc=");
    proc.push(root.join("proc"));
    // The environment is empty except for a UTF-8 locale, which ansible-core requires.
    let output = process::succeed(
        Command::new("unshare")
            .args(["--pid", "--fork", "--mount"])
            .arg(proc)
            .arg("chroot")
            .arg(&root)
            .args(["/usr/bin/env", "-i", "LC_ALL=C.UTF-8", "/opt/ostler/bin/python3.11", "-I", "-B", "-m", "ansible"])
            .args(["playbook", "-i", "localhost,", "-c", "local", "/site.yml"]),
    )?;
    let proof = root.join("proof");
    let text = fs::read_to_string(&proof).map_err(BundleError::at(&proof))?;
    assert_eq!(text, "it works", "the copy module wrote something else");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    println!("the bundle works in a Debian 13 root without Python");
    Ok(())
}

fn debian_without_python(scratch: &Path) -> Result<PathBuf, BundleError> {
    let root = scratch.join("root");
    process::succeed(
        Command::new("mmdebstrap").args(["--quiet", "--variant=minbase", "--mode=root", "trixie"]).arg(&root),
    )?;
    match fs::read_dir(root.join("usr/bin"))
        .map_err(BundleError::at(&root))?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("python"))
    {
        Some(python) => {
            Err(BundleError::Missing { path: format!("a root without {}", python.path().display()).into() })
        }
        None => Ok(root),
    }
}

fn unpack(archive: &Path, to: &Path) -> Result<(), BundleError> {
    let file = fs::File::open(archive).map_err(BundleError::at(archive))?;
    let mut decoder = zstd::Decoder::new(file).map_err(BundleError::at(archive))?;
    decoder.window_log_max(27).map_err(BundleError::at(archive))?;
    tar::Archive::new(decoder).unpack(to).map_err(BundleError::at(to))
}
