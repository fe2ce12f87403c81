//! Encrypted connections: what is trusted, and which version of HTTP comes of it.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;
use wavequill_external::{
    ConnectFailure, ExternalError, Http2Use, HttpSpeechApi, Processed, SpeechApi, TrustedRoots,
};
use wavequill_kernel::{ErrorClass, Retryable};

use crate::server::Server;
use crate::{config, request};

/// A server that speaks these protocols as `name`, and its certificate in PEM form.
async fn server(name: &str, protocols: &[&str]) -> (Server, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    (Server::tls(TlsAcceptor::from(Arc::new(tls))).await, made.cert.pem())
}

fn api(server: &Server, roots: TrustedRoots, http2: Http2Use) -> HttpSpeechApi {
    let mut config = config(&server.url);
    config.hyper.roots = roots;
    config.hyper.http2 = http2;
    HttpSpeechApi::over_hyper(config).unwrap()
}

#[tokio::test]
async fn the_server_chooses_the_version_of_http() {
    for (offered, http2, spoken) in [
        (vec!["h2", "http/1.1"], Http2Use::Negotiated, "HTTP/2"),
        (vec!["http/1.1"], Http2Use::Negotiated, "HTTP/1.1"),
        (vec![], Http2Use::Negotiated, "HTTP/1.1"),
        (vec!["h2", "http/1.1"], Http2Use::Never, "HTTP/1.1"),
    ] {
        let (server, pem) = server("localhost", &offered).await;
        let api = api(&server, TrustedRoots::Pem(pem), http2);
        let all = futures_util::future::join_all((0..4).map(|_| api.transcribe(request(1000)))).await;
        assert!(all.iter().all(Result::is_ok), "{offered:?}: {all:?}");
        // How many connections it took depends on how fast each answer came.
        let seen = server.seen.lock();
        let versions: Vec<_> = seen.iter().map(|seen| seen.version).collect();
        assert_eq!(versions, [spoken; 4], "{offered:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_of_another_host_is_refused_for_good() {
    let (stranger, _) = server("localhost", &["http/1.1"]).await;
    let (other_host, pem) = server("example.org", &["http/1.1"]).await;
    for (server, roots) in [(&stranger, TrustedRoots::Mozilla), (&other_host, TrustedRoots::Pem(pem))] {
        let error = api(server, roots, Http2Use::Negotiated).transcribe(request(1000)).await.unwrap_err();
        assert!(
            matches!(error, ExternalError::Connect { failure: ConnectFailure::Certificate, .. }),
            "{error:?}"
        );
        assert_eq!((error.class(), error.processed()), (ErrorClass::Permanent, Processed::No));
        assert_eq!(server.requests(), 0, "nothing was sent");
    }
}

#[tokio::test]
async fn roots_that_are_no_certificates_are_refused_at_once() {
    for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let mut config = config("https://localhost/v1");
        config.hyper.roots = TrustedRoots::Pem(pem.into());
        let refused = HttpSpeechApi::over_hyper(config).unwrap_err();
        assert!(matches!(refused, ExternalError::InvalidConfig { .. }), "{refused:?}");
    }
}
