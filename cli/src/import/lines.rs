//! Lines of a file or pipe, in bounded memory: a line over the cap is counted and passed over, never held.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

/// The longest line that is read, in bytes: 1 MiB.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// What is kept of a line that is too long, to show it.
const KEPT_OF_LONG_LINES: usize = 256;
const BUFFER_BYTES: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One line, without its end (`\n` or `\r\n`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Its bytes, or the first of them if it is too long.
    pub(crate) bytes: Vec<u8>,
    /// Whether it is over the cap.
    pub(crate) too_long: bool,
}

/// Reads lines one by one; some can be put back.
pub(crate) struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    number: u64,
    consumed: u64,
    put_back: VecDeque<Line>,
}

impl Lines {
    pub(crate) fn new(input: Box<dyn Read + Send>) -> Lines {
        Lines {
            reader: BufReader::with_capacity(BUFFER_BYTES, input),
            number: 0,
            consumed: 0,
            put_back: VecDeque::new(),
        }
    }

    /// How many bytes were read so far.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Reads the next line into `line`, reusing its memory; `false` at the end.
    pub(crate) fn next_into(&mut self, line: &mut Line) -> io::Result<bool> {
        if let Some(earlier) = self.put_back.pop_front() {
            *line = earlier;
            return Ok(true);
        }
        line.bytes.clear();
        line.too_long = false;
        let limit = MAX_LINE_BYTES as u64 + 2;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut line.bytes)?;
        self.consumed += read as u64;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        line.number = self.number;
        if line.bytes.ends_with(b"\n") {
            line.bytes.pop();
        } else if read as u64 == limit {
            self.consumed += self.reader.skip_until(b'\n')? as u64;
        }
        if line.bytes.ends_with(b"\r") {
            line.bytes.pop();
        }
        if line.bytes.len() > MAX_LINE_BYTES {
            line.bytes.truncate(KEPT_OF_LONG_LINES);
            line.too_long = true;
        }
        if line.number == 1 && line.bytes.starts_with(BYTE_ORDER_MARK) {
            line.bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(true)
    }

    /// Puts lines back, in their order, before those not read yet.
    pub(crate) fn put_back(&mut self, lines: impl DoubleEndedIterator<Item = Line>) {
        for line in lines.rev() {
            self.put_back.push_front(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: impl Into<Vec<u8>>) -> Vec<Line> {
        let mut lines = Lines::new(Box::new(io::Cursor::new(input.into())));
        let mut line = Line::default();
        let mut all = Vec::new();
        while lines.next_into(&mut line).unwrap() {
            all.push(line.clone());
        }
        all
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| String::from_utf8(line.bytes.clone()).unwrap()).collect()
    }

    #[test]
    fn line_ends_and_the_byte_order_mark_are_taken_off() {
        assert_eq!(texts(&read(b"\xef\xbb\xbfa,b\r\nc\n\nd")), ["a,b", "c", "", "d"]);
        assert!(read("").is_empty());
    }

    #[test]
    fn a_line_over_the_cap_is_not_held_and_the_next_is_read() {
        let mut input = b"first\n".to_vec();
        input.resize(input.len() + 10 * MAX_LINE_BYTES, b'x');
        input.extend(b"\nlast\n");
        let lines = read(input);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].too_long && lines[1].bytes.capacity() <= 4 * MAX_LINE_BYTES);
        assert_eq!((lines[1].bytes.len(), lines[1].number), (KEPT_OF_LONG_LINES, 2));
        assert_eq!((lines[2].bytes.as_slice(), lines[2].number), (&b"last"[..], 3));
    }

    #[test]
    fn a_line_of_exactly_the_cap_is_read_whatever_its_end() {
        for end in ["", "\n", "\r\n"] {
            let lines = read("x".repeat(MAX_LINE_BYTES) + end);
            assert_eq!((lines.len(), lines[0].too_long), (1, false), "{end:?}");
            let lines = read("x".repeat(MAX_LINE_BYTES + 1) + end);
            assert_eq!((lines.len(), lines[0].too_long), (1, true), "{end:?}");
        }
    }
}
