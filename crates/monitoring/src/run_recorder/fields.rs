//! The fields of a span or event: numbers and short texts.

use std::fmt;

use tracing::field::{Field, Visit};

/// Longer texts are cut, but for the envelope's: they are no figures.
const MAX_TEXT: usize = 256;
const MAX_ENVELOPE: usize = 2_000;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Whole(i128),
    Real(f64),
    Text(String),
}

/// Fields by name, a handful of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        match self.value(name)? {
            Value::Whole(whole) => Some(*whole as f64),
            Value::Real(real) => Some(*real),
            Value::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        }
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        self.number(name).map_or(0, |number| number as u64)
    }

    /// A place or length of audio: a whole number is one of samples, another of seconds.
    pub(super) fn seconds(&self, name: &str, rate: f64) -> f64 {
        match self.value(name) {
            Some(Value::Whole(samples)) => *samples as f64 / rate,
            Some(Value::Real(seconds)) => *seconds,
            _ => self.number(name).unwrap_or(0.0),
        }
    }

    pub(super) fn text(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Whole(whole)) => whole.to_string(),
            Some(Value::Real(real)) => real.to_string(),
            Some(Value::Text(text)) => text.clone(),
            None => String::new(),
        }
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn set(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == field.name()) {
            Some((_, known)) => *known = value,
            None => self.0.push((field.name(), value)),
        }
    }

    fn set_text(&mut self, field: &Field, mut text: String) {
        let most = if field.name() == "peaks" { MAX_ENVELOPE } else { MAX_TEXT };
        if text.len() > most {
            let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
        self.set(field, Value::Text(text));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.set(field, Value::Real(value));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::Whole(i128::from(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::Whole(i128::from(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Whole(i128::from(value)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set_text(field, format!("{value:?}"));
    }
}
