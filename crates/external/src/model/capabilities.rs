//! What models can do, as rows of data: models come and go, so no code knows one by its name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use wavequill_kernel::InvalidValue;

/// The name of a model as its API knows it: 1 to 256 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelId(String);

impl ModelId {
    /// Checks the name.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is empty, longer than 256 bytes, or holds a space, a control or a non-ASCII character.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidValue> {
        let name = name.into();
        if name.is_empty() || name.len() > 256 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            let expected = "1 to 256 visible ASCII characters, such as whisper-1";
            return Err(InvalidValue::new("model", format!("{name:?}"), expected));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ModelId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::new(text)
    }
}

impl TryFrom<String> for ModelId {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        Self::new(text)
    }
}

impl From<ModelId> for String {
    fn from(model: ModelId) -> Self {
        model.0
    }
}

/// Whether a model does a thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// It does.
    Yes,
    /// It does not, and asking for it is refused before anything is sent.
    #[default]
    No,
    /// Nobody has published it: it is asked for, and what comes is taken.
    Unknown,
}

impl Support {
    /// Whether it is worth asking for.
    pub fn may_ask(self) -> bool {
        self != Self::No
    }
}

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFormat {
    /// Text, and whom it cost what.
    Json,
    /// Segments, and words where the model has them.
    VerboseJson,
    /// Segments with speakers.
    DiarizedJson,
}

impl AnswerFormat {
    /// As it is written in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::VerboseJson => "verbose_json",
            Self::DiarizedJson => "diarized_json",
        }
    }
}

/// How many languages a request may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LanguageHints {
    /// None.
    No,
    /// At most one.
    #[default]
    One,
    /// Any number.
    Many,
}

/// What one model can do, and what bounds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCapabilities {
    /// The model.
    pub model: ModelId,
    /// Times of words.
    #[serde(default)]
    pub words: Support,
    /// Times of segments (phrases).
    #[serde(default)]
    pub segments: Support,
    /// Labels of speakers.
    #[serde(default)]
    pub speakers: Support,
    /// A prompt that leads the recognition.
    #[serde(default)]
    pub prompt: Support,
    /// Keywords to listen for.
    #[serde(default)]
    pub keywords: Support,
    /// Hints of the language.
    #[serde(default)]
    pub languages: LanguageHints,
    /// The richest format of its answers.
    pub answer: AnswerFormat,
    /// The most bytes that a **whole request body** may have; `None`: unknown.
    #[serde(default)]
    pub max_body_bytes: Option<u64>,
    /// The longest audio; `None`: no bound, or unknown.
    #[serde(default)]
    pub max_audio: Option<Duration>,
    /// Whether answers can be streamed as server-sent events.
    #[serde(default)]
    pub streaming: Support,
    /// The price of a minute of audio in millionths of a US dollar; `None`: unknown or free.
    #[serde(default)]
    pub microdollars_per_minute: Option<u32>,
    /// The least duration that is billed. Default: zero.
    #[serde(default)]
    pub least_billed: Duration,
    /// When its provider ends it, if that is announced.
    #[serde(default)]
    pub retires_at: Option<SystemTime>,
}

/// What OpenAI bounds a request's body to: 25 MiB.
pub(crate) const OPENAI_MAX_BODY_BYTES: u64 = 26_214_400;

impl ModelCapabilities {
    /// A model like `whisper-1`: words and segments in `verbose_json`, one language, a prompt, 25 MiB a request.
    pub fn like_whisper(model: ModelId) -> Self {
        Self {
            model,
            words: Support::Yes,
            segments: Support::Yes,
            speakers: Support::No,
            prompt: Support::Yes,
            keywords: Support::No,
            languages: LanguageHints::One,
            answer: AnswerFormat::VerboseJson,
            max_body_bytes: Some(OPENAI_MAX_BODY_BYTES),
            max_audio: None,
            streaming: Support::No,
            microdollars_per_minute: None,
            least_billed: Duration::ZERO,
            retires_at: None,
        }
    }

    /// A model that answers with text alone, as OpenAI's `gpt-4o-transcribe` does: 25 MiB a request.
    pub fn text_only(model: ModelId) -> Self {
        Self {
            words: Support::No,
            segments: Support::No,
            answer: AnswerFormat::Json,
            streaming: Support::Yes,
            ..Self::like_whisper(model)
        }
    }

    /// What audio of this duration costs in millionths of a US dollar, as far as the price is known.
    pub fn cost_microdollars(&self, audio: Duration) -> Option<u64> {
        let per_minute = u128::from(self.microdollars_per_minute?);
        let nanos = audio.max(self.least_billed).as_nanos();
        u64::try_from((nanos * per_minute).div_ceil(60_000_000_000)).ok()
    }
}

/// The rows of the models that are known; a configuration adds rows, or puts its own in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<ModelCapabilities>", into = "Vec<ModelCapabilities>")]
pub struct CapabilityTable {
    rows: BTreeMap<ModelId, ModelCapabilities>,
}

impl CapabilityTable {
    /// A table of these rows; of two with one name, the later.
    pub fn new(rows: impl IntoIterator<Item = ModelCapabilities>) -> Self {
        Self::default().with_rows(rows)
    }

    /// Adds rows, and replaces those of the same name.
    #[must_use]
    pub fn with_rows(mut self, rows: impl IntoIterator<Item = ModelCapabilities>) -> Self {
        self.rows.extend(rows.into_iter().map(|row| (row.model.clone(), row)));
        self
    }

    /// The row of a model.
    pub fn get(&self, model: &ModelId) -> Option<&ModelCapabilities> {
        self.rows.get(model)
    }

    /// The names of all models, in alphabetical order.
    pub fn models(&self) -> impl Iterator<Item = &ModelId> {
        self.rows.keys()
    }

    /// All rows, in the alphabetical order of their names.
    pub fn rows(&self) -> impl Iterator<Item = &ModelCapabilities> {
        self.rows.values()
    }
}

impl From<Vec<ModelCapabilities>> for CapabilityTable {
    fn from(rows: Vec<ModelCapabilities>) -> Self {
        Self::new(rows)
    }
}

impl From<CapabilityTable> for Vec<ModelCapabilities> {
    fn from(table: CapabilityTable) -> Self {
        table.rows.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_configuration_takes_the_place_of_a_known_one() {
        let model = ModelId::new("m").unwrap();
        let known = CapabilityTable::new([ModelCapabilities::like_whisper(model.clone())]);
        let own = ModelCapabilities::text_only(model.clone());
        assert_eq!(known.with_rows([own.clone()]).get(&model), Some(&own));
    }

    #[test]
    fn a_name_that_could_forge_a_header_is_refused() {
        for name in ["", "a b", "a\r\nb", "ä", &"x".repeat(257)] {
            assert!(ModelId::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_cost_is_of_the_least_billed_duration_and_rounded_up() {
        let mut row = ModelCapabilities::like_whisper(ModelId::new("m").unwrap());
        row.microdollars_per_minute = Some(6_000);
        row.least_billed = Duration::from_secs(10);
        assert_eq!(row.cost_microdollars(Duration::from_secs(1)), Some(1_000));
        assert_eq!(row.cost_microdollars(Duration::from_micros(90_000_001)), Some(9_001));
    }
}
