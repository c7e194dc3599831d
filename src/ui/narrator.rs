//! What events are in words, for every kind of progress that is made of lines.

use std::collections::BTreeMap;
use std::time::Duration;

use solver::{Event, Outcome, StepId};

use super::steps::{Item, Steps, step_of};
use super::text;

/// An item is told of again after so long, or after so great a part of it.
const ITEM_PAUSE: Duration = Duration::from_secs(5);
const ITEM_PART: f64 = 0.05;

/// Puts events into words.
#[derive(Debug, Default)]
pub(super) struct Narrator {
    /// What was told last of each item: when, and how far it was.
    told: BTreeMap<(StepId, String), (Duration, u64)>,
}

/// What an event says of its step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// That it is there.
    Begin,
    /// A line.
    Line(String),
    /// How it ended.
    End(String),
}

impl Narrator {
    /// What there is to say of an event that `steps` holds already; nothing if it is not news.
    pub(super) fn word(&mut self, at: Duration, event: &Event, steps: &Steps) -> Option<Word> {
        let step = step_of(event);
        let state = steps.get(step)?;
        let after = at.saturating_sub(state.started);
        Some(match event {
            Event::Started { .. } => Word::Begin,
            Event::Running { .. } => return None,
            Event::Line { text, .. } => Word::Line(format!("{} {}", text::stamp(after), text::harmless(text))),
            Event::Note { text, .. } => Word::Line(text::harmless(text.as_bytes())),
            Event::Moved { item, .. } => {
                let name = text::harmless(item.as_bytes());
                let item = state.items.iter().find(|known| known.name == name);
                let item = item.filter(|item| self.is_news(step, item))?;
                Word::Line(format!("{}{}", item.name, item.progress()))
            }
            Event::Finished { outcome, .. } => {
                self.told.retain(|(owner, _), _| *owner != step);
                Word::End(ending(outcome, after))
            }
        })
    }

    fn is_news(&mut self, step: StepId, item: &Item) -> bool {
        let key = (step, item.name.clone());
        if let Some((when, current)) = self.told.get(&key)
            && !item.done
        {
            let part = match item.total {
                Some(total) if total > 0 => item.current.saturating_sub(*current) as f64 / total as f64,
                _ => 0.0,
            };
            if part < ITEM_PART && item.seen.saturating_sub(*when) < ITEM_PAUSE {
                return false;
            }
        }
        self.told.insert(key, (item.seen, item.current));
        true
    }
}

fn ending(outcome: &Outcome, after: Duration) -> String {
    match outcome {
        Outcome::Done => format!("DONE {}", text::seconds(after)),
        Outcome::Cached => "CACHED".to_owned(),
        Outcome::Cancelled => "CANCELED".to_owned(),
        Outcome::Failed(failure) => format!(
            "ERROR: {}",
            text::harmless_lines(&failure.message).replace('\n', "\n  ")
        ),
    }
}
