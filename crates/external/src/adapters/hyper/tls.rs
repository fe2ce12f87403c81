//! TLS by rustls: which roots are trusted, what is offered, and what a failure means.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wavequill_kernel::InvalidValue;

use super::{Http2Use, HyperConfig, TrustedRoots};
use crate::error::{ConnectFailure, ExternalError, Phase};
use crate::metrics::TransportMetrics;
use crate::model::http::Processed;
use crate::model::origin::Origin;

pub(super) fn connector(config: &HyperConfig) -> Result<TlsConnector, InvalidValue> {
    let mut roots = RootCertStore::empty();
    let (mozilla, pem) = match &config.roots {
        TrustedRoots::Mozilla => (true, None),
        TrustedRoots::Pem(pem) => (false, Some(pem)),
        TrustedRoots::MozillaAndPem(pem) => (true, Some(pem)),
    };
    if mozilla {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(pem) = pem {
        let refuse = |why: String| InvalidValue::new("roots", why, "certificates in PEM form");
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| refuse(format!("unreadable ({error})")))?;
            roots.add(certificate).map_err(|error| refuse(format!("unusable ({error})")))?;
        }
        if roots.len() == before {
            return Err(refuse("without any certificate".into()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| InvalidValue::new("tls", error, "what the crypto provider supports"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = match config.http2 {
        Http2Use::Negotiated => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Http2Use::PriorKnowledge => vec![b"h2".to_vec()],
        Http2Use::Never => vec![b"http/1.1".to_vec()],
    };
    Ok(TlsConnector::from(Arc::new(tls)))
}

/// Agrees on TLS; the flag says whether the peer chose HTTP/2.
pub(super) async fn wrap(
    connector: &TlsConnector,
    tcp: TcpStream,
    origin: &Origin,
    config: &HyperConfig,
    metrics: &TransportMetrics,
) -> Result<(TlsStream<TcpStream>, bool), ExternalError> {
    let host = origin.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host)
        .map_err(|error| failed(origin, ConnectFailure::UnknownHost, io::Error::other(error)))?;
    let begun = Instant::now();
    let stream = timeout(config.tls, connector.connect(name, tcp))
        .await
        .map_err(|_| ExternalError::Timeout {
            phase: Phase::Tls,
            after: config.tls,
            processed: Processed::No,
        })?
        .map_err(|error| failed(origin, failure(&error), error))?;
    metrics.phase(Phase::Tls, begun.elapsed());
    let http2 = match config.http2 {
        Http2Use::PriorKnowledge => true,
        Http2Use::Never => false,
        Http2Use::Negotiated => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
    };
    Ok((stream, http2))
}

fn failure(error: &io::Error) -> ConnectFailure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => ConnectFailure::Certificate,
        Some(_) => ConnectFailure::Tls,
        None => ConnectFailure::Other,
    }
}

fn failed(origin: &Origin, failure: ConnectFailure, error: io::Error) -> ExternalError {
    ExternalError::Connect { origin: origin.clone(), failure, source: Arc::new(error) }
}
