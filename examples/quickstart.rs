//! The shortest useful program: a file in, its text out.
//!
//! ```console
//! $ cargo run --example quickstart -- talk.mp3
//! ```
#![expect(clippy::print_stdout, reason = "it prints the transcript")]

use wavequill::Wavequill;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("name a recording")?;
    let base_url = args.next().unwrap_or_else(|| "http://127.0.0.1:8000/v1".into());
    let wavequill = Wavequill::builder().base_url(base_url).store("wavequill-data").build().await?;
    let transcript = wavequill.transcribe(file).await?.await?;
    println!("{}", transcript.text);
    Ok(())
}
