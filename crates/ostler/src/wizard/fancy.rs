//! Questions in a terminal that can move its cursor: lists to walk through, answers that are checked where they stand.
//!
//! inquire draws on standard error, below what stands there, and takes a window of another size into account with the next key. It
//! counts on its cursor for that, which is where text is typed: so lists can be filtered by typing, also short ones. And it counts on lines
//! to stay where they are: so the wizard has the terminal's other screen, whose lines are cut in a window that gets narrower, and not
//! broken, and the rows of a list fit into the window as it is with each key. inquire tells Esc (back) from Ctrl-C (the end), and gives the
//! terminal back as it was after each question.

use super::prompt::{Answer, Ask, CheckChosen, CheckLine, Choice, Prompter, Screen, Unanswered};
use inquire::{
    InquireError, MultiSelect, Password, PasswordDisplayMode, Select, Text,
    error::CustomUserError,
    ui::{RenderConfig, Styled},
    validator::Validation,
};
use ostler_core::secret::Secret;
use rustix::termios::tcgetwinsize;
use std::{fmt, io};

/// The terminal.
pub struct Fancy {
    look: RenderConfig<'static>,
    /// Lines that stand on the screen.
    used: usize,
    /// The window that it was drawn for.
    window: (usize, usize),
}

/// To the terminal's other screen, and back to what stood there before (xterm's ctlseqs).
const ENTER: &str = "\u{1b}[?1049h";
/// The way back.
pub const LEAVE: &str = "\u{1b}[?1049l";

/// The window where the terminal does not say its size, and the least that is drawn for.
const WINDOW: (usize, usize) = (80, 24);
const LEAST: (usize, usize) = (20, 8);

/// Fewest choices that are shown at once.
const FEWEST: usize = 3;

impl Fancy {
    /// With colours or without.
    pub fn new(colours: bool) -> Self {
        eprint!("{ENTER}");
        let look = if colours { RenderConfig::default_colored() } else { RenderConfig::empty() };
        let look = look.with_canceled_prompt_indicator(Styled::new(""));
        let look = if colours { look } else { look.with_answered_prompt_prefix(Styled::new(">")) };
        Self { look, used: 0, window: window() }
    }

    /// Choices that fit below what stands there, with the question, its help, a message and a line to spare.
    fn page(&self) -> usize {
        self.rows().saturating_sub(self.used + 4).max(FEWEST)
    }

    fn answered<T>(&mut self, answer: Result<T, InquireError>) -> Result<Answer<T>, Unanswered> {
        self.used += 1;
        match answer {
            Ok(answer) => Ok(Answer::Given(answer)),
            Err(InquireError::OperationCanceled) => Ok(Answer::Back),
            Err(InquireError::OperationInterrupted) => Err(Unanswered::Interrupted),
            Err(error) => Err(Unanswered::unreadable(&error)),
        }
    }

    fn complain(&mut self, message: &str) {
        self.used += message.lines().count();
        eprintln!("# {message}");
    }
}

impl Drop for Fancy {
    fn drop(&mut self) {
        eprint!("{LEAVE}");
    }
}

impl Prompter for Fancy {
    fn screen(&mut self, screen: &Screen) {
        let mut lines = vec![way(screen), "Enter: next   Esc: back   Ctrl-C: leave, nothing is kept".to_owned()];
        lines.push(String::new());
        if !screen.text.is_empty() {
            lines.extend(screen.text.iter().cloned());
            lines.push(String::new());
        }
        lines.extend(screen.answered.iter().map(|(question, answer)| format!("> {question} {answer}")));
        lines.extend(screen.notice.iter().flat_map(|notice| notice.lines()).map(|line| format!("# {line}")));
        self.window = window();
        let width = self.window.0;
        self.used = lines.iter().map(|line| 1 + line.chars().count().saturating_sub(1) / width).sum();
        // Erase the window, and begin at its top: ECMA-48, ED and CUP.
        eprintln!("\u{1b}[2J\u{1b}[H{}", lines.join("\n"));
    }

    fn is_stale(&self) -> bool {
        window() != self.window
    }

    fn rows(&self) -> usize {
        window().1
    }

    fn select(&mut self, ask: Ask<'_>, choices: &[Choice], default: usize) -> Result<Answer<usize>, Unanswered> {
        let rows = rows(choices, 3);
        let page = self.page();
        let mut select = Select::new(ask.question, rows)
            .with_render_config(self.look)
            .with_page_size(page)
            .with_starting_cursor(default)
            .with_formatter(&|row| row.value.label.clone());
        select.help_message = ask.help();
        let answer = select.raw_prompt().map(|row| row.index);
        self.answered(answer)
    }

    fn multi_select(
        &mut self,
        ask: Ask<'_>,
        choices: &[Choice],
        default: &[usize],
        check: CheckChosen<'_>,
    ) -> Result<Answer<Vec<usize>>, Unanswered> {
        let mut default = default.to_vec();
        loop {
            let page = self.page();
            let mut select = MultiSelect::new(ask.question, rows(choices, 7))
                .with_render_config(self.look)
                .with_page_size(page)
                .with_default(&default)
                .with_formatter(&|rows| rows.iter().map(|row| row.value.label.as_str()).collect::<Vec<_>>().join(", "));
            let help = ask.help().map_or(KEYS.to_owned(), |help| format!("{help}. {KEYS}"));
            select.help_message = Some(&help);
            let answer = select.raw_prompt().map(|rows| rows.iter().map(|row| row.index).collect::<Vec<_>>());
            let answer = self.answered(answer)?;
            match &answer {
                Answer::Given(chosen) => match check(chosen) {
                    Ok(()) => return Ok(answer),
                    Err(message) => {
                        self.complain(&message);
                        default.clone_from(chosen);
                    }
                },
                Answer::Back => return Ok(answer),
            }
        }
    }

    fn text(
        &mut self,
        ask: Ask<'_>,
        default: Option<&str>,
        check: CheckLine<'_>,
    ) -> Result<Answer<String>, Unanswered> {
        let validate = |line: &str| -> Result<Validation, CustomUserError> {
            Ok(match check(line) {
                Ok(()) => Validation::Valid,
                Err(message) => Validation::Invalid(message.into()),
            })
        };
        let mut text = Text::new(ask.question).with_render_config(self.look).with_validator(validate);
        text.default = default;
        text.help_message = ask.help();
        let answer = text.prompt();
        self.answered(answer)
    }

    fn password(&mut self, ask: Ask<'_>, twice: bool, check: CheckLine<'_>) -> Result<Answer<Secret>, Unanswered> {
        loop {
            let mut password = Password::new(ask.question)
                .with_render_config(self.look)
                .with_display_mode(PasswordDisplayMode::Masked)
                .with_custom_confirmation_message("Once more:");
            password.help_message = ask.help();
            password.enable_confirmation = twice;
            let answer = password.prompt().map(Secret::new);
            let answer = self.answered(answer)?;
            match &answer {
                Answer::Given(secret) => match check(secret.expose()) {
                    Ok(()) => return Ok(answer),
                    Err(message) => self.complain(&message),
                },
                Answer::Back => return Ok(answer),
            }
        }
    }
}

/// How a list of which several are chosen is worked with.
const KEYS: &str = "Space: choose, right: all, left: none";

/// Width and height of the window, now.
fn window() -> (usize, usize) {
    let size = tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    let (width, height) = size.map_or(WINDOW, |size| (size.ws_col.into(), size.ws_row.into()));
    (width.max(LEAST.0), height.max(LEAST.1))
}

/// Where the screen is among all.
fn way(screen: &Screen) -> String {
    let mark = |title: &&str| if *title == screen.title { format!("[{title}]") } else { (*title).to_owned() };
    screen.path.iter().map(mark).collect::<Vec<_>>().join(" > ")
}

/// A choice with its explanation, in one line that fits into the window whenever it is drawn.
struct Row {
    label: String,
    line: String,
    /// Columns that others take.
    taken: usize,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&fit(&self.line, window().0.saturating_sub(self.taken)))
    }
}

fn rows(choices: &[Choice], taken: usize) -> Vec<Row> {
    let longest = choices.iter().map(|choice| choice.label.chars().count()).max().unwrap_or(0);
    let row = |Choice { label, help }: &Choice| {
        let line = format!("{label:<longest$}  {help}").trim_end().to_owned();
        Row { label: label.clone(), line, taken }
    };
    choices.iter().map(row).collect()
}

/// The text, cut off with three dots where it is longer than `width`: a line that breaks is hard to walk by.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let cut: String = text.chars().take(width.saturating_sub(3)).collect();
    format!("{}...", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_columns_and_fit() {
        let choices = [Choice::new("ufw", "A firewall"), Choice::new("fail2ban", "Bans addresses that fail to log in")];
        let lines: Vec<String> = rows(&choices, 7).iter().map(|row| fit(&row.line, 30)).collect();
        assert_eq!(lines, ["ufw       A firewall", "fail2ban  Bans addresses th..."]);
    }
}
