//! `ostler key new`
//!
//! The passphrase is between the person and `ssh-keygen`: Ostler never sees it.

use crate::{
    cli::{Global, Output},
    environment, output,
};
use ostler_core::{Blame, Failure, Result, operation::Interrupt};
use rustix::process::Signal;
use serde::Serialize;
use std::{
    fs::DirBuilder,
    io::{self, IsTerminal},
    os::unix::{fs::DirBuilderExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// Make a key pair with ssh-keygen; an existing file is never touched.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The file of the private key; the public key's name ends in `.pub` [default: ~/.ssh/id_ed25519]
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Leave it without a passphrase; otherwise ssh-keygen asks for one.
    #[arg(long)]
    no_passphrase: bool,
}

/// What was made.
#[derive(Serialize)]
struct Made {
    file: PathBuf,
    public_file: PathBuf,
    public_key: String,
}

/// Runs the command.
pub fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let file = match arguments.file {
        Some(file) => file,
        None => environment::default_key().ok_or_else(|| {
            Failure::new(Blame::User, "there is no home directory for the key").with_hint("set HOME, or `--file`")
        })?,
    };
    if !arguments.no_passphrase && (global.non_interactive || !io::stdin().is_terminal()) {
        return Err(Failure::new(Blame::User, "nobody is there to type a passphrase")
            .with_hint("run it in a terminal; `--no-passphrase` makes a key without one"));
    }
    let public_key = make(&file, !arguments.no_passphrase)?;
    let public_file = public_half(&file);
    let named = in_spec(&public_file);
    let made = Made { file, public_file, public_key };
    output::data(global.output, &made, || made.public_key.clone() + "\n");
    if global.output == Output::Human {
        eprintln!("\nhint: `authorized_keys: [ {named} ]` in a spec lets it in");
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a key pair, and returns its public half.
pub fn make(file: &Path, ask: bool) -> Result<String> {
    let public = public_half(file);
    refuse_to_replace(file, &public)?;
    let cannot = |error: io::Error, what: String| Failure::new(Blame::User, error.to_string()).because_of(what);
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| cannot(error, format!("the folder {} can't be made", folder.display())))?;
    }
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519"]).arg("-f").arg(absolute(file));
    if ask {
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    } else {
        command.args(["-N", ""]).stdin(Stdio::null());
    }
    let ended = command.output().map_err(|error| {
        cannot(error, "ssh-keygen can't be started".into()).with_hint("`apt install openssh-client` installs it")
    })?;
    if ended.status.signal() == Some(Signal::INT.as_raw()) {
        return Err(Interrupt::failure());
    }
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        let failure = Failure::new(Blame::User, format!("ssh-keygen made no key: {}", ended.status));
        return Err(failure.with_lines(said.lines().map(ostler_core::text::plain).collect()));
    }
    let key = std::fs::read_to_string(&public)
        .map_err(|error| cannot(error, format!("{} can't be read", public.display())))?;
    Ok(key.trim_end().to_owned())
}

/// The file of a public key, as ssh-keygen names it.
pub fn public_half(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn refuse_to_replace(file: &Path, public: &Path) -> Result<()> {
    // A dangling link is somebody's, too.
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let (there, hint) = match (is_there(file), is_there(public)) {
        (false, false) => return Ok(()),
        (true, true) => (file, format!("`authorized_keys: [ {} ]` in a spec lets it in", in_spec(public))),
        (true, false) => {
            (file, format!("`ssh-keygen -y -f {0} >{0}.pub` writes its public half", environment::quoted(file)))
        }
        (false, true) => (public, "`--file PATH` makes another one".to_owned()),
    };
    Err(Failure::new(Blame::User, format!("{} exists already and is left as it is", there.display())).with_hint(hint))
}

/// A path as a spec says it: with `~/`, or absolute.
fn in_spec(path: &Path) -> String {
    match environment::home().and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned)) {
        Some(rest) => format!("~/{}", rest.display()),
        None => absolute(path).display().to_string(),
    }
}

/// A name that begins with a dash is no option then.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
