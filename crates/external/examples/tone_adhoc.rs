use std::io::Read;
use std::time::Duration;
use wavequill_external::testing::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let rate: u32 = a[3].parse().unwrap();
    let pace = match a[2].as_str() {
        "phrases" => Pacing::default(),
        "steady" => Pacing::Steady { gap: Duration::from_millis(60) },
        _ => Pacing::Unbroken,
    };
    let gen_rate: u32 = a[4].parse().unwrap();
    let s = ToneSpeech::new(Duration::from_secs(600)).with_seed(11).with_pacing(pace).with_rate(gen_rate);
    if a[1] == "gen" {
        s.write_wav(std::io::stdout().lock()).unwrap();
    } else {
        let mut b = vec![];
        std::io::stdin().read_to_end(&mut b).unwrap();
        let v: Vec<i16> = b.chunks_exact(2).map(|c| i16::from_le_bytes([c[0], c[1]])).collect();
        let w = recognize(&v, rate).unwrap();
        println!("{}", ToneScore::of(s.truth(), w));
    }
}
