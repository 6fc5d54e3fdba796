//! Questions as plain lines, one after the other: for screen readers, for terminals that can't move their cursor, and for whoever
//! prefers it. `back` goes back.

use super::prompt::{Answer, Ask, CheckChosen, CheckLine, Choice, Prompter, Screen, Unanswered};
use ostler_core::secret::Secret;
use std::io::{self, BufRead, Write};

/// Reads answers from `input`, and writes questions to `output`.
pub struct Plain<I, O> {
    input: I,
    output: O,
    /// Reads a line that nobody sees.
    hidden: fn(&mut I) -> io::Result<String>,
}

impl Plain<io::BufReader<io::Stdin>, io::Stderr> {
    /// At the terminal.
    pub fn terminal() -> Self {
        Self {
            input: io::BufReader::new(io::stdin()),
            output: io::stderr(),
            hidden: |_| rpassword::prompt_password(""),
        }
    }
}

/// The word that goes back.
const BACK: &str = "back";

impl<I: BufRead, O: Write> Plain<I, O> {
    fn say(&mut self, text: &str) {
        // A terminal that is gone is noticed when it is read.
        let _ = writeln!(self.output, "{text}");
    }

    fn ask(&mut self, ask: Ask<'_>) {
        self.say(ask.question);
        if let Some(help) = ask.help() {
            self.say(&format!("  {help}"));
        }
    }

    fn list(&mut self, choices: &[Choice]) {
        for (number, Choice { label, help }) in (1..).zip(choices) {
            let help = if help.is_empty() { String::new() } else { format!(": {help}") };
            self.say(&format!("  {number}. {label}{help}"));
        }
    }

    /// A line after `prompt`; `None` goes back.
    fn line(&mut self, prompt: &str) -> Result<Option<String>, Unanswered> {
        let _ = write!(self.output, "{prompt}: ").and_then(|()| self.output.flush());
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => Err(Unanswered::Interrupted),
            Ok(_) => Ok(Some(line.trim().to_owned()).filter(|line| line != BACK)),
            Err(error) => Err(Unanswered::unreadable(&error)),
        }
    }

    fn secret(&mut self, prompt: &str) -> Result<Secret, Unanswered> {
        let _ = write!(self.output, "{prompt}: ").and_then(|()| self.output.flush());
        match (self.hidden)(&mut self.input) {
            Ok(line) => Ok(Secret::new(line)),
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::Interrupted) => {
                Err(Unanswered::Interrupted)
            }
            Err(error) => Err(Unanswered::unreadable(&error)),
        }
    }
}

impl<I: BufRead + Send, O: Write + Send> Prompter for Plain<I, O> {
    fn screen(&mut self, screen: &Screen) {
        let place = screen.path.iter().position(|title| *title == screen.title).map_or(0, |index| index + 1);
        self.say(&format!("\n{}. Step {place} of {}. `{BACK}` goes back.", screen.title, screen.path.len()));
        screen.text.iter().for_each(|line| self.say(line));
        if let Some(notice) = &screen.notice {
            self.say(notice);
        }
    }

    fn rows(&self) -> usize {
        // Nothing is lost that scrolls by.
        usize::MAX
    }

    fn select(&mut self, ask: Ask<'_>, choices: &[Choice], default: usize) -> Result<Answer<usize>, Unanswered> {
        self.ask(ask);
        self.list(choices);
        let prompt = format!("Number [{}]", default + 1);
        loop {
            let Some(line) = self.line(&prompt)? else { return Ok(Answer::Back) };
            if line.is_empty() {
                return Ok(Answer::Given(default));
            }
            match line.parse::<usize>() {
                Ok(number) if (1..=choices.len()).contains(&number) => return Ok(Answer::Given(number - 1)),
                _ => self.say(&format!("a number from 1 to {}, please", choices.len())),
            }
        }
    }

    fn multi_select(
        &mut self,
        ask: Ask<'_>,
        choices: &[Choice],
        default: &[usize],
        check: CheckChosen<'_>,
    ) -> Result<Answer<Vec<usize>>, Unanswered> {
        self.ask(ask);
        self.list(choices);
        let offered: Vec<String> = default.iter().map(|index| (index + 1).to_string()).collect();
        let offered = if offered.is_empty() { "0".to_owned() } else { offered.join(" ") };
        let prompt = format!("Numbers, separated by spaces; 0 for none [{offered}]");
        loop {
            let Some(line) = self.line(&prompt)? else { return Ok(Answer::Back) };
            let chosen = if line.is_empty() { Some(default.to_vec()) } else { numbers(&line, choices.len()) };
            match chosen.as_deref().map(check) {
                Some(Ok(())) => return Ok(Answer::Given(chosen.unwrap_or_default())),
                Some(Err(message)) => self.say(&message),
                None => self.say(&format!("numbers from 1 to {}, please, or 0", choices.len())),
            }
        }
    }

    fn text(
        &mut self,
        ask: Ask<'_>,
        default: Option<&str>,
        check: CheckLine<'_>,
    ) -> Result<Answer<String>, Unanswered> {
        if let Some(help) = ask.help() {
            self.say(help);
        }
        let prompt = match default {
            Some(default) => format!("{} [{default}]", bare(ask)),
            None => bare(ask).to_owned(),
        };
        loop {
            let Some(line) = self.line(&prompt)? else { return Ok(Answer::Back) };
            match check(&line) {
                Ok(()) => return Ok(Answer::Given(line)),
                Err(message) => self.say(&message),
            }
        }
    }

    fn password(&mut self, ask: Ask<'_>, twice: bool, check: CheckLine<'_>) -> Result<Answer<Secret>, Unanswered> {
        if let Some(help) = ask.help() {
            self.say(help);
        }
        loop {
            let secret = self.secret(&format!("{} (it is not shown)", bare(ask)))?;
            if secret.expose() == BACK {
                return Ok(Answer::Back);
            }
            if let Err(message) = check(secret.expose()) {
                self.say(&message);
            } else if twice && self.secret("Once more")? != secret {
                self.say("the two differ");
            } else {
                return Ok(Answer::Given(secret));
            }
        }
    }
}

/// The question without its colon, which comes after what is offered.
fn bare(ask: Ask<'_>) -> &str {
    ask.question.trim_end_matches(':')
}

/// Indices of the choices that `line` numbers, in ascending order.
fn numbers(line: &str, most: usize) -> Option<Vec<usize>> {
    if line == "0" {
        return Some(Vec::new());
    }
    let words = line.split([' ', ',']).filter(|word| !word.is_empty());
    let numbers = words.map(|word| word.parse().ok().filter(|number| (1..=most).contains(number)));
    let numbers: std::collections::BTreeSet<usize> = numbers.collect::<Option<_>>()?;
    Some(numbers.into_iter().map(|number| number - 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: Ask<'_> = Ask { question: "What", help: "" };

    fn plain(typed: &'static str) -> Plain<&'static [u8], Vec<u8>> {
        Plain {
            input: typed.as_bytes(),
            output: Vec::new(),
            hidden: |input| {
                let mut line = String::new();
                match input.read_line(&mut line)? {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => Ok(line.trim_end().to_owned()),
                }
            },
        }
    }

    fn said(plain: Plain<&[u8], Vec<u8>>) -> String {
        String::from_utf8(plain.output).unwrap()
    }

    fn choices() -> [Choice; 3] {
        ["ufw", "fail2ban", "time_sync"].map(|label| Choice::new(label, "Help"))
    }

    #[test]
    fn a_wrong_number_is_asked_for_again() {
        let mut plain = plain("4\nx\n2\n");
        assert_eq!(plain.select(ASK, &choices(), 0).unwrap(), Answer::Given(1));
        let said = said(plain);
        assert!(said.starts_with("What\n  1. ufw: Help\n"), "{said}");
        assert_eq!(said.matches("a number from 1 to 3, please").count(), 2);
    }

    #[test]
    fn several_are_chosen_by_number_none_by_0_and_the_offered_by_nothing() {
        let fine = |_: &[usize]| Ok(());
        for (typed, chosen) in [("3, 1 3\n", vec![0, 2]), ("0\n", vec![]), ("\n", vec![1]), ("7\n2\n", vec![1])] {
            assert_eq!(plain(typed).multi_select(ASK, &choices(), &[1], &fine).unwrap(), Answer::Given(chosen));
        }
        let mut picky = plain("1\n2\n");
        let check = |chosen: &[usize]| if chosen == [0] { Err("not that one".to_owned()) } else { Ok(()) };
        assert_eq!(picky.multi_select(ASK, &choices(), &[], &check).unwrap(), Answer::Given(vec![1]));
        assert!(said(picky).contains("not that one\n"));
    }

    #[test]
    fn back_goes_back_and_the_end_is_the_end() {
        assert_eq!(plain("back\n").select(ASK, &choices(), 0).unwrap(), Answer::Back);
        assert_eq!(plain("back\n").text(ASK, None, &|_| Ok(())).unwrap(), Answer::Back);
        assert_eq!(plain("back\n").password(ASK, false, &|_| Ok(())).unwrap(), Answer::Back);
        assert!(matches!(plain("").text(ASK, None, &|_| Ok(())), Err(Unanswered::Interrupted)));
        assert!(matches!(plain("").password(ASK, false, &|_| Ok(())), Err(Unanswered::Interrupted)));
    }

    #[test]
    fn a_secret_is_typed_twice_where_it_must_be_right() {
        let mut plain = plain("one\ntwo\none\none\n");
        let secret = plain.password(ASK, true, &|_| Ok(())).unwrap();
        assert_eq!(secret, Answer::Given(Secret::new("one")));
        let said = said(plain);
        assert!(said.contains("the two differ") && !said.contains("one\n"), "{said}");
    }
}
