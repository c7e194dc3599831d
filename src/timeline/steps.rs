//! The steps under way, each in a lane, and how many bytes they have moved.

use std::collections::HashMap;
use std::time::Duration;

use solver::{Event, Outcome, StepId};

use super::events::{self, StepSpan};
use super::file::Out;

/// Only what is needed until a step's end.
#[derive(Default)]
pub(super) struct Steps {
    running: HashMap<StepId, Running>,
    /// Whether there is a step in each lane; the first is lane 1, as readers see it.
    lanes: Vec<bool>,
    moved: u64,
}

struct Running {
    name: String,
    began: Duration,
    lane: u64,
    /// How far the items are that move.
    items: HashMap<String, u64>,
}

impl Steps {
    /// Takes in what happened.
    pub(super) fn apply(&mut self, out: &mut Out, at: Duration, event: &Event) {
        match event {
            Event::Started { step, name } => self.begin(out, at, *step, name),
            Event::Finished { step, outcome } => self.end(out, at, *step, outcome),
            Event::Note { step, text } => {
                if let Some(running) = self.running.get(step) {
                    events::note(out, running.lane, text, at);
                }
            }
            Event::Moved {
                step,
                item,
                current,
                done,
                ..
            } => self.moved(out, at, *step, (item, *current, *done)),
            Event::Line { .. } | Event::Running { .. } => {}
        }
    }

    fn begin(&mut self, out: &mut Out, at: Duration, step: StepId, name: &str) {
        let lane = self.lanes.iter().position(|taken| !taken).unwrap_or_else(|| {
            self.lanes.push(false);
            events::lane(out, self.lanes.len() as u64);
            self.lanes.len() - 1
        });
        self.lanes[lane] = true;
        let running = Running {
            name: name.to_owned(),
            began: at,
            lane: lane as u64 + 1,
            items: HashMap::new(),
        };
        self.running.insert(step, running);
    }

    fn end(&mut self, out: &mut Out, at: Duration, step: StepId, outcome: &Outcome) {
        let Some(running) = self.running.remove(&step) else {
            return;
        };
        self.lanes[running.lane as usize - 1] = false;
        let outcome = match outcome {
            Outcome::Cached => return events::cached(out, step.0, &running.name, at),
            Outcome::Done => "done",
            Outcome::Failed(_) => "failed",
            Outcome::Cancelled => "cancelled",
        };
        events::step(out, &running.span(step, outcome, at));
    }

    fn moved(&mut self, out: &mut Out, at: Duration, step: StepId, (item, current, done): (&str, u64, bool)) {
        let Some(running) = self.running.get_mut(&step) else {
            return;
        };
        let before = match (running.items.get_mut(item), done) {
            (Some(_), true) => running.items.remove(item).unwrap_or_default(),
            (Some(known), false) => std::mem::replace(known, current),
            (None, true) => 0,
            (None, false) => running.items.insert(item.to_owned(), current).unwrap_or_default(),
        };
        // An item that begins again moves its bytes again.
        let more = current.checked_sub(before).unwrap_or(current);
        if more > 0 {
            self.moved += more;
            events::moved(out, self.moved, at);
        }
    }

    /// The program ends before these steps have.
    pub(super) fn abandon(&mut self, out: &mut Out, at: Duration) {
        for (step, running) in self.running.drain() {
            events::step(out, &running.span(step, "abandoned", at));
        }
    }
}

impl Running {
    fn span(&self, step: StepId, outcome: &'static str, at: Duration) -> StepSpan<'_> {
        StepSpan {
            number: step.0,
            name: &self.name,
            lane: self.lane,
            outcome,
            time: (self.began, at),
        }
    }
}
