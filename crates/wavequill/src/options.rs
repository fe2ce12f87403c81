//! What may be asked of one transcription.

use serde::{Deserialize, Serialize};
use wavequill_processing::RecognitionOptions;

/// What is done about ranges that could not be transcribed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gaps {
    /// They are an error, which carries what was heard.
    #[default]
    Refuse,
    /// They are reported in the transcript.
    Allow,
}

/// Whether what was transcribed before is used, and what is transcribed now is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheUse {
    /// Both.
    #[default]
    Full,
    /// Neither.
    Bypass,
}

/// What is asked of one transcription. All that changes the words belongs to the key under which they are kept.
///
/// ```
/// use wavequill::{Gaps, TranscribeOptions};
///
/// let options = TranscribeOptions::default().with_language("en").with_gaps(Gaps::Allow);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TranscribeOptions {
    /// The language that is spoken, as ISO 639-1. Default: it is detected.
    pub language: Option<String>,
    /// Text that leads the recognition: names and words to expect. Default: none.
    pub prompt: Option<String>,
    /// The sampling temperature, 0 to 1. Default: the API's own.
    pub temperature: Option<f32>,
    /// What is done about ranges that could not be transcribed. Default: [`Gaps::Refuse`].
    pub gaps: Gaps,
    /// Whether results are looked up and kept. Default: [`CacheUse::Full`].
    pub cache: CacheUse,
}

impl TranscribeOptions {
    /// Says which language is spoken.
    #[must_use]
    pub fn with_language(mut self, language: impl Into<String>) -> Self {
        self.language = Some(language.into());
        self
    }

    /// Leads the recognition.
    #[must_use]
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Sets the sampling temperature.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Says what is done about ranges that could not be transcribed.
    #[must_use]
    pub fn with_gaps(mut self, gaps: Gaps) -> Self {
        self.gaps = gaps;
        self
    }

    /// Says whether results are looked up and kept.
    #[must_use]
    pub fn with_cache(mut self, cache: CacheUse) -> Self {
        self.cache = cache;
        self
    }

    pub(crate) fn recognition(&self) -> RecognitionOptions {
        RecognitionOptions {
            model: None,
            language: self.language.clone(),
            prompt: self.prompt.clone(),
            temperature: self.temperature,
        }
    }
}
