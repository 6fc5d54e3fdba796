//! One order: a run of LEGO 4.35 in a folder of its own.

use crate::{AcmeError, ari, chain, folder::Folder, hook, program};
use async_trait::async_trait;
use ostler_core::{
    Result,
    ports::{Acme, AcmeOrder, CertificateAuthority, IssuedCertificate, RenewalWindow, Validation},
    secret::Secret,
    text::one_line,
};
use ostler_process::children;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path, PathBuf},
    process::{Output, Stdio},
};
use tokio::process::Command;

/// Lines of LEGO's that a failure shows.
const LINES: usize = 6;

/// Orders certificates by LEGO.
pub struct LegoAcme {
    state_dir: PathBuf,
    hook: PathBuf,
}

impl LegoAcme {
    /// Works below `state_dir`; `hook` is the program that calls [`answer_hook`](crate::answer_hook) first of all.
    pub fn new(state_dir: impl Into<PathBuf>, hook: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), hook: hook.into() }
    }

    async fn run(
        &self,
        order: &AcmeOrder<'_>,
        folder: &Folder,
        hook: &hook::Hook,
        validation: &dyn Validation,
    ) -> Result<Output> {
        let lego = program::find(&self.state_dir.join("lego"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&lego).args(arguments(order)).env_clear();
        // A group of its own: Ctrl-C in a terminal asks Ostler to stop, and Ostler ends it.
        command.current_dir(folder.path()).kill_on_drop(true).process_group(0);
        command.envs(environment(order.authority, &self.hook));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = children::start(command).map_err(|source| AcmeError::Start { path: lego.clone(), source })?;
        let output = tokio::select! {
            output = child.wait_with_output() => output,
            () = hook.serve(validation) => unreachable!("it serves until it is dropped"),
        };
        Ok(output.map_err(|source| AcmeError::Start { path: lego, source })?)
    }
}

#[async_trait]
impl Acme for LegoAcme {
    async fn obtain(&self, order: AcmeOrder<'_>, validation: &dyn Validation) -> Result<(IssuedCertificate, Secret)> {
        let folder = Folder::make(&self.state_dir.join("acme"))?;
        prepare(&order, folder.path())?;
        let hook = hook::Hook::listen(&folder.handle)?;
        let output = self.run(&order, &folder, &hook, validation).await?;
        if order.account.is_none() {
            // It is there even where the order failed, and the next one shall not make another.
            let account = files_below(folder.path(), Path::new("accounts"))?;
            if account.keys().any(|path| path.ends_with("account.json")) {
                validation.keep_account(&Secret::new(serde_json::to_string(&account).expect("texts"))).await?;
            }
        }
        let names = order.names.join(", ");
        if !output.status.success() {
            let words = match output.status.code() {
                Some(_) => last_words(&String::from_utf8_lossy(&output.stderr)),
                None => format!("LEGO was ended by a signal ({})", output.status),
            };
            let refused = AcmeError::Refused { url: order.authority.url.clone(), names, words };
            let own = hook.failure.lock().expect("no panic while held").take();
            return Err(own.unwrap_or_else(|| refused.into()));
        }
        let base = folder.path().join("certificates").join(file_name(order.names));
        let read = |extension: &str, what| {
            let path = PathBuf::from(format!("{}.{extension}", base.display()));
            fs::read_to_string(path).map_err(|_| AcmeError::Result { names: names.clone(), what })
        };
        let certificate = chain::read(read("crt", "there is no file with it")?)?;
        let key = Secret::new(read("key", "there is no file with its key")?);
        if order.replaces.is_some_and(|old| old.serial == certificate.serial) {
            return Err(AcmeError::Result { names, what: "it is the old one" }.into());
        }
        Ok((certificate, key))
    }

    async fn renewal_window(
        &self,
        authority: &CertificateAuthority,
        certificate: &IssuedCertificate,
    ) -> Result<Option<RenewalWindow>> {
        Ok(ari::ask(authority, certificate).await?)
    }
}

/// Of LEGO 4.35: global flags, then the command with its own.
fn arguments(order: &AcmeOrder<'_>) -> Vec<OsString> {
    let mut words: Vec<&str> = vec!["--accept-tos", "--path", ".", "--server", &order.authority.url];
    // Ostler sees to it that the world sees the record; LEGO need not look again, with fewer eyes.
    words.extend(["--dns", "exec", "--dns.propagation-wait", "1ms"]);
    for name in order.names {
        words.extend(["--domains", name]);
    }
    match order.replaces {
        // It names the old one to the authority. Whether it is time is Ostler's to say.
        Some(_) => words.extend(["renew", "--days", "36500", "--no-random-sleep"]),
        None => words.push("run"),
    }
    if let Some(profile) = order.profile {
        words.extend(["--profile", profile.as_str()]);
    }
    words.into_iter().map(OsString::from).collect()
}

/// Nothing in it is secret.
fn environment(authority: &CertificateAuthority, program: &Path) -> Vec<(&'static str, OsString)> {
    let mut all: Vec<(&'static str, OsString)> = vec![
        ("LC_ALL", "C".into()),
        (hook::HOOK, "1".into()),
        ("EXEC_PATH", program.into()),
        // Names are proved one after the other, without a pause in between.
        ("EXEC_SEQUENCE_INTERVAL", "0".into()),
        ("EXEC_POLLING_INTERVAL", "1".into()),
        // An alias may lead into a zone that is not ours to write.
        ("LEGO_DISABLE_CNAME_SUPPORT", "true".into()),
    ];
    if authority.root.is_some() {
        all.push(("LEGO_CA_CERTIFICATES", ROOT.into()));
    }
    for name in ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        all.extend(std::env::var_os(name).map(|value| (name, value)));
    }
    all
}

const ROOT: &str = "root.pem";

/// Puts into the folder what LEGO is to find there.
fn prepare(order: &AcmeOrder<'_>, folder: &Path) -> Result<(), AcmeError> {
    if let Some(root) = &order.authority.root {
        put(&folder.join(ROOT), root)?;
    }
    if let Some(account) = order.account {
        let files: BTreeMap<PathBuf, String> = serde_json::from_str(account.expose()).unwrap_or_default();
        for (path, text) in
            files.iter().filter(|(path, _)| path.components().all(|c| matches!(c, Component::Normal(_))))
        {
            put(&folder.join(path), text)?;
        }
    }
    if let Some(old) = order.replaces {
        let base = folder.join("certificates").join(file_name(order.names));
        let resource = serde_json::json!({ "domain": order.names[0], "certUrl": "", "certStableUrl": "" });
        put(&PathBuf::from(format!("{}.crt", base.display())), &old.chain)?;
        put(&PathBuf::from(format!("{}.json", base.display())), &resource.to_string())?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<(), AcmeError> {
    fs::create_dir_all(path.parent().expect("in the folder")).map_err(AcmeError::at(path))?;
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(AcmeError::at(path))
}

/// Texts by their paths relative to `root`; empty where there is no such folder.
fn files_below(root: &Path, folder: &Path) -> Result<BTreeMap<PathBuf, String>, AcmeError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(entry.path()).map_err(AcmeError::at(entry.path()))?;
                files.insert(path, text);
            }
        }
    }
    Ok(files)
}

/// How LEGO names files: by the first name.
fn file_name(names: &[String]) -> String {
    names[0].replace('*', "_")
}

/// What a person needs to see of LEGO's log: its last lines without their times.
fn last_words(log: &str) -> String {
    let lines = log.lines().map(|line| {
        let line = one_line(line);
        // `2026/12/01 04:52:04 `
        let time =
            line.get(..20).filter(|time| time.bytes().all(|byte| byte.is_ascii_digit() || b"/: ".contains(&byte)));
        line[time.map_or(0, str::len)..].to_owned()
    });
    let lines: Vec<String> = lines.filter(|line| !line.is_empty() && !line.starts_with("[INFO]")).collect();
    lines[lines.len().saturating_sub(LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(order: &AcmeOrder<'_>) -> String {
        arguments(order).iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_order_and_a_renewal_in_words_of_lego() {
        let authority = CertificateAuthority { url: "https://ca/dir".into(), root: None };
        let names = ["example.com".to_owned(), "*.example.com".to_owned()];
        let order = AcmeOrder { authority: &authority, names: &names, profile: None, account: None, replaces: None };
        let global = "--accept-tos --path . --server https://ca/dir --dns exec --dns.propagation-wait 1ms --domains \
                      example.com --domains *.example.com";
        assert_eq!(words(&order), format!("{global} run"));
        let time = jiff::Timestamp::UNIX_EPOCH;
        let old = IssuedCertificate {
            chain: String::new(),
            serial: "01".into(),
            fingerprint: "ab".into(),
            not_before: time,
            not_after: time,
            renewal_id: None,
        };
        let profile = Some(ostler_core::ports::CertificateProfile::Shortlived);
        let renewal = AcmeOrder { profile, replaces: Some(&old), ..order };
        assert_eq!(words(&renewal), format!("{global} renew --days 36500 --no-random-sleep --profile shortlived"));
    }

    #[test]
    fn what_the_authority_said_is_kept_and_bounded() {
        let log = "2026/12/01 04:52:04 [INFO] nothing\n2026/12/01 04:52:10 Could not obtain certificates:\n\
                   \terror: one or more domains had a problem:\n[b.example] acme: \u{1b}[31merror: 403\n";
        let expected =
            "Could not obtain certificates:; error: one or more domains had a problem:; [b.example] acme: error: 403";
        assert_eq!(last_words(log), expected);
        assert!(last_words(&"x\n".repeat(100_000)).len() < 100);
    }
}
