//! Where volumes may be mounted: never over what the system itself lives in.

use super::{
    fault::{Problem, quote},
    shape::Text,
};

/// Nothing is mounted here or below: programs, settings and records of the system.
const SYSTEM: [&str; 26] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/cloud",
    "/var/lib/dpkg",
    "/var/lib/ostler",
    "/var/lib/systemd",
    "/var/lock",
    "/var/log",
    "/var/run",
    "/var/tmp",
];
/// Nothing is mounted here; below is fine. Over `/home` it would hide the keys of those who log in.
const PARENTS: [&str; 4] = ["/home", "/var", "/var/lib", "/var/spool"];

/// An absolute path of plain characters that fstab(5) and systemd take as it stands.
pub(super) fn path() -> Text {
    Text::checked("a path such as `/srv/data`", Some("^(/[a-zA-Z0-9_][a-zA-Z0-9._-]*)+$"), |text| {
        let problem = |message: String| Err(Problem::new(message).hint("for example `/srv/data`"));
        let plain = |part: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            part.bytes().all(good) && part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        };
        if !text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain)) {
            return problem(format!("{} is not a path at which a volume can be mounted", quote(text)));
        }
        if PARENTS.contains(&text) || SYSTEM.iter().any(|system| is_within(text, system)) {
            return problem(format!("{} belongs to the system", quote(text)));
        }
        Ok(())
    })
}

/// Whether one of two paths is the other, or lies in it.
pub(super) fn overlap(one: &str, two: &str) -> bool {
    is_within(one, two) || is_within(two, one)
}

fn is_within(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
