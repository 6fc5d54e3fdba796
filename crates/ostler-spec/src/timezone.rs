//! Time zones, as Debian 13 has them.

use super::{
    fault::{Problem, nearest, quote},
    shape::Text,
};

/// How messages call a time zone.
pub(super) const TIMEZONE: &str = "a time zone";

/// A line is a name of Debian's package `tzdata`; one of `tzdata-legacy` has the name beside it that means the same.
const LIST: &str = include_str!("timezones.txt");

/// The name of a time zone; nothing stands for none.
pub(super) fn timezone() -> Text {
    Text::checked(TIMEZONE, None, |text| {
        let found = lines().find(|(name, _)| *name == text);
        match found {
            _ if text.is_empty() => Ok(()),
            Some((_, None)) => Ok(()),
            Some((_, Some(modern))) => {
                Err(Problem::new(format!("{} is an old name, which Debian 13 does not have", quote(text)))
                    .hint(format!("write `{modern}`")))
            }
            None => Err(Problem::new(format!("there is no time zone {}", quote(text))).hint(guess(text))),
        }
    })
}

/// All of them.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    lines().filter(|(_, modern)| modern.is_none()).map(|(name, _)| name)
}

/// Names, each with the one that took its place.
fn lines() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    LIST.lines().filter(|line| !line.starts_with('#')).map(|line| match line.split_once(' ') {
        Some((old, modern)) => (old, Some(modern)),
        None => (line, None),
    })
}

/// Many people write a city alone, and blanks.
fn guess(text: &str) -> String {
    let plain = text.trim().replace(' ', "_").to_lowercase();
    let city = names().find(|name| name.to_lowercase().rsplit('/').next() == Some(&plain));
    let guess = city.map(|name| format!("did you mean `{name}`?"));
    guess.or_else(|| nearest(&plain, names())).unwrap_or_else(|| {
        "a continent and a city, such as `Europe/Berlin`, or `UTC`; `timedatectl list-timezones` on a server lists them".to_owned()
    })
}
