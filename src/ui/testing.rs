//! Events of steps, for the tests of displays.

use solver::{Event, Outcome, StepId, Stream};

pub(super) fn started(step: u64, name: &str) -> Event {
    Event::Started {
        step: StepId(step),
        name: name.to_owned(),
    }
}

pub(super) fn line(step: u64, text: &str) -> Event {
    Event::Line {
        step: StepId(step),
        stream: Stream::Stdout,
        text: text.as_bytes().to_vec(),
    }
}

pub(super) fn finished(step: u64, outcome: Outcome) -> Event {
    Event::Finished {
        step: StepId(step),
        outcome,
    }
}
