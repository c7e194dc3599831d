//! The files by which a process finds others: `/etc/hosts` and `/etc/resolv.conf`. Pure text.

use std::fmt::Write;
use std::net::IpAddr;

use crate::Network;

const PUBLIC_RESOLVERS: &str =
    "nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n";

/// `/etc/hosts` for a machine named `hostname` that is told of `others`, name and address.
pub(crate) fn hosts(hostname: &str, others: &[(String, String)]) -> String {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in others {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// `/etc/resolv.conf`: the host's own where the process shares its network. Elsewhere a server on the host's loopback
/// cannot be reached, so those are left out, and public ones stand in when none is left.
pub(crate) fn resolver(host: &str, network: Network) -> String {
    if network == Network::Host && !host.trim().is_empty() {
        return host.to_owned();
    }
    let reachable = host
        .lines()
        .filter(|line| nameserver(line).is_none_or(|address| !address.is_loopback()));
    let mut text: String = reachable.flat_map(|line| [line, "\n"]).collect();
    if !text.lines().any(|line| nameserver(line).is_some()) {
        text.push_str(PUBLIC_RESOLVERS);
    }
    text
}

fn nameserver(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    (words.next()? == "nameserver").then(|| words.next()?.split('%').next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_machine_and_then_the_others() {
        let others = [("db".to_owned(), "10.0.0.2".to_owned())];
        assert_eq!(
            hosts("here", &others),
            "127.0.0.1\tlocalhost here\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.2\tdb\n"
        );
    }

    #[test]
    fn resolvers_are_those_that_can_be_reached() {
        let stub = "# systemd\nnameserver 127.0.0.53\nsearch lan\n";
        let mixed = "nameserver ::1\nnameserver 10.0.0.1\n";
        let cases = [
            (stub, Network::Host, stub.to_owned()),
            ("", Network::Host, PUBLIC_RESOLVERS.to_owned()),
            (
                stub,
                Network::None,
                format!("# systemd\nsearch lan\n{PUBLIC_RESOLVERS}"),
            ),
            (mixed, Network::None, "nameserver 10.0.0.1\n".to_owned()),
        ];
        for (host, network, expected) in cases {
            assert_eq!(resolver(host, network), expected, "{host:?} {network:?}");
        }
    }
}
