//! Lines of the callback plugin, typed. Whatever comes over the pipe, a line gives exactly one report.

use ostler_core::event::AnsibleReport;
use serde_json::Value;
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longest line that is kept, in bytes. The plugin cuts everything to size long before.
pub(crate) const LINE_LIMIT: usize = 16 * 1024 * 1024;
/// What is kept of a longer one.
const SHOWN_OF_TOO_LONG: usize = 4 * 1024;

/// Types one line. What this version does not know stays as it came.
pub fn parse_event(line: &[u8]) -> AnsibleReport {
    typed(line).unwrap_or_else(|| AnsibleReport::Unknown { line: String::from_utf8_lossy(line).into_owned() })
}

/// The plugin's tag is `event`; in the log that word is taken.
fn typed(line: &[u8]) -> Option<AnsibleReport> {
    let Value::Object(mut object) = serde_json::from_slice(line).ok()? else { return None };
    let tag = object.remove("event")?;
    object.insert("report".to_owned(), tag);
    serde_json::from_value(Value::Object(object)).ok()
}

/// The next report; `None` at the end. Empty lines are passed over, and of a line that is too long the start is kept.
pub(crate) async fn next_report(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<AnsibleReport>> {
    loop {
        let Some(line) = next_line(reader, LINE_LIMIT).await? else { return Ok(None) };
        if !line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(parse_event(&line)));
        }
    }
}

/// The next line without its line feed. Of a line longer than `limit` only the start is returned, which parses as nothing.
pub(crate) async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let (mut begun, mut too_long) = (false, false);
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(begun.then_some(line));
        }
        begun = true;
        let end = available.iter().position(|&byte| byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        if !too_long && line.len() + part.len() > limit {
            too_long = true;
            line.extend_from_slice(&part[..part.len().min(SHOWN_OF_TOO_LONG)]);
            line.truncate(SHOWN_OF_TOO_LONG);
            line.shrink_to_fit();
        } else if !too_long {
            line.extend_from_slice(part);
        }
        let used = end.map_or(available.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::event::TaskOutcome;
    use proptest::prelude::*;
    use tokio::io::BufReader;

    #[test]
    fn a_task_result_is_typed() {
        let line = br#"{"event":"task_result","time":1.5,"host":"web","role":"ufw","task":"Allow","task_id":"7","module":"m",
            "args":null,"result":"changed","duration":0.2,"notify":["reload"],"diff":[{"before":"a","after":"b"}],"new":1}"#;
        let AnsibleReport::TaskResult(result) = parse_event(line) else { panic!("not typed") };
        assert_eq!(result.result, TaskOutcome::Changed);
        assert_eq!(result.notify, ["reload"]);
        assert_eq!(result.diff[0].after.as_deref(), Some("b"));
    }

    #[test]
    fn what_is_not_known_is_kept_as_it_came() {
        for line in
            [r#"{"event":"moon_landing","host":"web"}"#, "Traceback (most recent call last):", "{\"event\":", "[]"]
        {
            assert_eq!(parse_event(line.as_bytes()), AnsibleReport::Unknown { line: line.to_owned() });
        }
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_costs_only_itself() {
        let text = format!("{}\nshort\n", "x".repeat(100_000));
        let mut reader = BufReader::new(text.as_bytes());
        assert_eq!(next_line(&mut reader, 10_000).await.unwrap().unwrap().len(), SHOWN_OF_TOO_LONG);
        assert_eq!(next_line(&mut reader, 10_000).await.unwrap().unwrap(), b"short");
        assert_eq!(next_line(&mut reader, 10_000).await.unwrap(), None);
    }

    /// Any JSON, three levels deep.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            // Exact in binary: serde_json may be off by the last bit of others.
            any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
            "\\PC{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z_]{0,12}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    const RESULT: &str = r#"{"event":"task_result","time":1.5,"host":"web","role":"ufw","task":"Allow","task_id":"7","module":"m",
        "args":null,"result":"changed","ignored":false,"msg":"m","stdout":"o","stderr":"e","rc":0,"duration":0.2,"item":"i","notify":["reload"],
        "diff":[{"before":"a","after":"b"}],"handler":false,"aggregate":false,"unpredicted":false}"#;
    const KNOWN: [&str; 5] = ["run_started", "task_started", "task_result", "stats", "warning"];

    proptest! {
        #[test]
        fn an_event_that_is_not_known_is_kept_byte_for_byte(event in "[a-z_]{1,20}", rest in any_json()) {
            prop_assume!(!KNOWN.contains(&event.as_str()) && event != "unknown");
            let line = serde_json::json!({ "event": event, "rest": rest }).to_string();
            prop_assert_eq!(parse_event(line.as_bytes()), AnsibleReport::Unknown { line });
        }

        #[test]
        fn a_known_event_with_any_field_replaced_is_typed_or_kept(field in 0..20_usize, value in any_json(), gone in any::<bool>()) {
            let mut object: serde_json::Map<String, Value> = serde_json::from_str(RESULT).unwrap();
            let key = object.keys().nth(field % object.len()).unwrap().clone();
            if gone {
                object.remove(&key);
            } else {
                object.insert(key, value);
            }
            let line = Value::Object(object).to_string();
            match parse_event(line.as_bytes()) {
                AnsibleReport::Unknown { line: kept } => prop_assert_eq!(kept, line),
                typed => {
                    // What is typed goes through the store, and comes back the same.
                    let stored = serde_json::to_string(&typed).unwrap();
                    prop_assert_eq!(serde_json::from_str::<AnsibleReport>(&stored).unwrap(), typed);
                }
            }
        }

        #[test]
        fn a_line_cut_off_or_damaged_anywhere_is_typed_or_kept(at in 0..RESULT.len(), length in 0..30_usize, insert in "\\PC{0,4}") {
            let end = (at + length).min(RESULT.len());
            let line = format!("{}{insert}{}", &RESULT[..at], &RESULT[end..]);
            if let AnsibleReport::Unknown { line: kept } = parse_event(line.as_bytes()) {
                prop_assert_eq!(kept, line);
            }
        }

        #[test]
        fn any_bytes_give_reports_and_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut reader = BufReader::with_capacity(7, bytes.as_slice());
                let mut reports = 0;
                while next_report(&mut reader).await.unwrap().is_some() {
                    reports += 1;
                }
                assert!(reports <= bytes.iter().filter(|&&byte| byte == b'\n').count() + 1);
            });
        }
    }
}
