//! What takes time. Whoever does something long says so with a [`Span`]; whoever wants to know sets a [`Recorder`].
//!
//! ```text
//! let mut span = trace::span_of("compress", &digest);
//! …
//! span.bytes(count);
//!                        the span ends where it is dropped, by whatever way
//! ```
//!
//! Two kinds, because threads and tasks are not the same: a [`Span`] is work of the thread that it is on, so spans of a
//! thread lie in one another; a [`Flight`] is a wait that tasks share threads in, like that for an answer of a registry,
//! and lies beside others.
//!
//! While nobody listens, a span costs the load of one flag: no clock is read, nothing is formatted or kept. This crate
//! knows no file, no format and no name of a phase.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Takes what ended. Called by the thread on which it ended; must not block for long.
pub trait Recorder: Send + Sync {
    /// Something ended just now.
    fn ended(&self, ended: &Ended<'_>);
}

/// Something that took time.
#[derive(Clone, Copy)]
pub struct Ended<'a> {
    /// What was done: `unpack`, `compress`.
    pub phase: &'static str,
    /// To what.
    pub of: Option<&'a dyn Display>,
    /// How many bytes it was about, if that was told.
    pub bytes: Option<u64>,
    /// When it began.
    pub began: Instant,
    /// On what it was.
    pub track: Track,
}

/// What a span lies on, and in the spans of which it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// The thread on which it ended, which is the one on which it began.
    Thread,
    /// A track of its own; the number tells flights apart.
    Flight(u64),
}

static LISTENED_TO: AtomicBool = AtomicBool::new(false);
static RECORDER: OnceLock<Box<dyn Recorder>> = OnceLock::new();
static FLIGHTS: AtomicU64 = AtomicU64::new(0);

/// From now on spans are told to `recorder`, for the rest of the process. Of several recorders the first is told.
pub fn record_to(recorder: Box<dyn Recorder>) {
    let _ = RECORDER.set(recorder);
    LISTENED_TO.store(true, Ordering::Release);
}

/// Whether anyone listens.
#[must_use]
pub fn is_recorded() -> bool {
    LISTENED_TO.load(Ordering::Relaxed)
}

/// Begins a span on this thread.
#[must_use = "a span ends when it is dropped"]
pub fn span(phase: &'static str) -> Span<'static> {
    Span::begin(phase, None)
}

/// Begins a span on this thread, about something; that is only formatted when the span ends, if anyone listens.
#[must_use = "a span ends when it is dropped"]
pub fn span_of<'a>(phase: &'static str, of: &'a dyn Display) -> Span<'a> {
    Span::begin(phase, Some(of))
}

/// Begins a wait that is not bound to a thread.
#[must_use = "a flight ends when it is dropped"]
pub fn flight_of<'a>(phase: &'static str, of: &'a (dyn Display + Sync)) -> Flight<'a> {
    let began = is_recorded().then(|| (Instant::now(), FLIGHTS.fetch_add(1, Ordering::Relaxed)));
    Flight {
        phase,
        of,
        bytes: None,
        began,
    }
}

/// Work of one thread. It cannot leave it.
pub struct Span<'a> {
    phase: &'static str,
    of: Option<&'a dyn Display>,
    bytes: Option<u64>,
    /// `None` when nobody listened at its beginning.
    began: Option<Instant>,
    of_this_thread: PhantomData<*const ()>,
}

impl<'a> Span<'a> {
    fn begin(phase: &'static str, of: Option<&'a dyn Display>) -> Span<'a> {
        Span {
            phase,
            of,
            bytes: None,
            began: is_recorded().then(Instant::now),
            of_this_thread: PhantomData,
        }
    }

    /// It was about so many bytes.
    pub fn bytes(&mut self, bytes: u64) {
        self.bytes = Some(bytes);
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            tell(&Ended {
                phase: self.phase,
                of: self.of,
                bytes: self.bytes,
                began,
                track: Track::Thread,
            });
        }
    }
}

impl std::fmt::Debug for Ended<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ended")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Span<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Span")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

/// A wait that is not bound to a thread.
pub struct Flight<'a> {
    phase: &'static str,
    of: &'a (dyn Display + Sync),
    bytes: Option<u64>,
    /// With its number; `None` when nobody listened at its beginning.
    began: Option<(Instant, u64)>,
}

impl Flight<'_> {
    /// It was about so many bytes.
    pub fn bytes(&mut self, bytes: u64) {
        self.bytes = Some(bytes);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some((began, number)) = self.began {
            tell(&Ended {
                phase: self.phase,
                of: Some(self.of),
                bytes: self.bytes,
                began,
                track: Track::Flight(number),
            });
        }
    }
}

impl std::fmt::Debug for Flight<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flight")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

fn tell(ended: &Ended<'_>) {
    if let Some(recorder) = RECORDER.get() {
        recorder.ended(ended);
    }
}

#[cfg(test)]
mod tests;
