//! Sends one file to an OpenAI-compatible server and prints its words with their times.
//!
//! `cargo run -p wavequill-external --example one_file -- <h1|h2> <base url> <model> <file> <seconds>`
#![expect(clippy::print_stdout, reason = "a command line speaks to its terminal")]

use std::time::Duration;

use wavequill_external::{
    AudioFormat, FileRange, Http2Use, HttpSpeechApi, HyperConfig, HyperSpeechApiConfig, ModelId, SpeechApi,
    SpeechAudio, SpeechRequest,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [http, url, model, file, seconds] = arguments.as_slice() else {
        return Err("give: h1 or h2, base URL, model, file, its seconds".into());
    };
    let http2 = if http == "h2" { Http2Use::PriorKnowledge } else { Http2Use::Never };
    let config = HyperSpeechApiConfig::new(url.parse()?).with_hyper(HyperConfig::default().with_http2(http2));
    let api = HttpSpeechApi::over_hyper(config)?;
    let body = FileRange::new(file, 0..std::fs::metadata(file)?.len());
    let extension = std::path::Path::new(file).extension().and_then(|extension| extension.to_str());
    let format =
        extension.and_then(AudioFormat::from_extension).ok_or("the file's name says no known format")?;
    let audio =
        SpeechAudio::new(std::sync::Arc::new(body), format, Duration::from_secs_f64(seconds.parse()?));
    let answer = api.transcribe(SpeechRequest::new(audio, ModelId::new(model.as_str())?)).await?;
    println!("{}", answer.text);
    for word in answer.timing.words() {
        println!("{:8.2} {:8.2} {}", word.start.as_secs_f64(), word.end.as_secs_f64(), word.text);
    }
    Ok(())
}
