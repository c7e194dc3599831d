//! The steps of a build as events tell of them: the model that every kind of progress shows.
//!
//! Bounded: of what a process writes only the last lines are kept here, the whole is in the step's log file.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sandbox::Gauge;
use solver::{Event, Failure, Outcome, StepId};

use super::text;

/// How the note begins that says why a step is done again.
const AGAIN: &str = "runs again: ";
/// So many lines of a failed step are shown again at the end.
const KEPT_LINES: usize = 20;

/// One step. Times count from the start of the progress.
#[derive(Debug)]
pub(crate) struct StepState {
    pub(crate) name: String,
    pub(crate) started: Duration,
    pub(crate) ended: Option<Duration>,
    pub(crate) outcome: Option<Outcome>,
    /// Why it is done again, if that was said.
    again: Option<String>,
    /// The last lines, oldest first.
    pub(crate) log: VecDeque<LogLine>,
    /// What moves, in the order of first sight.
    pub(crate) items: Vec<Item>,
    /// Tells how much memory its process takes.
    pub(crate) gauge: Gauge,
}

/// A line a process wrote, made harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// Since the step's start.
    pub(crate) after: Duration,
    pub(crate) text: String,
}

/// A part of a step that gets on.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) current: u64,
    pub(crate) total: Option<u64>,
    pub(crate) done: bool,
    pub(crate) started: Duration,
    pub(crate) seen: Duration,
}

/// A step that failed, with what is needed to say so.
#[derive(Clone, Debug)]
pub(crate) struct FailedStep {
    pub(crate) name: String,
    pub(crate) failure: Failure,
    pub(crate) log: Vec<LogLine>,
}

/// The steps, by their ends.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Those that failed.
    pub(crate) failed: Vec<FailedStep>,
    /// The names of those that were under way.
    pub(crate) stopped: Vec<String>,
    /// Those of the Dockerfile that ended well.
    pub(crate) finished: Vec<Finished>,
}

/// A step of the Dockerfile that ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) name: String,
    pub(crate) took: Duration,
    /// Whether the work was found done.
    pub(crate) is_cached: bool,
    /// Why it was done again, if that is known.
    pub(crate) again: Option<String>,
}

/// All steps so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    steps: BTreeMap<StepId, StepState>,
}

impl Steps {
    /// Takes in what happened `at` that time.
    pub(crate) fn apply(&mut self, at: Duration, event: &Event) {
        if let Event::Started { step, name } = event {
            self.steps.insert(*step, StepState::new(at, name));
            return;
        }
        let Some(state) = self.steps.get_mut(&step_of(event)) else {
            return;
        };
        match event {
            Event::Started { .. } => {}
            Event::Line { text, .. } => state.keep_line(at, text::harmless(text)),
            Event::Note { text, .. } => {
                let text = text::harmless(text.as_bytes());
                if let Some(reason) = text.strip_prefix(AGAIN) {
                    state.again = Some(reason.to_owned());
                }
                state.keep_line(at, text);
            }
            Event::Moved {
                item,
                current,
                total,
                done,
                ..
            } => state.move_item(at, item, (*current, *total, *done)),
            Event::Running { gauge, .. } => state.gauge = gauge.clone(),
            Event::Finished { outcome, .. } => {
                state.ended = Some(at);
                state.outcome = Some(outcome.clone());
                if !matches!(outcome, Outcome::Failed(_)) {
                    // Only what failed is told about once more.
                    state.log = VecDeque::new();
                }
            }
        }
    }

    pub(crate) fn get(&self, step: StepId) -> Option<&StepState> {
        self.steps.get(&step)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = (StepId, &StepState)> {
        self.steps
            .iter()
            .filter(|(_, state)| state.ended.is_none())
            .map(|(id, state)| (*id, state))
    }

    /// How many have ended, and how many there are.
    pub(crate) fn count(&self) -> (usize, usize) {
        let ended = self.steps.values().filter(|state| state.ended.is_some()).count();
        (ended, self.steps.len())
    }

    /// All by their ends, in the order of start.
    pub(crate) fn ended(self) -> Ended {
        let mut ended = Ended::default();
        for state in self.steps.into_values() {
            let is_cached = matches!(state.outcome, Some(Outcome::Cached));
            let is_of_dockerfile = state.is_of_dockerfile();
            match state.outcome {
                Some(Outcome::Failed(failure)) => ended.failed.push(FailedStep {
                    name: state.name,
                    failure,
                    log: state.log.into(),
                }),
                Some(Outcome::Cancelled) | None => ended.stopped.push(state.name),
                Some(Outcome::Done | Outcome::Cached) if is_of_dockerfile => ended.finished.push(Finished {
                    took: state.ended.unwrap_or(state.started).saturating_sub(state.started),
                    is_cached,
                    name: state.name,
                    again: state.again,
                }),
                Some(Outcome::Done | Outcome::Cached) => {}
            }
        }
        ended
    }
}

impl StepState {
    fn new(at: Duration, name: &str) -> StepState {
        StepState {
            name: text::harmless(name.replace('\n', " ").as_bytes()),
            started: at,
            ended: None,
            outcome: None,
            again: None,
            log: VecDeque::new(),
            items: Vec::new(),
            gauge: Gauge::default(),
        }
    }

    /// Whether it stands in the Dockerfile: others are the builder's own.
    fn is_of_dockerfile(&self) -> bool {
        let own = ["[internal]", "[context ", "[auth]"];
        self.name.starts_with('[') && !own.iter().any(|prefix| self.name.starts_with(prefix))
    }

    fn keep_line(&mut self, at: Duration, text: String) {
        if self.log.len() == KEPT_LINES {
            self.log.pop_front();
        }
        let after = at.saturating_sub(self.started);
        self.log.push_back(LogLine { after, text });
    }

    fn move_item(&mut self, at: Duration, name: &str, (current, total, done): (u64, Option<u64>, bool)) {
        let name = text::harmless(name.as_bytes());
        let known = self.items.iter().position(|item| item.name == name);
        let index = known.unwrap_or_else(|| {
            self.items.push(Item {
                name,
                current,
                total,
                done,
                started: at,
                seen: at,
            });
            self.items.len() - 1
        });
        let item = &mut self.items[index];
        item.current = current;
        item.total = total.or(item.total);
        item.done = done;
        item.seen = at;
    }
}

impl Item {
    /// `sha256:… 1.05MB / 3.40MB 0.2s done`, without the name.
    pub(crate) fn progress(&self) -> String {
        let mut out = String::new();
        match self.total {
            Some(total) if total > 0 => {
                out.push_str(&format!(" {} / {}", text::bytes(self.current), text::bytes(total)));
            }
            _ if self.current > 0 => out.push_str(&format!(" {}", text::bytes(self.current))),
            _ => {}
        }
        let took = self.seen.saturating_sub(self.started);
        if took > Duration::from_millis(50) {
            out.push_str(&format!(" {}", text::seconds(took)));
        }
        if self.done {
            out.push_str(" done");
        }
        out
    }
}

/// The step an event is about.
pub(crate) fn step_of(event: &Event) -> StepId {
    match event {
        Event::Started { step, .. }
        | Event::Line { step, .. }
        | Event::Moved { step, .. }
        | Event::Note { step, .. }
        | Event::Running { step, .. }
        | Event::Finished { step, .. } => *step,
    }
}
