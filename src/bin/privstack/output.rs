//! What the program prints: results on standard output, everything else on standard error.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use privstack_sync::error::{Error, ErrorCode, Result};
use serde_json::Value as Json;

/// Prints a line on standard output. A reader that has gone (`| head`) ends the program quietly, as it would `cat`.
pub fn line(text: &str) -> Result<()> {
    raw(text)?;
    raw("\n")
}

/// Prints a JSON value on a line of its own.
pub fn json(value: &Json) -> Result<()> {
    line(&value.to_string())
}

fn raw(text: &str) -> Result<()> {
    end_if_reader_is_gone(io::stdout().lock().write_all(text.as_bytes()))
}

/// Writes out what [`line()`] left in the buffer.
pub fn flush() -> Result<()> {
    end_if_reader_is_gone(io::stdout().lock().flush())
}

fn end_if_reader_is_gone(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => result
            .map_err(|error| Error::new(ErrorCode::Storage, format!("standard output cannot be written: {error}"))),
    }
}

/// Tells the user something on standard error that is no result; nothing happens if nobody can read it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text of users and peers for a terminal: control characters (which could move the cursor) shown as `\u{…}`.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The first `length` characters, with an ellipsis where there were more.
pub fn shorten(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Milliseconds since 1970 as `2026-11-22 14:33:05Z`.
pub fn time(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970, counted in eras of 400 years that start in March (H. Hinnant's algorithm).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// How far a long piece of work has come: `Total(n)` once, when known, then `Done(n)` so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// So many in all.
    Total(u64),
    /// So many done.
    Done(u64),
}

/// A progress bar on a terminal, nothing in a pipe.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar that counts `what`.
    pub fn new(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::no_length().with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {elapsed}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows a step.
    pub fn step(&self, step: Step) {
        match step {
            Step::Total(total) => self.0.set_length(total),
            Step::Done(done) => self.0.set_position(done),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(time(1_795_358_039_999), "2026-11-22 14:33:59Z");
        time(u64::MAX);
    }

    #[test]
    fn text_for_a_terminal_has_no_control_characters() {
        assert_eq!(clean("a\u{1b}[2Jé\n"), "a\\u{1b}[2Jé\\n");
        assert_eq!(shorten("häuser", 2), "hä…");
        assert_eq!(shorten("hä", 2), "hä");
    }
}
