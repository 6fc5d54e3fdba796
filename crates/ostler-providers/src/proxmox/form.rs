//! `application/x-www-form-urlencoded`, as Proxmox VE reads it.
//!
//! Everything but RFC 3986's unreserved characters is encoded: PVE splits bodies also at `;`, and a space is `%20`, for not
//! every layer of it takes `+` for one.

use std::fmt::Write;

/// Parameters of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more.
    pub fn with(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.0.push((key.into(), value.to_string()));
        self
    }

    /// The same, taking these keys out of a configuration.
    pub fn deleting<'k>(self, keys: impl Iterator<Item = &'k str>) -> Self {
        let keys = keys.collect::<Vec<_>>().join(",");
        if keys.is_empty() { self } else { self.with("delete", keys) }
    }

    /// Whether it has a parameter.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The body, or the query of a URL.
    pub fn encoded(&self) -> String {
        let pairs: Vec<String> =
            self.0.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
        pairs.join("&")
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 section 2.3); also for one segment of a path.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            byte => write!(out, "%{byte:02X}").expect("writing to a String can't fail"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pve_would_split_at_is_encoded() {
        let form = Form::new().with("boot", "order=scsi0;net0").with("tags", "web;a b+c").with("vmid", 100);
        assert_eq!(form.encoded(), "boot=order%3Dscsi0%3Bnet0&tags=web%3Ba%20b%2Bc&vmid=100");
        assert_eq!(encode("local:iso/ü.iso"), "local%3Aiso%2F%C3%BC.iso");
    }
}
