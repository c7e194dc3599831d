//! Progress: events in, words and pictures out, all of it to stderr.
//!
//! A thread of its own draws, so that neither the build waits for a slow terminal at every line nor a busy build makes
//! the picture stutter. The channel to it is bounded: a process that writes faster than anyone can show is slowed down
//! rather than kept in memory.
//!
//! Not here: what a command answers (stdout), and how errors are phrased (`error`).

mod colours;
mod excerpt;
mod failure;
mod grouped;
mod narrator;
mod plain;
mod quiet;
mod rawjson;
mod room;
mod steps;
#[cfg(test)]
mod testing;
pub(crate) mod text;
mod tty;
mod warnings;

use std::io::{self, BufWriter, Stderr, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use solver::{Event, Reporter};

pub(crate) use colours::Colours;
pub(crate) use excerpt::{excerpt, excerpt_of_lines, lines};
pub(crate) use failure::report;
pub(crate) use steps::{Ended, Finished};
pub(crate) use warnings::tell_warnings;

use crate::ci::Service;
use crate::timeline;
use room::Room;
use steps::Steps;

/// Events that may wait to be shown.
const QUEUE: usize = 4096;
/// Bytes of lines that may wait to be shown. Lines may be long, and are not kept in memory by the thousand then.
const QUEUE_BYTES: usize = 4 << 20;
/// Bytes of lines that are written at once.
const OUTPUT: usize = 32 << 10;
/// How often the picture is renewed.
const REFRESH: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// A moving picture on a terminal, else lines
    #[default]
    Auto,
    /// Lines
    Plain,
    /// A moving picture
    Tty,
    /// Nothing but what failed
    Quiet,
    /// Nothing
    None,
    /// A JSON document for each event
    #[value(name = "rawjson")]
    RawJson,
    /// Lines in groups, for the log of a pipeline
    #[value(skip)]
    Grouped(Service),
}

/// How the terminal wants to be treated.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    /// Whether stderr is a terminal.
    pub(crate) is_terminal: bool,
    /// The colours of steps; `None` if colours are not welcome.
    pub(crate) colours: Option<Colours>,
    /// How many lines of a running process are shown below its step.
    pub(crate) log_lines: usize,
}

/// One way to show progress.
trait Display: Send {
    /// Takes in an event; `steps` holds it already.
    fn take(&mut self, at: Duration, event: &Event, steps: &Steps);
    /// Shows what there is.
    fn refresh(&mut self, now: Duration, steps: &Steps) -> io::Result<()>;
    /// Shows the rest; nothing comes after it.
    fn finish(&mut self, now: Duration, steps: &Steps) -> io::Result<()>;
}

enum Message {
    Event(Instant, Event),
    End,
}

/// Progress under way.
#[must_use = "progress is shown to its end only by `finish`"]
pub(crate) struct UiHandle {
    sender: SyncSender<Message>,
    thread: JoinHandle<Steps>,
}

/// Starts to show progress below `heading`. The reporter may outlive the progress: what it is told then is dropped.
pub(crate) fn start(mode: Mode, screen: &Screen, heading: &str) -> (Reporter, UiHandle) {
    let display: Box<dyn Display> = match mode {
        Mode::Tty => Box::new(tty::Tty::new(screen, heading)),
        Mode::Auto if screen.is_terminal => Box::new(tty::Tty::new(screen, heading)),
        Mode::Auto | Mode::Plain => Box::new(plain::Plain::new(out(), heading.to_owned())),
        Mode::Grouped(service) => {
            let start = jiff::Timestamp::now();
            Box::new(grouped::Grouped::new(out(), service, start, heading.to_owned()))
        }
        Mode::RawJson => Box::new(rawjson::RawJson::new(out(), jiff::Timestamp::now())),
        Mode::Quiet | Mode::None => Box::new(quiet::Quiet),
    };
    let (sender, receiver) = sync_channel(QUEUE);
    let room = Arc::new(Room::new(QUEUE_BYTES));
    let room_made = room.clone();
    let thread = std::thread::spawn(move || draw(display, &receiver, &room_made));
    let events = sender.clone();
    let reporter = Reporter::new(timeline::watching(Arc::new(move |event| {
        room.take(length(&event));
        // Nobody listens any more: the build is over, and so is the interest in its events.
        let _ = events.send(Message::Event(Instant::now(), event));
    })));
    (reporter, UiHandle { sender, thread })
}

/// Stderr for many short lines; what writes to it flushes it whenever it has written all there is.
fn out() -> BufWriter<Stderr> {
    BufWriter::with_capacity(OUTPUT, io::stderr())
}

/// Says something before there is progress. With stderr gone there is nobody to tell.
pub(crate) fn warn(texts: &[String]) {
    for text in texts {
        let _ = writeln!(io::stderr(), "WARNING: {}", text::harmless_lines(text));
    }
}

impl UiHandle {
    /// Shows what is left and gives the steps that came to no good end.
    pub(crate) fn finish(self) -> Ended {
        let _ = self.sender.send(Message::End);
        match self.thread.join() {
            Ok(steps) => steps.ended(),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// How much of the room for lines an event takes.
fn length(event: &Event) -> usize {
    match event {
        Event::Line { text, .. } => text.len(),
        _ => 0,
    }
}

/// The thread's work: takes in what has come, then draws, until the end.
fn draw(mut display: Box<dyn Display>, receiver: &Receiver<Message>, room: &Room) -> Steps {
    let start = Instant::now();
    let mut steps = Steps::default();
    // A stderr that is closed or full must not fail the build.
    let mut writable = true;
    let mut drawn = start;
    loop {
        let message = receiver.recv_timeout(REFRESH);
        let is_idle = message.is_err();
        match message {
            Ok(Message::Event(when, event)) => {
                let at = when.saturating_duration_since(start);
                steps.apply(at, &event);
                if writable {
                    display.take(at, &event, &steps);
                }
                room.give(length(&event));
            }
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if writable && (is_idle || drawn.elapsed() >= REFRESH) {
            writable = display.refresh(start.elapsed(), &steps).is_ok();
            drawn = Instant::now();
        }
    }
    room.open();
    if writable {
        let _ = display.finish(start.elapsed(), &steps);
    }
    steps
}
