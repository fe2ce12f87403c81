//! OpenAI's `json`, and the writing of JSON.

use std::fmt::Write as _;

use crate::Transcript;

pub(super) fn render(transcript: &Transcript) -> String {
    let mut out = Writer::default();
    out.object(|out| {
        out.key("text");
        out.string(&transcript.text);
    });
    out.finish()
}

/// Writes JSON (RFC 8259), fields in the order in which they are given.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: String,
    /// Whether something stands before the next item, so that a comma is due.
    comma: bool,
}

impl Writer {
    pub(super) fn object(&mut self, fields: impl FnOnce(&mut Self)) {
        self.nested('{', '}', fields);
    }

    pub(super) fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        self.nested('[', ']', |out| {
            for value in items {
                item(out, value);
            }
        });
    }

    fn nested(&mut self, open: char, close: char, inside: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push(open);
        self.comma = false;
        inside(self);
        self.out.push(close);
        self.comma = true;
    }

    /// The name of the value that comes next.
    pub(super) fn key(&mut self, name: &str) {
        self.string(name);
        self.out.push(':');
        self.comma = false;
    }

    pub(super) fn string(&mut self, text: &str) {
        self.separate();
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                c if u32::from(c) < 0x20 => self.raw(format_args!("\\u{:04x}", u32::from(c))),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    pub(super) fn whole(&mut self, number: u64) {
        self.separate();
        self.raw(format_args!("{number}"));
    }

    /// JSON has no NaN and no infinity: those are 0.
    pub(super) fn real(&mut self, number: f64) {
        self.separate();
        let number = if number.is_finite() { number } else { 0.0 };
        self.raw(format_args!("{number:?}"));
    }

    /// Milliseconds as seconds, exactly: `3320` is `3.32`.
    pub(super) fn seconds(&mut self, millis: u64) {
        self.separate();
        let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
        let short = text.trim_end_matches('0');
        self.out.push_str(short);
        if short.ends_with('.') {
            self.out.push('0');
        }
    }

    pub(super) fn truth(&mut self, value: bool) {
        self.separate();
        self.out.push_str(if value { "true" } else { "false" });
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(',');
        }
        self.comma = true;
    }

    fn raw(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_reads_back(text: String) {
            let mut out = Writer::default();
            out.string(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&out.finish()).unwrap(), text);
        }

        #[test]
        fn any_number_reads_back(number: f64, millis in 0_u64..1 << 50) {
            let mut out = Writer::default();
            out.real(number);
            let json = out.finish();
            prop_assert!(serde_json::from_str::<f64>(&json).is_ok());
            // The reader above is not exact to the last bit; this one is.
            prop_assert_eq!(json.parse::<f64>().unwrap(), if number.is_finite() { number } else { 0.0 });
            let mut out = Writer::default();
            out.seconds(millis);
            let read: f64 = serde_json::from_str(&out.finish()).unwrap();
            prop_assert!((read * 1_000.0 - millis as f64).abs() < 0.5);
        }
    }

    #[test]
    fn lists_and_objects_nest() {
        let mut out = Writer::default();
        out.object(|out| {
            out.key("a");
            out.list([1, 2], Writer::whole);
            out.key("b");
            out.object(|_| ());
            out.key("c");
            out.truth(true);
        });
        assert_eq!(out.finish(), r#"{"a":[1,2],"b":{},"c":true}"#);
    }
}
