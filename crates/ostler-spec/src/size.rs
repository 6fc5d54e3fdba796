//! Sizes: a whole number and a binary unit, so that nobody has to guess what a `G` is.

use super::fault::{Problem, quote};

/// Pattern of a size, for editors.
pub(super) const PATTERN: &str = "^[0-9]+(B|KiB|MiB|GiB|TiB)$";

const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", MIB), ("KiB", 1 << 10), ("B", 1)];
const MIB: u64 = 1 << 20;

/// Bytes of `text`: a whole number of MiB from `min` to `max` bytes.
pub(super) fn parse(text: &str, min: u64, max: u64) -> Result<i64, Problem> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_bytes = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
    let bytes = match (number.parse::<u64>(), unit_bytes) {
        (Ok(number), Some(unit_bytes)) => number.saturating_mul(unit_bytes),
        // Only too many digits can be wrong with a number of digits.
        (Err(_), Some(_)) if !number.is_empty() => u64::MAX,
        _ => return Err(no_size(text, number, unit)),
    };
    if bytes < min {
        return Err(Problem::new(format!("{} is too small: at least {}", quote(text), show(min))));
    }
    if bytes > max {
        return Err(Problem::new(format!("{} is too large: at most {}", quote(text), show(max))));
    }
    if !bytes.is_multiple_of(MIB) {
        return Err(Problem::new(format!("{} is not a whole number of MiB", quote(text)))
            .hint(format!("did you mean `{}MiB`?", bytes.div_ceil(MIB))));
    }
    i64::try_from(bytes).map_err(|_| Problem::new(format!("{} is too large", quote(text))))
}

/// Bytes in the largest unit that leaves no rest.
pub(super) fn show(bytes: u64) -> String {
    let (name, unit) =
        UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)).unwrap_or(&UNITS[4]);
    format!("{}{name}", bytes / unit)
}

fn no_size(text: &str, number: &str, unit: &str) -> Problem {
    let problem = Problem::new(format!("{} is not a size", quote(text)));
    match guess(number, unit) {
        Some(size) => problem.hint(format!("did you mean `{size}`?")),
        None => problem.hint("a whole number and B, KiB, MiB, GiB or TiB, such as `2GiB`"),
    }
}

/// What `2GB`, `2G`, `2 gib` or `2` probably mean.
fn guess(number: &str, unit: &str) -> Option<String> {
    if number.is_empty() {
        return None;
    }
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "" | "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}
