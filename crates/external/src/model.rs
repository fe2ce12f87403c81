//! The values of the context: what is asked, what is answered, and what is known of models, quotas and connections.

pub(crate) mod audio;
pub(crate) mod capabilities;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod language;
pub(crate) mod origin;
pub(crate) mod pool;
pub(crate) mod quota;
pub(crate) mod request;
pub(crate) mod response;

pub use self::audio::{AudioFormat, SpeechAudio};
pub use self::capabilities::{
    AnswerFormat, CapabilityTable, LanguageHints, ModelCapabilities, ModelId, Support,
};
pub use self::events::{SpeechEvent, SpeechEventSource, SpeechEvents, StreamedPart};
pub use self::http::{HttpRequest, HttpResponse, Processed};
pub use self::language::LanguageCode;
pub use self::origin::{BaseUrl, Origin, PlainHttp};
pub use self::pool::{OriginStats, PoolStats};
pub use self::quota::{
    Cost, Dimension, DimensionView, Lane, Observation, QuotaScope, QuotaView, RateLimit, ResetMeaning,
    SeenLimit, SeenLimits, SeenOutcome, StopCause, ThrottleCause,
};
pub use self::request::{Delivery, Speakers, SpeechRequest, Timestamps, TimingNeed};
pub use self::response::{SpeechResponse, TimedSegment, TimedWord, Timing, Usage};
