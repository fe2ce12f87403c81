//! Server-sent events: bytes in, the data of events out. It knows the format, not what is in it.

use std::collections::VecDeque;

/// The longest line, and the most data of one event: 1 MiB.
const LONGEST: usize = 1024 * 1024;

/// Why a stream of events cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadEvent {
    /// A line or an event is over 1 MiB.
    TooLong,
    /// A line is not UTF-8.
    NotText,
}

impl BadEvent {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "an event has more than 1 MiB",
            Self::NotText => "an event is not UTF-8",
        }
    }
}

/// Reads a stream of events piece by piece, wherever it was cut.
///
/// Names, ids and retry times of events are skipped: the APIs repeat what counts in the data.
#[derive(Debug, Default)]
pub(crate) struct EventParser {
    line: Vec<u8>,
    data: Option<String>,
    ready: VecDeque<String>,
    /// The last byte was a CR, to which an LF may still belong.
    after_cr: bool,
    begun: bool,
}

impl EventParser {
    /// Takes the next piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), BadEvent> {
        let mut rest = piece;
        while let Some((first, tail)) = rest.split_first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = tail;
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
            if self.line.len() + text.len() > LONGEST {
                return Err(BadEvent::TooLong);
            }
            self.line.extend_from_slice(text);
            let Some((end, after)) = after.split_first() else { return Ok(()) };
            self.after_cr = *end == b'\r';
            rest = after;
            self.end_line()?;
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), BadEvent> {
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line).map_err(|_| BadEvent::NotText)?;
        let line = if self.begun { line } else { line.strip_prefix('\u{feff}').unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            self.ready.extend(self.data.take());
        } else if let Some(data) = field(line, "data") {
            let all = self.data.get_or_insert_default();
            if all.len() + data.len() > LONGEST {
                return Err(BadEvent::TooLong);
            }
            if !all.is_empty() {
                all.push('\n');
            }
            all.push_str(data);
        }
        Ok(())
    }

    /// The data of the next whole event.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.ready.pop_front()
    }
}

/// The value of a line if it is of this field.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(':')?;
    Some(value.strip_prefix(' ').unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(text: &[u8], piece: usize) -> Result<Vec<String>, BadEvent> {
        let mut parser = EventParser::default();
        for piece in text.chunks(piece) {
            parser.push(piece)?;
        }
        Ok(std::iter::from_fn(|| parser.next()).collect())
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_was_cut() {
        let table: [(&str, &[&str]); 8] = [
            ("data: a\n\ndata: b\n\n", &["a", "b"]),
            ("data: a\r\n\r\ndata: b\r\rdata:c\n\n", &["a", "b", "c"]),
            ("\u{feff}: a comment\nevent: x\nid: 1\nretry: 9\ndata:ä\n\n", &["ä"]),
            ("data: one\ndata: two\n\n", &["one\ntwo"]),
            ("data\n\n", &[""]),
            ("\n\n\nevent: without data\n\n", &[]),
            ("data: the end is missing", &[]),
            ("database: no\ndata : no\n\n", &[]),
        ];
        for (text, expected) in table {
            for piece in 1..=text.len() {
                assert_eq!(
                    events(text.as_bytes(), piece).unwrap(),
                    expected,
                    "{text:?} in pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn what_has_no_end_is_refused_before_it_fills_the_memory() {
        let endless = vec![b'x'; LONGEST + 1];
        assert_eq!(events(&endless, 65_536), Err(BadEvent::TooLong));
        let line = format!("data: {}\n", "x".repeat(1_000));
        assert_eq!(events(line.repeat(1_100).as_bytes(), 4_096), Err(BadEvent::TooLong));
        assert_eq!(events(b"data: \xff\n\n", 3), Err(BadEvent::NotText));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1_usize..50) {
            let whole = events(&bytes, bytes.len().max(1));
            prop_assert_eq!(events(&bytes, piece).ok(), whole.ok());
        }
    }
}
