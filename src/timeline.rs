//! `--trace FILE`: where the time went, as a file that <https://ui.perfetto.dev> and `chrome://tracing` open.
//!
//! Chrome's trace format in its array form, one event a line:
//!
//! ```text
//! [
//! {"ph":"X","pid":1,"tid":3,"ts":812.400,"dur":95.120,"name":"unpack","args":{"of":"sha256:…","bytes":2156}},
//! {"ph":"X","pid":2,"tid":1,"ts":640.002,"dur":410.077,"name":"[2/3] RUN make","args":{"step":4,"outcome":"done"}},
//! {"ph":"i","pid":2,"tid":0,"ts":655.001,"name":"[1/3] FROM busybox","cat":"cached","s":"t"}
//! ]
//! ```
//!
//! Process 1 has the spans of the libraries ([`trace::Span`]) by thread, and their flights beside them; process 2 the steps
//! as the progress shows them, in as few lanes as there were steps at the same time, what was found in the cache, and
//! how many bytes moved. Times are microseconds since the start of the program's work.
//!
//! An event is written when it ends, through a buffer that is written out as a whole: the file ends with a whole event at
//! any time, and readers do not miss the bracket that a killed program could not write. What is kept in memory is the
//! buffer and the steps under way. Not here: what a phase is called, and where it begins (the libraries know).

mod events;
mod file;
mod steps;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use solver::{Event, Sink};
use trace::{Ended, Recorder};

use crate::error::CommandError;
use crate::ui;

use file::TraceFile;
use steps::Steps;

static TIMELINE: OnceLock<Timeline> = OnceLock::new();

/// All that is being recorded.
struct Timeline {
    start: Instant,
    recorded: Mutex<Recorded>,
}

struct Recorded {
    file: TraceFile,
    steps: Steps,
}

/// A recording under way; it ends when it is dropped.
pub(crate) struct Recording;

/// Begins to record into the file at `path`, from now on until the recording is dropped. There is one in a process.
///
/// # Errors
/// When the file cannot be made.
pub(crate) fn record(path: &Path) -> Result<Recording, CommandError> {
    let file = TraceFile::create(path).map_err(|error| {
        let message = format!("cannot write the trace {}", path.display());
        CommandError::failed(message).because(&error)
    })?;
    let _ = TIMELINE.set(Timeline {
        start: Instant::now(),
        recorded: Mutex::new(Recorded {
            file,
            steps: Steps::default(),
        }),
    });
    trace::record_to(Box::new(Listener));
    Ok(Recording)
}

/// Passes events of steps on to `sink`; those that a recording has a use for are recorded on the way.
pub(crate) fn watching(sink: Sink) -> Sink {
    match TIMELINE.get() {
        None => sink,
        Some(timeline) => Arc::new(move |event: Event| {
            timeline.step(&event);
            sink(event);
        }),
    }
}

impl Timeline {
    fn ended(&self, ended: &Ended<'_>) {
        let now = Instant::now();
        let thread = events::thread();
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let time = |instant: Instant| instant.saturating_duration_since(self.start);
        let (from, to) = (time(ended.began), time(now));
        recorded
            .file
            .add(to, |out| events::span(out, &thread, ended, (from, to)));
    }

    fn step(&self, event: &Event) {
        // Nothing is recorded of what processes write, which may be much.
        if matches!(event, Event::Line { .. }) {
            return;
        }
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.start.elapsed();
        let Recorded { file, steps } = &mut *recorded;
        file.add(at, |out| steps.apply(out, at, event));
    }

    fn finish(&self) -> Option<String> {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.start.elapsed();
        let Recorded { file, steps } = &mut *recorded;
        file.add(at, |out| steps.abandon(out, at));
        file.finish()
    }
}

/// Hears of spans.
struct Listener;

impl Recorder for Listener {
    fn ended(&self, ended: &Ended<'_>) {
        if let Some(timeline) = TIMELINE.get() {
            timeline.ended(ended);
        }
    }
}

impl Drop for Recording {
    /// Also where the command failed. Threads that still work then are not recorded any more.
    fn drop(&mut self) {
        if let Some(problem) = TIMELINE.get().and_then(Timeline::finish) {
            ui::warn(&[problem]);
        }
    }
}

#[cfg(test)]
mod tests;
