//! Through a proxy.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wavequill_external::{
    ConnectFailure, ExternalError, HttpProxy, HttpSpeechApi, HyperSpeechApiConfig, PlainHttp, SpeechApi,
    SpeechApiConfig,
};

use crate::{HELLO, request};

/// A proxy that answers each CONNECT with this, and then serves as the API itself; gives the heads that it read.
async fn proxy(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tcp.read_u8().await.unwrap());
            }
            seen.lock().push(String::from_utf8(head).unwrap());
            tcp.write_all(answer.as_bytes()).await.unwrap();
            let mut block = vec![0; 65_536];
            let mut read = Vec::new();
            // The form's last boundary ends the request.
            while !read.ends_with(b"--\r\n") {
                let Ok(more @ 1..) = tcp.read(&mut block).await else { break };
                read.extend_from_slice(block.get(..more).unwrap());
            }
            let length = HELLO.len();
            let reply = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{HELLO}"
            );
            tcp.write_all(reply.as_bytes()).await.ok();
        }
    });
    (url, heads, tasks)
}

fn through(proxy: &str) -> HttpSpeechApi {
    let url = "http://speech.invalid/v1";
    let mut api = SpeechApiConfig::new(url.parse().unwrap());
    api.plain_http = PlainHttp::Anywhere;
    let mut config = HyperSpeechApiConfig::new(url.parse().unwrap()).with_api(api);
    let proxy = HttpProxy::new(proxy.parse().unwrap()).with_credentials("me", "secret".to_owned().into());
    config.hyper.proxy = Some(proxy);
    HttpSpeechApi::over_hyper(config).unwrap()
}

#[tokio::test]
async fn a_tunnel_is_opened_by_name_and_with_the_credentials() {
    let (url, heads, _tasks) = proxy("HTTP/1.1 200 Connection established\r\n\r\n").await;
    assert_eq!(through(&url).transcribe(request(1000)).await.unwrap().text, "Hello.");
    let head = heads.lock().pop().unwrap();
    assert!(head.starts_with("CONNECT speech.invalid:80 HTTP/1.1\r\nHost: speech.invalid:80\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"), "{head}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_and_nothing_was_sent() {
    for answer in [
        "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\n\r\n",
        "220 mail.example\r\n\r\n",
    ] {
        let (url, _heads, _tasks) = proxy(answer).await;
        let error = through(&url).transcribe(request(1000)).await.unwrap_err();
        assert!(
            matches!(&error, ExternalError::Connect { failure: ConnectFailure::Proxy, .. }),
            "{answer}: {error:?}"
        );
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
