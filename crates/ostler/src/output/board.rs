//! One live line for each server that is worked on, and one that sums up; whatever the size of the window.

use ostler_core::model::Phase;
use std::time::{Duration, Instant};

/// What is under way.
pub struct Board {
    rows: Vec<Row>,
    total: usize,
    ended: usize,
    failed: usize,
}

/// A server at work.
pub struct Row {
    server: String,
    begun: Instant,
    /// Where it stands.
    pub phase: Option<Phase>,
    /// Step, task or transfer.
    pub doing: String,
    /// Tasks that are done.
    pub done: usize,
    /// Those of them that changed something.
    pub changed: usize,
}

/// Longest part of a server's name that is shown where the window is narrow.
const NAME: usize = 20;

impl Board {
    /// For so many servers.
    pub fn new(total: usize) -> Self {
        Self { rows: Vec::new(), total, ended: 0, failed: 0 }
    }

    /// The line of a server; a new one at the end if it has none.
    pub fn row(&mut self, server: &str) -> &mut Row {
        let index = self.rows.iter().position(|row| row.server == server).unwrap_or_else(|| {
            self.rows.push(Row {
                server: server.to_owned(),
                begun: Instant::now(),
                phase: None,
                doing: String::new(),
                done: 0,
                changed: 0,
            });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// It came to its end.
    pub fn end(&mut self, server: &str, well: bool) {
        self.rows.retain(|row| row.server != server);
        self.ended += 1;
        self.failed += usize::from(!well);
    }

    /// At most `height` lines of at most `width` characters.
    pub fn lines(&self, now: Instant, width: usize, height: usize) -> Vec<String> {
        let longest = self.rows.iter().map(|row| row.server.len()).max().unwrap_or(0);
        let name = longest.min(NAME.max(width / 4));
        // The last line of a window is the cursor's, one is for the sum.
        let room = height.saturating_sub(2).max(1);
        let shown = if self.rows.len() > room { room.saturating_sub(1) } else { self.rows.len() };
        let mut lines: Vec<String> = self.rows[..shown].iter().map(|row| row.line(now, name, width)).collect();
        if shown < self.rows.len() {
            lines.push(cut(&format!("... and {} servers more", self.rows.len() - shown), width));
        }
        let waiting = self.total.saturating_sub(self.ended + self.rows.len());
        let counts = [
            (self.ended - self.failed, "done"),
            (self.failed, "failed"),
            (self.rows.len(), "at work"),
            (waiting, "waiting"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        lines.push(cut(&format!("{} servers: {}", self.total, counts.collect::<Vec<_>>().join(", ")), width));
        lines.split_off(lines.len().saturating_sub(height))
    }
}

impl Row {
    fn line(&self, now: Instant, name: usize, width: usize) -> String {
        let phase = self.phase.map_or("", Phase::as_str);
        let left = format!("{:<name$}  {phase:<9}  {}", cut(&self.server, name), self.doing);
        let counts =
            if self.done > 0 { format!("{} done, {} changed  ", self.done, self.changed) } else { String::new() };
        let right = format!("  {counts}{}", clock(now.saturating_duration_since(self.begun)));
        let room = width.saturating_sub(right.chars().count());
        cut(&format!("{:<room$}{right}", cut(&left, room)), width)
    }
}

/// Minutes and seconds.
pub fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// The first characters of a text.
pub fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(servers: usize) -> Board {
        let mut board = Board::new(servers + 2);
        for number in 0..servers {
            let row = board.row(&format!("web{number}"));
            row.phase = Some(Phase::Provision);
            row.doing =
                "ufw : Install a rule set whose name is so long that it does not fit beside all the rest".into();
            (row.done, row.changed) = (12, 3);
        }
        board
    }

    #[test]
    fn a_line_fits_and_ends_with_counts_and_time() {
        let board = board(1);
        let lines = board.lines(board.rows[0].begun + Duration::from_secs(75), 80, 24);
        assert_eq!(
            lines,
            [
                "web0  provision  ufw : Install a rule set whose name i  12 done, 3 changed  1:15",
                "3 servers: 1 at work, 2 waiting"
            ]
            .map(|line| line.to_owned())
        );
        assert_eq!(lines[0].chars().count(), 80);
    }

    #[test]
    fn a_window_with_fewer_rows_than_servers_says_how_many_are_not_shown() {
        let board = board(20);
        let now = Instant::now();
        for (width, height) in [(80, 24), (80, 10), (40, 5), (20, 3), (3, 1), (0, 0)] {
            let lines = board.lines(now, width, height);
            assert!(lines.len() < height.max(2), "{} lines in {height} rows", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?} in {width} columns");
        }
        let lines = board.lines(now, 80, 10);
        assert_eq!(lines[7], "... and 13 servers more");
        assert_eq!(lines[8], "22 servers: 20 at work, 2 waiting");
    }

    #[test]
    fn what_ended_makes_room_and_is_counted() {
        let mut board = board(3);
        board.end("web0", true);
        board.end("web2", false);
        board.end("never-begun", false);
        let lines = board.lines(Instant::now(), 80, 24);
        assert!(lines[0].starts_with("web1 "));
        assert_eq!(lines[1], "5 servers: 1 done, 2 failed, 1 at work, 1 waiting");
    }
}
