//! Single events as JSON.
//!
//! Put together by hand: with `write!` and its nested arguments an event costs three times as much, which a build with
//! nothing to do would notice.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trace::{Ended, Track};

use super::file::Out;

/// The process whose tracks are threads.
const THREADS: u64 = 1;
/// The process whose tracks are lanes of steps.
const STEPS: u64 = 2;

/// The thread that runs this.
pub(super) struct Thread {
    number: u64,
    /// Whether nothing was recorded of it before.
    is_new: bool,
}

/// The number by which this thread is known in the trace.
pub(super) fn thread() -> Thread {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    let known = NUMBER.get();
    if known == 0 {
        NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    Thread {
        number: NUMBER.get(),
        is_new: known == 0,
    }
}

/// The names of the two processes, and of what is not a lane among the lanes.
pub(super) fn begin(out: &mut Out) {
    name(out, ("process_name", THREADS, 0), "rbuild");
    name(out, ("process_name", STEPS, 0), "steps");
    name(out, ("thread_name", STEPS, 0), "found in the cache");
    // The steps are what a reader knows, and looks for first.
    for (process, place) in [(THREADS, 1), (STEPS, 0)] {
        out.event("M", (process, 0), None);
        out.text(r#","name":"process_sort_index","args":{"sort_index":"#);
        out.number(place);
        out.text("}}");
    }
}

fn name(out: &mut Out, (kind, process, track): (&str, u64, u64), name: &str) {
    out.event("M", (process, track), None);
    out.text(r#","name":""#);
    out.text(kind);
    out.text(r#"","args":{"name":"#);
    out.string(name);
    out.text("}}");
}

/// What a library did, `from` then on `to` then.
pub(super) fn span(out: &mut Out, thread: &Thread, ended: &Ended<'_>, (from, to): (Duration, Duration)) {
    let place = (THREADS, thread.number);
    if thread.is_new {
        let current = std::thread::current();
        name(
            out,
            ("thread_name", THREADS, thread.number),
            current.name().unwrap_or("worker"),
        );
    }
    match ended.track {
        Track::Thread => {
            out.event("X", place, Some(from));
            out.text(r#","dur":"#);
            out.microseconds(to.saturating_sub(from));
            phase(out, ended);
        }
        Track::Flight(flight) => {
            for (half, at) in [("b", from), ("e", to)] {
                out.event(half, place, Some(at));
                out.text(r#","id":"#);
                out.number(flight);
                out.text(r#","cat":""#);
                out.text(ended.phase);
                out.text("\"");
                phase(out, ended);
            }
        }
    }
}

/// The rest of an event of a library.
fn phase(out: &mut Out, ended: &Ended<'_>) {
    out.text(r#","name":""#);
    out.text(ended.phase);
    out.text(r#"","args":{"#);
    if let Some(of) = ended.of {
        out.text(r#""of":"#);
        out.string(&of.to_string());
    }
    if let Some(bytes) = ended.bytes {
        out.text(match ended.of {
            Some(_) => r#","bytes":"#,
            None => r#""bytes":"#,
        });
        out.number(bytes);
    }
    out.text("}}");
}

/// A step that ended.
pub(super) struct StepSpan<'a> {
    pub(super) number: u64,
    pub(super) name: &'a str,
    pub(super) lane: u64,
    pub(super) outcome: &'static str,
    pub(super) time: (Duration, Duration),
}

pub(super) fn step(out: &mut Out, step: &StepSpan<'_>) {
    out.event("X", (STEPS, step.lane), Some(step.time.0));
    out.text(r#","dur":"#);
    out.microseconds(step.time.1.saturating_sub(step.time.0));
    out.text(r#","name":"#);
    out.string(step.name);
    out.text(r#","args":{"step":"#);
    out.number(step.number);
    out.text(r#","outcome":""#);
    out.text(step.outcome);
    out.text(r#""}}"#);
}

/// The name of a lane of steps; the first is 1.
pub(super) fn lane(out: &mut Out, lane: u64) {
    name(out, ("thread_name", STEPS, lane), &format!("lane {lane}"));
}

/// A step that was found done.
pub(super) fn cached(out: &mut Out, number: u64, step: &str, at: Duration) {
    out.event("i", (STEPS, 0), Some(at));
    out.text(r#","s":"t","cat":"cached","name":"#);
    out.string(step);
    out.text(r#","args":{"step":"#);
    out.number(number);
    out.text("}}");
}

/// What was said about a step under way.
pub(super) fn note(out: &mut Out, lane: u64, text: &str, at: Duration) {
    out.event("i", (STEPS, lane), Some(at));
    out.text(r#","s":"t","cat":"note","name":"#);
    out.string(text);
    out.text("}");
}

/// So many bytes have moved from or to elsewhere.
pub(super) fn moved(out: &mut Out, bytes: u64, at: Duration) {
    out.event("C", (STEPS, 0), Some(at));
    out.text(r#","name":"bytes moved","args":{"bytes":"#);
    out.number(bytes);
    out.text("}}");
}
