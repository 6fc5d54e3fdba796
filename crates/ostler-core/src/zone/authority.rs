//! Which authorities may issue certificates for a name (CAA, RFC 8659).

use crate::{
    error::{Blame, Failure, Result},
    ports::{DnsRecord, RecordKind},
    spec::ZoneSpec,
    world::World,
};

/// Fails where the DNS forbids an authority to issue a certificate for a name, which may be a wildcard. `authority` is its domain, such as
/// `letsencrypt.org`.
pub async fn may_issue(world: &World, zones: &[ZoneSpec], name: &str, authority: &str) -> Result<()> {
    let (host, is_wildcard) = match name.strip_prefix("*.") {
        Some(host) => (host, true),
        None => (name, false),
    };
    let mut labels = host;
    loop {
        // The first set on the way up counts (section 3), wherever its zone is served.
        let zone = super::zone_of(zones, labels).ok();
        let records = world.dns.lookup(zone, labels, RecordKind::Caa).await?;
        if !records.is_empty() {
            return judge(&records, is_wildcard, authority).map_err(|said| {
                Failure::new(
                    Blame::Configuration,
                    format!("the DNS does not let {authority} issue a certificate for {name}: {labels} has {said}"),
                )
                .with_hint(format!("add the CAA record `0 issue \"{authority}\"` to {labels}"))
            });
        }
        match labels.split_once('.') {
            Some((_, parent)) if parent.contains('.') => labels = parent,
            _ => return Ok(()),
        }
    }
}

/// What forbids it, where something does.
fn judge(records: &[DnsRecord], is_wildcard: bool, authority: &str) -> Result<(), String> {
    let parsed: Vec<_> = records.iter().filter_map(|record| parse(&record.value)).collect();
    let all = || records.iter().map(|record| format!("CAA {}", record.value)).collect::<Vec<_>>().join(", ");
    // An unknown property with the critical bit forbids everything (section 4.1).
    if parsed.iter().any(|(flags, tag, _)| flags & 128 != 0 && !["issue", "issuewild", "iodef"].contains(&tag.as_str()))
    {
        return Err(all());
    }
    let of =
        |wanted: &str| parsed.iter().filter(|(_, tag, _)| tag == wanted).map(|(_, _, value)| value).collect::<Vec<_>>();
    // A wildcard goes by `issuewild` where there is any (section 4.3).
    let wild = of("issuewild");
    let relevant = if is_wildcard && !wild.is_empty() { wild } else { of("issue") };
    let lets = |value: &&String| value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(authority);
    if relevant.is_empty() || relevant.iter().any(lets) { Ok(()) } else { Err(all()) }
}

/// Flags, tag and value.
fn parse(text: &str) -> Option<(u8, String, String)> {
    let mut parts = text.splitn(3, ' ');
    let (flags, tag, value) = (parts.next()?.parse().ok()?, parts.next()?.to_lowercase(), parts.next()?);
    Some((flags, tag, value.trim_matches('"').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(values: &[&str], is_wildcard: bool) -> bool {
        let record = |value: &&str| DnsRecord {
            name: "example.com".into(),
            kind: RecordKind::Caa,
            value: (*value).into(),
            ttl: 60,
        };
        let records: Vec<_> = values.iter().map(record).collect();
        judge(&records, is_wildcard, "ca.example").is_ok()
    }

    #[test]
    fn records_let_and_forbid() {
        let cases: [(&[&str], bool, bool); 8] = [
            (&[r#"0 issue "ca.example""#], true, true),
            (&[r#"0 issue "CA.example; validationmethods=dns-01""#], true, true),
            (&[r#"0 issue "other.example""#], false, false),
            (&[r#"0 issue ";""#], false, false),
            (&[r#"0 issue "other.example""#, r#"0 issuewild "ca.example""#], false, true),
            (&[r#"0 issue "ca.example""#, r#"0 issuewild ";""#], true, false),
            (&[r#"0 iodef "mailto:a@example.com""#], true, true),
            (&[r#"128 unknown "x""#, r#"0 issue "ca.example""#], false, false),
        ];
        for (values, plain, wildcard) in cases {
            assert_eq!((judged(values, false), judged(values, true)), (plain, wildcard), "{values:?}");
        }
    }
}
