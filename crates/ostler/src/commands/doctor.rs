//! `ostler doctor`

use crate::{
    cli::Global,
    commands::spec_file,
    environment,
    output::{self, Table, hints},
    wiring::{self, Session, WaitArguments},
};
use ostler_core::{Failure, Result, server::up};
use serde::Serialize;
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Report what this machine lacks, with the commands that mend it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A spec file: also try what its tunnels need, the program here and the token of each.
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Check {
    what: String,
    verdict: Verdict,
    detail: String,
    /// Command that mends it, or what else does.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Works, but slower or without some part.
    Lacking,
    /// `up` can't work.
    Missing,
}

/// Exit code where something is missing that `up` needs; the same as of a failure that this machine is to blame for.
const MISSING: u8 = 4;

/// Runs the command.
pub async fn run(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let state_dir = wiring::state_dir(global)?;
    let mut checks = vec![
        bundle(),
        programs(
            "servers on this machine (provider `local`)",
            Verdict::Missing,
            &[("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils")],
        ),
        programs(
            "SSH (every provider; all that `existing` needs)",
            Verdict::Missing,
            &[("ssh", "openssh-client"), ("ssh-keygen", "openssh-client"), ("setpriv", "util-linux")],
        ),
        kvm(),
        programs("`ostler image build`", Verdict::Lacking, ostler_providers::image::BUILD_PROGRAMS),
        space(&state_dir),
    ];
    if let Some(file) = &arguments.file {
        checks.extend(tunnels(global, file).await?);
    }
    output::data(global.output, &checks, || text(&checks));
    let missing = checks.iter().any(|check| check.verdict == Verdict::Missing);
    Ok(if missing { ExitCode::from(MISSING) } else { ExitCode::SUCCESS })
}

/// What the tunnels of a spec need: one row for the program, and one for each server.
async fn tunnels(global: &Global, file: &Path) -> Result<Vec<Check>> {
    let (spec, catalog) = spec_file::read(global, file, false).await?;
    let servers: Vec<_> = spec.servers.into_iter().filter(|server| server.tunnel.is_some()).collect();
    if servers.is_empty() {
        return Ok(Vec::new());
    }
    let session = Session::open(global, WaitArguments::default(), "doctor").await?.with_catalog(catalog);
    session
        .with_world(async |world| {
            let program = judged("logins through tunnels".into(), world.remote.tunnel_client().await);
            if program.verdict != Verdict::Ok {
                return Ok(vec![program]);
            }
            let mut checks = vec![program];
            for server in &servers {
                let looked = up::look_at_tunnel(world, server).await;
                let good = looked.map(|_| "its token may do all that is needed".to_owned());
                checks.push(judged(format!("the tunnel of {}", server.name), good));
            }
            Ok(checks)
        })
        .await
}

fn judged(what: String, result: Result<String>) -> Check {
    match result {
        Ok(detail) => Check { what, verdict: Verdict::Ok, detail, mend: None },
        Err(failure) => {
            let mend = hints::of(&failure).next();
            let Failure { message, causes, .. } = failure;
            let detail = std::iter::once(message).chain(causes).collect::<Vec<_>>().join(": ");
            Check { what, verdict: Verdict::Missing, detail, mend }
        }
    }
}

fn bundle() -> Check {
    let what = "Ansible and Python".to_owned();
    if ostler_ansible::has_bundle() {
        return Check { what, verdict: Verdict::Ok, detail: "ship with this binary".into(), mend: None };
    }
    Check {
        what,
        verdict: Verdict::Missing,
        detail: "this binary was built without them".into(),
        mend: Some("cargo xtask bundle && cargo build --release".into()),
    }
}

fn programs(what: &str, if_missing: Verdict, programs: &[(&str, &str)]) -> Check {
    let what = what.to_owned();
    let missing: Vec<_> = programs.iter().filter(|(program, _)| find(program).is_none()).collect();
    if missing.is_empty() {
        return Check { what, verdict: Verdict::Ok, detail: "all programs are there".into(), mend: None };
    }
    let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    Check {
        what,
        verdict: if_missing,
        detail: format!("missing: {}", names.join(", ")),
        mend: Some(format!("sudo apt install {}", packages.join(" "))),
    }
}

fn kvm() -> Check {
    let what = "hardware virtualisation (provider `local`)".to_owned();
    let kvm = Path::new("/dev/kvm");
    let open = std::fs::OpenOptions::new().read(true).write(true).open(kvm);
    let (verdict, detail, mend) = match open {
        Ok(_) => (Verdict::Ok, "/dev/kvm opens; `up` proves it with a real start".to_owned(), None),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => (
            Verdict::Lacking,
            "you may not open /dev/kvm: machines are emulated, about five times slower".to_owned(),
            Some("sudo adduser $USER kvm   # then log in again".to_owned()),
        ),
        Err(_) => (Verdict::Lacking, "no /dev/kvm: machines are emulated, about five times slower".to_owned(), None),
    };
    Check { what, verdict, detail, mend }
}

/// An image, and what one small server writes in its first weeks.
const SPACE: u64 = 6 << 30;

fn space(state_dir: &Path) -> Check {
    let what = "disk space".to_owned();
    let existing = state_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let free = rustix::fs::statvfs(existing).map(|stat| stat.f_bavail * stat.f_frsize).unwrap_or(0);
    let detail = format!("{:.1} GiB free for {}", free as f64 / f64::from(1 << 30), state_dir.display());
    let verdict = if free < SPACE { Verdict::Lacking } else { Verdict::Ok };
    let mend =
        (verdict != Verdict::Ok).then(|| format!("ostler --state-dir DIR ...   # or set {}", environment::STATE_DIR));
    Check { what, verdict, detail, mend }
}

fn find(program: &str) -> Option<PathBuf> {
    // As for everybody but root, Debian's PATH lacks the sbin directories, where some of these live.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0))
}

fn text(checks: &[Check]) -> String {
    let mut table = Table::new(&["", "NEEDED FOR", "FOUND"]);
    for check in checks {
        let word = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Lacking => "lacking",
            Verdict::Missing => "MISSING",
        };
        table.row(vec![word.into(), check.what.clone(), check.detail.clone()]);
    }
    let mut text = table.render();
    for mend in checks.iter().filter_map(|check| check.mend.as_ref()) {
        text.push_str(&format!("\nhint: {mend}"));
    }
    text.push('\n');
    text
}
