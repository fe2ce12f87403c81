//! From a host's name to a TCP connection: resolve, check, dial.
//!
//! Addresses of both families are tried in turn, a quarter of a second apart (RFC 8305, *Happy Eyeballs*); the first
//! that answers is taken. What was checked is what is dialled.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use super::{AddressPolicy, HyperConfig};
use crate::error::{ConnectFailure, ExternalError, Phase};
use crate::metrics::TransportMetrics;
use crate::model::http::Processed;
use crate::model::origin::Origin;

/// RFC 8305 §8: the recommended "Connection Attempt Delay".
const STAGGER: Duration = Duration::from_millis(250);

pub(super) async fn dial(
    origin: &Origin,
    config: &HyperConfig,
    metrics: &TransportMetrics,
) -> Result<TcpStream, ExternalError> {
    let addresses = resolve(origin, config, metrics).await?;
    let begun = Instant::now();
    let tcp = timeout(config.connect, race(&addresses))
        .await
        .map_err(|_| timed_out(Phase::Connect, config.connect))?
        .map_err(|error| {
            let failure = match error.kind() {
                io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
                _ => ConnectFailure::Other,
            };
            failed(origin, failure, error)
        })?;
    metrics.phase(Phase::Connect, begun.elapsed());
    // Small frames must not wait for the acknowledgement of earlier ones; a socket that refuses this still works.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(target: "wavequill::external", %error, "TCP_NODELAY could not be set");
    }
    Ok(tcp)
}

async fn resolve(
    origin: &Origin,
    config: &HyperConfig,
    metrics: &TransportMetrics,
) -> Result<Vec<SocketAddr>, ExternalError> {
    if let Some(ip) = origin.ip() {
        return Ok(vec![SocketAddr::new(ip, origin.port())]);
    }
    let begun = Instant::now();
    let found = timeout(config.dns, lookup_host((origin.host(), origin.port())))
        .await
        .map_err(|_| timed_out(Phase::Dns, config.dns))?
        .map_err(|error| failed(origin, ConnectFailure::UnknownHost, error))?
        .collect::<Vec<_>>();
    metrics.phase(Phase::Dns, begun.elapsed());
    if found.is_empty() {
        let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        return Err(failed(origin, ConnectFailure::UnknownHost, error));
    }
    if config.addresses == AddressPolicy::Any || origin.is_loopback() {
        return Ok(interleaved(&found));
    }
    let public: Vec<_> = found.into_iter().filter(|address| is_public(address.ip())).collect();
    if public.is_empty() {
        let error = io::Error::new(io::ErrorKind::PermissionDenied, "the name has private addresses only");
        return Err(failed(origin, ConnectFailure::ForbiddenAddress, error));
    }
    Ok(interleaved(&public))
}

/// IPv6 first, then the families in turn.
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(SocketAddr::is_ipv6);
    let mut mixed = Vec::with_capacity(addresses.len());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        let (six, four) = (v6.next(), v4.next());
        if six.is_none() && four.is_none() {
            return mixed;
        }
        mixed.extend(six);
        mixed.extend(four);
    }
}

async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut dialling = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let more = if let Some(address) = waiting.next() {
            dialling.push(TcpStream::connect(*address));
            true
        } else {
            false
        };
        tokio::select! {
            Some(dialled) = dialling.next() => match dialled {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = error,
            },
            () = sleep(STAGGER), if more => {}
            else => return Err(last),
        }
    }
}

/// Whether an address is reachable from anywhere: neither this machine, nor its network, nor reserved.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public_v4(ip),
            None => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || shared
        || benchmark)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let documentation = first == 0x2001 && second == 0xdb8;
    !(ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || documentation)
}

fn timed_out(phase: Phase, after: Duration) -> ExternalError {
    ExternalError::Timeout { phase, after, processed: Processed::No }
}

fn failed(origin: &Origin, failure: ConnectFailure, error: io::Error) -> ExternalError {
    ExternalError::Connect { origin: origin.clone(), failure, source: Arc::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known_in_both_families() {
        for ip in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "240.0.0.1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn families_are_tried_in_turn() {
        let addresses = ["1.1.1.1:1", "2.2.2.2:1", "[2606::1]:1"].map(|address| address.parse().unwrap());
        let mixed = interleaved(&addresses);
        assert_eq!(mixed.iter().map(SocketAddr::is_ipv6).collect::<Vec<_>>(), [true, false, false]);
    }

    #[tokio::test]
    async fn where_nobody_listens_the_connection_is_refused_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let origin: Origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let error = dial(&origin, &HyperConfig::default(), &TransportMetrics::register()).await.unwrap_err();
        assert!(
            matches!(error, ExternalError::Connect { failure: ConnectFailure::Refused, .. }),
            "{error:?}"
        );
    }
}
