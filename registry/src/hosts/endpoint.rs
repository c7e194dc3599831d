//! One endpoint: an address with all that is known of how to speak to it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{HeaderName, HeaderValue};

use super::{Address, Purposes, Scheme};
use crate::trust::Trust;

/// Where requests for a repository can go.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Whose credentials are sent: `docker.io` for Docker Hub, `host` or `host:port` of the address for all others.
    pub(crate) host: String,
    /// `host` or `host:port` of the address.
    pub(crate) authority: String,
    pub(crate) wire: Wire,
    /// What comes before the repository in a URL, without a slash at the end.
    pub(crate) base: String,
    pub(crate) trust: Trust,
    /// Sent with each request.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Of a mirror: the host that it stands for.
    pub(crate) namespace: Option<String>,
    pub(crate) purposes: Purposes,
    pub(crate) tags_only: bool,
    /// Whether others are tried after it, so that trying it again and again is not worth the wait.
    pub(crate) has_next: bool,
    /// Who says that it is there, for people.
    pub(crate) place: String,
    pub(crate) standing: std::sync::Arc<Standing>,
}

/// What is spoken, as far as it is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// This and nothing else.
    Only(Scheme),
    /// This; the other one if the answer is that of somebody who speaks it.
    First(Scheme),
}

/// What was found out of an address by asking it.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    settled: OnceLock<Scheme>,
    has_answered: AtomicBool,
    is_down: AtomicBool,
}

impl Wire {
    /// An address says it, or else: an insecure host is asked for TLS first; this machine speaks plain HTTP, unless there
    /// are certificates for it.
    pub(super) fn of(address: &Address, trust: &Trust, is_insecure: bool) -> Wire {
        let has_certificates = !trust.authorities.is_empty() || trust.identity.is_some();
        match address.scheme {
            Some(scheme) => Wire::Only(scheme),
            None if has_certificates && !is_insecure => Wire::Only(Scheme::Tls),
            None if address.is_loopback() => Wire::First(Scheme::Plain),
            None if is_insecure => Wire::First(Scheme::Tls),
            None => Wire::Only(Scheme::Tls),
        }
    }
}

impl Endpoint {
    /// What is spoken, as far as it is known by now.
    pub(crate) fn scheme(&self) -> Scheme {
        match self.wire {
            Wire::Only(scheme) => scheme,
            Wire::First(scheme) => self.standing.settled.get().copied().unwrap_or(scheme),
        }
    }

    /// The scheme to try when the first one was not understood.
    pub(crate) fn other_scheme(&self) -> Option<Scheme> {
        match self.wire {
            Wire::First(first) if self.standing.settled.get().is_none() => Some(match first {
                Scheme::Plain => Scheme::Tls,
                Scheme::Tls => Scheme::Plain,
            }),
            _ => None,
        }
    }

    /// Remembers what is spoken.
    pub(crate) fn settle(&self, scheme: Scheme) {
        if matches!(self.wire, Wire::First(_)) {
            let _ = self.standing.settled.set(scheme);
        }
    }

    /// Remembers that somebody is there.
    pub(crate) fn heard(&self) {
        self.standing.has_answered.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.standing.has_answered.load(Ordering::Relaxed)
    }

    /// Remembers that nobody is there, for the time of this process.
    pub(crate) fn give_up(&self) {
        self.standing.is_down.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_down(&self) -> bool {
        self.standing.is_down.load(Ordering::Relaxed)
    }
}
