//! EXPOSE: ports, ranges of ports, protocols.
//!
//! `ip:host:container` is read for the sake of old files; only the container's port counts.

use oci::Empty;

use super::history::Layer;
use super::{Scope, refuse_word};
use crate::Diagnostic;
use crate::lint::{self, Spot};
use crate::quote::{list, quote};

/// How much history a stage may have of its ports: every one of them is named in every EXPOSE.
const LONGEST: usize = 16 << 20;

impl Scope<'_, '_> {
    pub(super) fn expose(&mut self, written: &[String]) -> Result<(), Diagnostic> {
        let mut exposed = Vec::new();
        for text in written {
            let expander = self.converter.globals.expander.clone();
            // A variable may hold several ports.
            let words = expander
                .expand(text, &self.state.environment)
                .map_err(refuse_word)?
                .words;
            for word in &words {
                exposed.extend(ports(word, &self.spot).map_err(Diagnostic::new)?);
            }
        }
        let text = format!("EXPOSE {}", list(&exposed));
        self.state.exposed += text.len();
        if self.state.exposed > LONGEST {
            return Err(Diagnostic::new(
                "the ports exposed in this stage fill more than 16 MiB of history",
            ));
        }
        for port in &exposed {
            self.state.config.config.exposed_ports.insert(port.clone(), Empty {});
        }
        self.remember(text, Layer::None);
        Ok(())
    }
}

/// `port/protocol` for each port that `text` means.
fn ports(text: &str, spot: &Spot) -> Result<Vec<String>, String> {
    let (front, container) = match text.rsplit_once(':') {
        Some((front, container)) => (Some(front), container),
        None => (None, text),
    };
    let (address, host) = match front.map(|front| front.rsplit_once(':').unwrap_or(("", front))) {
        Some((address, host)) => (address, host),
        None => ("", ""),
    };
    let (range_text, protocol) = container.split_once('/').unwrap_or((container, ""));
    let invalid = |why: String| format!("invalid port: {}: {why}", quote(text));
    if range_text.is_empty() {
        return Err(invalid("no port specified".to_owned()));
    }
    let written = protocol;
    let protocol = match protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => return Err(invalid(format!("invalid proto: {protocol}"))),
    };
    let is_mapped = !address.is_empty() || !host.is_empty();
    lint::stage::port(text, written, is_mapped, spot);
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if !bare.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    let (first, last) = range(range_text).ok_or_else(|| format!("invalid containerPort: {range_text}"))?;
    if !host.is_empty() {
        let (host_first, host_last) = range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
        if last - first != host_last - host_first && first != last {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {range_text} and {host}"
            ));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// `first-last` or one port.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_does() {
        for (text, meant) in [
            ("80", vec!["80/tcp"]),
            ("53/UDP", vec!["53/udp"]),
            ("100-102/sctp", vec!["100/sctp", "101/sctp", "102/sctp"]),
            ("127.0.0.1:8080:80", vec!["80/tcp"]),
            ("[::1]:8080:80/tcp", vec!["80/tcp"]),
            ("8080:80", vec!["80/tcp"]),
        ] {
            assert_eq!(ports(text, &Spot::nowhere()).unwrap(), meant, "{text}");
        }
        for (text, message) in [
            ("abc", "invalid containerPort: abc"),
            ("70000", "invalid containerPort: 70000"),
            ("9-8", "invalid containerPort: 9-8"),
            ("80/icmp", "invalid port: \"80/icmp\": invalid proto: icmp"),
            ("/tcp", "invalid port: \"/tcp\": no port specified"),
            ("1.2.3:1:1", "invalid IP address: 1.2.3"),
        ] {
            assert_eq!(ports(text, &Spot::nowhere()).unwrap_err(), message);
        }
    }
}
