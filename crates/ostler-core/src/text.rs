//! Text that came from elsewhere, made fit to be shown: a server's output must not steer the terminal of who reads it.

/// Text without control characters and escape sequences (ECMA-48). A sequence that moves the cursor begins a new line, for
/// firmware and boot loaders place their text that way.
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    let end = chars.by_ref().find(|c| ('@'..='~').contains(c));
                    if matches!(end, Some('H' | 'f' | 'J')) {
                        out.push('\n');
                    }
                }
                // An operating system command ends with BEL or ESC \.
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\\') {},
                Some('(' | ')' | '#' | '%') => drop(chars.next()),
                _ => {}
            },
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => out.push('\n'),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Most characters of a line that people read beside others.
pub const LINE: usize = 300;

/// The same in one line of at most [`LINE`] characters.
pub fn one_line(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_and_not_long() {
        assert_eq!(one_line(" \u{1b}[1mno way\r\n\tin\u{7} \n"), "no way in");
        assert_eq!(one_line(&"\u{e4}".repeat(5000)).chars().count(), LINE);
    }

    #[test]
    fn control_sequences_vanish() {
        let text = "\u{1b}[2J\u{1b}[01;01HGRUB\u{1b}[0m loading\r\n[\u{1b}[0;32m  OK  \u{1b}[0m] Started\r\n\u{1b}]0;t\u{7}\u{1b}(Blogin:\u{8} ";
        let lines: Vec<String> = plain(text).lines().filter(|l| !l.is_empty()).map(str::to_owned).collect();
        assert_eq!(lines, ["GRUB loading", "[  OK  ] Started", "login: "]);
    }
}
