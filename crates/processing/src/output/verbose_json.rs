//! OpenAI's `verbose_json`, field by field, and what has no place in it.

use super::json::Writer;
use super::millis;
use crate::{Gap, Segment, Transcript, Word};

pub(super) fn render(transcript: &Transcript) -> String {
    let mut out = Writer::default();
    out.object(|out| {
        out.key("task");
        out.string("transcribe");
        out.key("language");
        out.string(transcript.language.as_deref().unwrap_or("unknown"));
        out.key("duration");
        out.seconds(millis(transcript, transcript.span.end()));
        out.key("text");
        out.string(&transcript.text);
        out.key("segments");
        out.list((0..).zip(&transcript.segments), |out, (id, segment)| {
            put_segment(out, transcript, id, segment);
        });
        out.key("words");
        out.list(&transcript.words, |out, word| put_word(out, transcript, word));
        out.key("usage");
        out.object(|out| {
            out.key("type");
            out.string("duration");
            out.key("seconds");
            // Whole seconds, as they are billed.
            out.whole(millis(transcript, transcript.span.end()).div_ceil(1_000));
        });
        out.key("wavequill");
        out.object(|out| {
            out.key("gaps");
            out.list(&transcript.gaps, |out, gap| put_gap(out, transcript, gap));
            out.key("estimated");
            out.truth(transcript.is_estimated());
        });
    });
    out.finish()
}

fn put_segment(out: &mut Writer, transcript: &Transcript, id: u64, segment: &Segment) {
    let (start, end) = (millis(transcript, segment.span.start()), millis(transcript, segment.span.end()));
    out.object(|out| {
        out.key("id");
        out.whole(id);
        out.key("seek");
        out.whole(start / 10);
        out.key("start");
        out.seconds(start);
        out.key("end");
        out.seconds(end);
        out.key("text");
        out.string(&segment.text);
        out.key("tokens");
        out.list(&segment.stats.tokens, |out, token| out.whole(u64::from(*token)));
        out.key("temperature");
        out.real(segment.stats.temperature);
        out.key("avg_logprob");
        out.real(segment.stats.avg_logprob);
        out.key("compression_ratio");
        out.real(segment.stats.compression_ratio);
        out.key("no_speech_prob");
        out.real(segment.stats.no_speech_prob);
    });
}

fn put_word(out: &mut Writer, transcript: &Transcript, word: &Word) {
    out.object(|out| {
        out.key("word");
        out.string(word.text());
        out.key("start");
        out.seconds(millis(transcript, word.span.start()));
        out.key("end");
        out.seconds(millis(transcript, word.span.end()));
    });
}

fn put_gap(out: &mut Writer, transcript: &Transcript, gap: &Gap) {
    out.object(|out| {
        out.key("start");
        out.seconds(millis(transcript, gap.span.start()));
        out.key("end");
        out.seconds(millis(transcript, gap.span.end()));
        out.key("cause");
        out.string(gap.cause.name());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::transcript_of;
    use crate::{GapCause, SampleIndex, SampleSpan};

    #[test]
    fn it_has_openais_fields_in_openais_order() {
        let mut transcript = transcript_of(&[("Hello,", 0, 500), (" world.", 600, 1_000)]);
        transcript.gaps.push(Gap {
            span: SampleSpan::new(SampleIndex::new(32_000), SampleIndex::new(48_000)),
            cause: GapCause::CutOff,
        });
        transcript.segments[0].stats.tokens = vec![50_364, 2_425];
        transcript.segments[0].stats.avg_logprob = -0.25;
        let json = render(&transcript);
        assert_eq!(
            json,
            concat!(
                r#"{"task":"transcribe","language":"en","duration":10.0,"text":"Hello, world.","#,
                r#""segments":[{"id":0,"seek":0,"start":0.0,"end":1.0,"text":"Hello, world.","#,
                r#""tokens":[50364,2425],"temperature":0.0,"avg_logprob":-0.25,"compression_ratio":0.0,"#,
                r#""no_speech_prob":0.0}],"#,
                r#""words":[{"word":"Hello,","start":0.0,"end":0.5},{"word":"world.","start":0.6,"end":1.0}],"#,
                r#""usage":{"type":"duration","seconds":10},"#,
                r#""wavequill":{"gaps":[{"start":2.0,"end":3.0,"cause":"cut_off"}],"estimated":false}}"#
            )
        );
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }

    #[test]
    fn nothing_heard_is_an_empty_text_and_empty_lists() {
        let json: serde_json::Value = serde_json::from_str(&render(&transcript_of(&[]))).unwrap();
        assert_eq!(json["text"], "");
        assert!(json["segments"].as_array().unwrap().is_empty());
        assert!(json["words"].as_array().unwrap().is_empty());
    }
}
