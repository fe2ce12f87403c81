//! All that makes one result differ from another: what a key is made from.

use wavequill_kernel::{ContentHash, InvalidValue};

use super::{Metadata, Namespace};

/// What the recogniser is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Task {
    /// Write down what is said, in the language it is said in.
    #[default]
    Transcribe,
    /// Write it down in English.
    Translate,
}

/// A sampling temperature in thousandths, 0 to 1000.
///
/// Negative zero is zero. What is no number, or out of range, is refused before it can make a key.
///
/// ```
/// use wavequill_caching::Temperature;
///
/// assert_eq!(Temperature::new(0.2)?.thousandths(), 200);
/// assert_eq!(Temperature::new(-0.0)?, Temperature::ZERO);
/// assert!(Temperature::new(f32::NAN).is_err());
/// # Ok::<(), wavequill_kernel::InvalidValue>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Temperature(u32);

impl Temperature {
    /// Always the likeliest word.
    pub const ZERO: Self = Self(0);

    /// Rounds to thousandths.
    ///
    /// # Errors
    /// [`InvalidValue`] if it is not a number from 0 to 1.
    pub fn new(temperature: f32) -> Result<Self, InvalidValue> {
        if !(0.0..=1.0).contains(&temperature) {
            return Err(InvalidValue::new("temperature", temperature, "0 to 1"));
        }
        Ok(Self((f64::from(temperature) * 1000.0).round() as u32))
    }

    /// The temperature times 1000.
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

/// How a recogniser is asked, whatever the audio. One serves all chunks of a run.
///
/// Absent and empty are different: no prompt is not the empty prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSpec {
    /// Who answers, such as `openai`, or the root URL of a server of one's own: two that may answer differently
    /// must not share a name.
    pub provider: String,
    /// The model's name, as the provider knows it.
    pub model: String,
    /// Which of the models behind that name, if it is known.
    pub model_revision: Option<String>,
    /// Transcribe or translate.
    pub task: Task,
    /// The language of the speech; upper and lower case are the same. `None`: the recogniser detects it.
    pub language: Option<String>,
    /// What the recogniser is told beforehand. Only its hash enters the key.
    pub prompt: Option<String>,
    /// The sampling temperature. `None`: the provider's default.
    pub temperature: Option<Temperature>,
    /// The form of the answer, such as `verbose_json`.
    pub response_format: Option<String>,
    /// The kinds of times asked for, such as `word`; their order means nothing.
    pub granularities: Vec<String>,
    /// Any other option that can change the answer.
    pub options: Metadata,
}

impl RequestSpec {
    /// Asks `model` of `provider` to transcribe, with nothing else said.
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            model_revision: None,
            task: Task::Transcribe,
            language: None,
            prompt: None,
            temperature: None,
            response_format: None,
            granularities: Vec::new(),
            options: Metadata::new(),
        }
    }

    /// Sets which of the models behind the name answers.
    #[must_use]
    pub fn with_model_revision(mut self, revision: impl Into<String>) -> Self {
        self.model_revision = Some(revision.into());
        self
    }

    /// Sets the task.
    #[must_use]
    pub const fn with_task(mut self, task: Task) -> Self {
        self.task = task;
        self
    }

    /// Sets the language.
    #[must_use]
    pub fn with_language(mut self, language: impl Into<String>) -> Self {
        self.language = Some(language.into());
        self
    }

    /// Sets the prompt.
    #[must_use]
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Sets the temperature.
    #[must_use]
    pub const fn with_temperature(mut self, temperature: Temperature) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Sets the form of the answer.
    #[must_use]
    pub fn with_response_format(mut self, format: impl Into<String>) -> Self {
        self.response_format = Some(format.into());
        self
    }

    /// Sets the kinds of times.
    #[must_use]
    pub fn with_granularities<S: Into<String>>(mut self, granularities: impl IntoIterator<Item = S>) -> Self {
        self.granularities = granularities.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the other options.
    #[must_use]
    pub fn with_options(mut self, options: Metadata) -> Self {
        self.options = options;
        self
    }
}

/// One chunk of audio, and how the recogniser is asked about it.
///
/// The content is a hash over the chunk's compressed packets and codec parameters, not over a container's bytes:
/// tags and muxers then do not matter, and an edit of the file leaves the other chunks' keys as they were.
#[derive(Clone, Copy, Debug)]
pub struct ChunkKeySpec<'a> {
    /// The chunk's audio.
    pub content: ContentHash,
    /// How it is asked about.
    pub request: &'a RequestSpec,
}

/// A whole file, how the recogniser is asked about it, and how the file was cut and put together again.
#[derive(Clone, Copy, Debug)]
pub struct TranscriptKeySpec<'a> {
    /// The file's raw bytes.
    pub content: ContentHash,
    /// How it is asked about.
    pub request: &'a RequestSpec,
    /// The fingerprint of the rules by which the file is cut. `None`: it is sent whole.
    pub plan_fingerprint: Option<[u8; 32]>,
    /// The version of what is done to the answers. `None`: nothing.
    pub post_processing: Option<u32>,
}

/// A text whose embedding is asked for.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingsKeySpec<'a> {
    /// The exact text; two Unicode forms of one word are two texts, as they are for the model.
    pub text: &'a str,
    /// Who answers.
    pub provider: &'a str,
    /// The model's name.
    pub model: &'a str,
    /// Which of the models behind that name, if it is known.
    pub model_revision: Option<&'a str>,
    /// How many dimensions are asked for. `None`: the model's own.
    pub dimension: Option<u32>,
}

/// Whether content is bytes or text: equal bytes of another kind are another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// Bytes.
    Bytes,
    /// UTF-8 text.
    Text,
}

/// What a key is made from.
#[derive(Clone, Copy, Debug)]
pub enum KeyMaterial<'a> {
    /// A whole transcript.
    Transcript(&'a TranscriptKeySpec<'a>),
    /// A chunk's answer.
    Chunk(&'a ChunkKeySpec<'a>),
    /// An embedding.
    Embeddings(&'a EmbeddingsKeySpec<'a>),
    /// Anything of the embedder's own.
    Generic {
        /// The family, chosen by the embedder.
        namespace: Namespace,
        /// The content.
        content: ContentHash,
        /// What the content is.
        kind: ContentKind,
        /// All else that the result depends on.
        metadata: &'a Metadata,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temperature_that_is_no_number_or_out_of_range_makes_no_key() {
        for temperature in [f32::NAN, f32::INFINITY, -0.001, 1.001] {
            assert_eq!(Temperature::new(temperature).unwrap_err().expected(), "0 to 1");
        }
        assert_eq!(Temperature::new(0.0005).unwrap().thousandths(), 1);
    }
}
