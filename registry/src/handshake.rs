//! Why a server closes a connection of TLS 1.3 before it answers anything.
//!
//! A client certificate is judged after the client's side of the handshake is over. The alert that says what is wrong with
//! it (or that there is none) then comes beside the first request, and the HTTP library often sees no more than the end.
//! So the handshake is done once more, without a request, and what comes after it is read.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, StreamOwned};

/// A server that has something against us says so at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// The alert that the server of `url` sends to a client of that configuration, if it sends one. Blocks, and asks no proxy.
pub(crate) fn alert(url: &Url, config: ClientConfig) -> Option<AlertDescription> {
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    let address = (host, url.port_or_known_default()?).to_socket_addrs().ok()?.next()?;
    let socket = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut stream = StreamOwned::new(connection, socket);
    // The first read does the handshake.
    alert_in(&stream.read(&mut [0]).err()?)
}

fn alert_in(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}
