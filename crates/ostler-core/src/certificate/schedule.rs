//! When a certificate is renewed, and how often an authority may be asked: pure functions of what is on record.
//!
//! Fixed days would be wrong for a certificate that lives a week. So the authority says when (RFC 9773), or a share of the lifetime does.

use super::{Attempt, CertificateRecord};
use crate::ports::IssuedCertificate;
use jiff::{SignedDuration, Timestamp};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Up to which lifetime a certificate is renewed at half of it, as LEGO does.
const SHORT: SignedDuration = SignedDuration::from_hours(10 * 24);

/// How long attempts are remembered.
pub(super) const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Let's Encrypt issues five certificates for the same names in seven days; one is left for a person in need.
const SAME_NAMES: usize = 4;
/// It takes 300 orders of an account in three hours.
const OF_AUTHORITY: (usize, SignedDuration) = (200, SignedDuration::from_hours(3));
/// It takes five failures of a name in an hour.
const FAILURES: usize = 3;
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// When the certificate is to be renewed.
pub fn renewal(record: &CertificateRecord) -> Option<Timestamp> {
    let issued = record.issued.as_ref()?;
    let lifetime = issued.not_after.duration_since(issued.not_before);
    let left = if lifetime < SHORT { lifetime / 2 } else { lifetime / 3 };
    let by_age = issued.not_after - left;
    let Some(window) = record.window else { return Some(by_age) };
    // The same point of the window whenever it is asked, and another one for each certificate.
    let place = f64::from(fraction(issued));
    let by_authority = window.start + window.end.duration_since(window.start).mul_f64(place);
    // An authority that errs does not let it run out.
    Some(by_authority.min(issued.not_after - lifetime / 10))
}

/// A number from 0 to 1 that is as good as drawn: the fingerprint is one.
fn fraction(issued: &IssuedCertificate) -> f32 {
    let digits = issued.fingerprint.get(..6).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    digits.unwrap_or_default() as f32 / 0xff_ffff as f32
}

/// Until when an authority is left alone, and why; `None`: it may be asked now. `others` are the attempts for other names there.
pub fn pause(own: &[Attempt], others: &[Attempt], now: Timestamp) -> Option<(Timestamp, String)> {
    let after_failures = || {
        let in_a_row = own.iter().rev().take_while(|attempt| attempt.failed).count();
        let last = own.last()?;
        let doublings = u32::try_from(in_a_row.checked_sub(FAILURES)?).unwrap_or(u32::MAX).min(5);
        let until = last.at + (HOUR * 2_i32.pow(doublings)).min(LONGEST_PAUSE);
        Some((until, format!("the last {in_a_row} orders for these names failed")))
    };
    let same_names = || {
        // A renewal that the authority wished for counts towards no limit.
        let counted: Vec<_> = own.iter().filter(|attempt| !attempt.failed && !attempt.wished).collect();
        let first = counted.len().checked_sub(SAME_NAMES)?;
        Some((
            counted[first].at + REMEMBERED,
            format!("{SAME_NAMES} certificates for these names were issued in seven days"),
        ))
    };
    let of_authority = || {
        let (most, within) = OF_AUTHORITY;
        let mut all: Vec<_> = own.iter().chain(others).map(|attempt| attempt.at).collect();
        all.sort();
        let first = all.len().checked_sub(most)?;
        Some((all[first] + within, format!("{most} orders were sent to the authority in three hours")))
    };
    let pauses = [after_failures(), same_names(), of_authority()].into_iter().flatten();
    pauses.filter(|(until, _)| *until > now).max_by_key(|(until, _)| *until)
}

/// Those attempts that still count.
pub(super) fn remembered(attempts: &[Attempt], now: Timestamp) -> Vec<Attempt> {
    attempts.iter().filter(|attempt| attempt.at + REMEMBERED + DAY > now).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        certificate::Order,
        ports::{CertificateAuthority, RenewalWindow},
    };

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn record(not_before: &str, not_after: &str, fingerprint: &str) -> CertificateRecord {
        let authority = CertificateAuthority { url: "https://ca.example/directory".into(), root: None };
        let order = Order { names: vec!["example.com".into()], zones: Vec::new(), authority, profile: None };
        let issued = IssuedCertificate {
            chain: String::new(),
            serial: "01".into(),
            fingerprint: fingerprint.into(),
            not_before: time(not_before),
            not_after: time(not_after),
            renewal_id: None,
        };
        CertificateRecord { issued: Some(issued), ..CertificateRecord::new(order) }
    }

    #[test]
    fn by_age_a_third_of_the_lifetime_is_left_and_of_a_short_one_half() {
        let of = |before, after| renewal(&record(before, after, "00")).unwrap();
        assert_eq!(of("2027-01-01T00:00:00Z", "2027-04-01T00:00:00Z"), time("2027-03-02T00:00:00Z"));
        assert_eq!(of("2027-01-01T00:00:00Z", "2027-02-15T00:00:00Z"), time("2027-01-31T00:00:00Z"));
        assert_eq!(of("2027-01-01T00:00:00Z", "2027-01-07T00:00:00Z"), time("2027-01-04T00:00:00Z"));
    }

    #[test]
    fn an_authority_says_when_but_not_too_late() {
        let window = |start, end| {
            Some(RenewalWindow { start: time(start), end: time(end), ask_again: time("2027-01-01T06:00:00Z") })
        };
        let of = |fingerprint, window| {
            let record = record("2027-01-01T00:00:00Z", "2027-04-11T00:00:00Z", fingerprint);
            renewal(&CertificateRecord { window, ..record }).unwrap()
        };
        let usual = window("2027-03-01T00:00:00Z", "2027-03-03T00:00:00Z");
        assert_eq!(of("000000ff", usual), time("2027-03-01T00:00:00Z"));
        assert_eq!(of("ffffff00", usual), time("2027-03-03T00:00:00Z"));
        assert_eq!(
            of("000000ff", window("2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z")),
            time("2026-12-01T00:00:00Z")
        );
        assert_eq!(
            of("000000ff", window("2028-12-01T00:00:00Z", "2028-12-02T00:00:00Z")),
            time("2027-04-01T00:00:00Z")
        );
    }

    #[test]
    fn failures_and_many_orders_make_it_wait() {
        let now = time("2027-01-01T12:00:00Z");
        let attempt =
            |minutes: i64, failed| Attempt { at: now - SignedDuration::from_mins(minutes), failed, wished: false };
        let until = |own: &[Attempt]| pause(own, &[], now).map(|(until, _)| until);
        assert_eq!(until(&[]), None);
        assert_eq!(until(&[attempt(2, true), attempt(1, true)]), None);
        let three = [attempt(3, true), attempt(2, true), attempt(1, true)];
        assert_eq!(until(&three), Some(now - SignedDuration::from_mins(1) + HOUR));
        assert_eq!(pause(&three, &[], now + HOUR), None);
        let many: Vec<_> = (1..=20).rev().map(|minute| attempt(minute, true)).collect();
        assert_eq!(until(&many), Some(now - SignedDuration::from_mins(1) + LONGEST_PAUSE));
        assert_eq!(until(&[&many[..], &[attempt(0, false)]].concat()), None, "one that succeeded ends the row");

        let issued: Vec<_> = (1..=4).rev().map(|day| attempt(day * 24 * 60, false)).collect();
        assert_eq!(until(&issued), Some(issued[0].at + REMEMBERED));
        let wished: Vec<_> = issued.iter().map(|attempt| Attempt { wished: true, ..attempt.clone() }).collect();
        assert_eq!(until(&wished), None);

        let others: Vec<_> = (0..200).map(|_| attempt(60, false)).collect();
        let (until, why) = pause(&[], &others, now).unwrap();
        assert_eq!((until, why.as_str()), (now + HOUR * 2, "200 orders were sent to the authority in three hours"));
    }
}
