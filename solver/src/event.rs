//! What a build reports while it runs. Values only: `src/ui` makes words and pictures of them.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use graph::SourceLines;
use sandbox::Gauge;

/// One line of progress: a vertex, or something the builder does for itself (`[internal] load metadata for …`,
/// `exporting to image`). Numbered in the order of start, from 1: the `#5` of plain progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u64);

/// From which of its outputs a process wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A step begins.
    Started {
        /// Which.
        step: StepId,
        /// As it is shown: `[build 2/4] RUN make`.
        name: String,
    },
    /// A process wrote a line (without its end). Arrives as raw bytes; whoever shows it makes it harmless.
    Line {
        /// Of which step.
        step: StepId,
        /// Where to.
        stream: Stream,
        /// The line.
        text: Vec<u8>,
    },
    /// A part of a step got on: a layer arrived, an upload moved. Sent at most some ten times a second an item.
    Moved {
        /// Of which step.
        step: StepId,
        /// What moves, for example a digest or `exporting layers`.
        item: String,
        /// Bytes (or nothing countable: 0) so far.
        current: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
        /// Whether the item is done with.
        done: bool,
    },
    /// A note on a step, for example why it ran again.
    Note {
        /// On which step.
        step: StepId,
        /// A plain sentence.
        text: String,
    },
    /// A process of a step begins.
    Running {
        /// Of which step.
        step: StepId,
        /// Tells how much memory it takes.
        gauge: Gauge,
    },
    /// A step ends.
    Finished {
        /// Which.
        step: StepId,
        /// How.
        outcome: Outcome,
    },
}

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The work was done.
    Done,
    /// The work was found done in the store.
    Cached,
    /// It failed.
    Failed(Failure),
    /// Something else failed first, or the user stopped the build.
    Cancelled,
}

/// What a reader wants to know of a failed step, besides its number and name.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// One sentence: `process "/bin/sh -c make" did not complete successfully: exit code: 2`.
    pub message: String,
    /// The lines of the Dockerfile.
    pub lines: Option<SourceLines>,
    /// The file that holds all that the step's process wrote.
    pub log: Option<PathBuf>,
}

/// Takes events; must not block for long.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// Numbers steps and passes events on.
#[derive(Clone)]
pub struct Reporter {
    sink: Sink,
    next: Arc<AtomicU64>,
}

impl Reporter {
    /// A reporter that passes events to `sink`.
    #[must_use]
    pub fn new(sink: Sink) -> Reporter {
        Reporter {
            sink,
            next: Arc::new(AtomicU64::new(1)),
        }
    }

    /// A reporter for no one.
    #[must_use]
    pub fn silent() -> Reporter {
        Reporter::new(Arc::new(|_| {}))
    }

    /// Begins a step.
    #[must_use]
    pub fn start(&self, name: impl Into<String>) -> Step {
        let step = StepId(self.next.fetch_add(1, Ordering::Relaxed));
        let name = name.into();
        (self.sink)(Event::Started {
            step,
            name: name.clone(),
        });
        Step {
            id: step,
            name,
            sink: self.sink.clone(),
            ended: false,
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

/// A step under way. Dropped before its end it counts as cancelled.
pub struct Step {
    id: StepId,
    name: String,
    sink: Sink,
    ended: bool,
}

impl Step {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> StepId {
        self.id
    }

    /// Its name, as it is shown.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reports a line that its process wrote.
    pub fn line(&self, stream: Stream, text: &[u8]) {
        (self.sink)(Event::Line {
            step: self.id,
            stream,
            text: text.to_vec(),
        });
    }

    /// Reports that a part of it got on.
    pub fn moved(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        (self.sink)(Event::Moved {
            step: self.id,
            item: item.to_owned(),
            current,
            total,
            done,
        });
    }

    /// Something that reports how its parts get on, and can be sent to the thread that does the work. It passes on at
    /// most ten reports a second, besides those of parts that are done.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter {
            step: self.id,
            sink: self.sink.clone(),
            last: Mutex::new(Instant::now()),
        }
    }

    /// Says something about it.
    pub fn note(&self, text: impl Into<String>) {
        (self.sink)(Event::Note {
            step: self.id,
            text: text.into(),
        });
    }

    /// Reports that a process of it begins, of whose memory the gauge tells.
    pub fn running(&self, gauge: &Gauge) {
        (self.sink)(Event::Running {
            step: self.id,
            gauge: gauge.clone(),
        });
    }

    /// Ends it: the work was done.
    pub fn done(self) {
        self.end(Outcome::Done);
    }

    /// Ends it: nothing had to be done.
    pub fn cached(self) {
        self.end(Outcome::Cached);
    }

    /// Ends it: it failed.
    pub fn failed(self, failure: Failure) {
        self.end(Outcome::Failed(failure));
    }

    fn end(mut self, outcome: Outcome) {
        self.ended = true;
        (self.sink)(Event::Finished { step: self.id, outcome });
    }
}

/// Reports how parts of a step get on; see [`Step::meter`].
pub struct Meter {
    step: StepId,
    sink: Sink,
    last: Mutex<Instant>,
}

impl Meter {
    /// The part `item` is at `current` of `total` bytes.
    pub fn moved(&self, item: &str, current: u64, total: Option<u64>, done: bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !done && last.elapsed() < Duration::from_millis(100) {
            return;
        }
        *last = Instant::now();
        (self.sink)(Event::Moved {
            step: self.step,
            item: item.to_owned(),
            current,
            total,
            done,
        });
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            (self.sink)(Event::Finished {
                step: self.id,
                outcome: Outcome::Cancelled,
            });
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("id", &self.id).finish_non_exhaustive()
    }
}
