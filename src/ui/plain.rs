//! Plain progress: lines only, for logs and pipes, in BuildKit's form.
//!
//! ```text
//! #5 [2/3] RUN make
//! #5 0.413 cc -o app app.c
//! #5 DONE 1.2s
//! ```
//!
//! Steps run at the same time but a log is read from top to bottom, so one step at a time has the word. What the others
//! do waits, until the speaker ends, or has spoken long enough. A change of speaker is written as `#5 ...` and a blank
//! line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use solver::{Event, StepId};

use super::Display;
use super::narrator::{Narrator, Word};
use super::steps::{Steps, step_of};

/// A running step keeps the word at least so long.
const ANTI_FLICKER: Duration = Duration::from_secs(5);
/// No step waits longer for the word.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// More waiting lines than this give a step the word at once, so that they need not be kept.
const MAX_WAITING: usize = 5000;
/// And more bytes of lines.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// Writes plain progress to `out`.
pub(crate) struct Plain<W> {
    out: W,
    heading: Option<String>,
    /// Whose lines are being written.
    speaker: Option<StepId>,
    /// Since when, or when it last could have lost the word.
    spoken_since: Duration,
    /// What is not written yet.
    waiting: BTreeMap<StepId, Waiting>,
    narrator: Narrator,
    any_written: bool,
}

#[derive(Default)]
struct Waiting {
    since: Duration,
    lines: Vec<String>,
    /// Of all lines together.
    bytes: usize,
    ended: Option<String>,
    ended_at: Duration,
}

impl Waiting {
    fn is_much(&self) -> bool {
        self.lines.len() > MAX_WAITING || self.bytes > MAX_WAITING_BYTES
    }
}

impl<W: Write> Plain<W> {
    /// Plain progress, below `heading`.
    pub(crate) fn new(out: W, heading: String) -> Plain<W> {
        Plain {
            out,
            heading: Some(heading).filter(|text| !text.is_empty()),
            speaker: None,
            spoken_since: Duration::ZERO,
            waiting: BTreeMap::new(),
            narrator: Narrator::default(),
            any_written: false,
        }
    }

    /// The lines that an event adds to its step.
    fn note(&mut self, at: Duration, event: &Event, steps: &Steps) {
        let Some(word) = self.narrator.word(at, event, steps) else {
            return;
        };
        let waiting = self.waiting.entry(step_of(event)).or_insert_with(|| Waiting {
            since: at,
            ..Waiting::default()
        });
        match word {
            Word::Begin => {}
            Word::Line(line) => {
                waiting.bytes += line.len();
                waiting.lines.push(line);
            }
            Word::End(ending) => {
                waiting.ended = Some(ending);
                waiting.ended_at = at;
            }
        }
    }

    /// Writes what is due: first the steps that ended, then the speaker, then perhaps a new speaker.
    fn write_due(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        if let Some(speaker) = self.speaker
            && self.has_ended(speaker)
        {
            self.write_step(speaker, now, steps)?;
        }
        let mut ended: Vec<(Duration, StepId)> = Vec::new();
        for (step, waiting) in &self.waiting {
            if waiting.ended.is_some() {
                ended.push((waiting.ended_at, *step));
            }
        }
        ended.sort();
        for (_, step) in ended {
            self.write_step(step, now, steps)?;
        }
        match self.speaker {
            Some(speaker) => {
                if self.waiting.contains_key(&speaker) {
                    self.write_step(speaker, now, steps)?;
                }
                if let Some(next) = self.successor(now) {
                    self.write_step(next, now, steps)?;
                }
            }
            None => {
                let loudest = self.loudest().or_else(|| steps.running().map(|(step, _)| step).next());
                if let Some(next) = loudest {
                    self.write_step(next, now, steps)?;
                }
            }
        }
        Ok(())
    }

    fn has_ended(&self, step: StepId) -> bool {
        self.waiting.get(&step).is_some_and(|waiting| waiting.ended.is_some())
    }

    /// Who waits with most to say; of equals the first.
    fn loudest(&self) -> Option<StepId> {
        let most = self.waiting.iter().rev().max_by_key(|(_, waiting)| waiting.lines.len());
        most.map(|(step, _)| *step)
    }

    /// Who should have the word instead of the present speaker, if anyone.
    fn successor(&self, now: Duration) -> Option<StepId> {
        let waited = |since: Duration| now.saturating_sub(since);
        let overdue = self
            .waiting
            .iter()
            .find(|(_, waiting)| waited(waiting.since) > MAX_DELAY || waiting.is_much());
        if let Some((step, _)) = overdue {
            return Some(*step);
        }
        let loudest = self.loudest()?;
        let has_lines = !self.waiting[&loudest].lines.is_empty();
        (has_lines && waited(self.spoken_since) > ANTI_FLICKER).then_some(loudest)
    }

    /// Gives `step` the word and writes all it has.
    fn write_step(&mut self, step: StepId, now: Duration, steps: &Steps) -> io::Result<()> {
        let Some(state) = steps.get(step) else { return Ok(()) };
        let waiting = self.waiting.remove(&step).unwrap_or_default();
        let StepId(number) = step;
        if self.speaker != Some(step) {
            self.change_speaker()?;
            writeln!(self.out, "#{number} {}", state.name)?;
            self.spoken_since = now;
        }
        self.speaker = Some(step);
        for line in &waiting.lines {
            writeln!(self.out, "#{number} {line}")?;
        }
        if let Some(ending) = waiting.ended {
            writeln!(self.out, "#{number} {ending}")?;
            self.speaker = None;
        }
        Ok(())
    }

    fn change_speaker(&mut self) -> io::Result<()> {
        if let Some(StepId(previous)) = self.speaker {
            writeln!(self.out, "#{previous} ...")?;
        }
        if self.any_written {
            writeln!(self.out)?;
        } else if let Some(heading) = self.heading.take() {
            writeln!(self.out, "#0 {heading}\n")?;
        }
        self.any_written = true;
        Ok(())
    }
}

impl<W: Write + Send> Display for Plain<W> {
    fn take(&mut self, at: Duration, event: &Event, steps: &Steps) {
        self.note(at, event, steps);
    }

    fn refresh(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        self.write_due(now, steps)?;
        self.out.flush()
    }

    fn finish(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        self.write_due(now, steps)?;
        let silent: Vec<StepId> = self.waiting.keys().copied().collect();
        for step in silent {
            self.write_step(step, now, steps)?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::{finished, line, started};
    use solver::{Failure, Outcome};

    fn moved(current: u64, done: bool) -> Event {
        Event::Moved {
            step: StepId(1),
            item: "sha256:aa".to_owned(),
            current,
            total: Some(2000),
            done,
        }
    }

    /// What is written when batches of events arrive at the given milliseconds.
    fn written(batches: &[(u64, &[Event])]) -> String {
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out, "building with rbuild".to_owned());
        let mut steps = Steps::default();
        let mut now = Duration::ZERO;
        for (milliseconds, events) in batches {
            now = Duration::from_millis(*milliseconds);
            for event in *events {
                steps.apply(now, event);
                plain.take(now, event, &steps);
            }
            plain.refresh(now, &steps).unwrap();
        }
        plain.finish(now, &steps).unwrap();
        drop(plain);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn steps_are_written_one_below_the_other() {
        let failure = Failure {
            message: "process \"/bin/sh -c make\" did not complete successfully: exit code: 2".to_owned(),
            ..Failure::default()
        };
        let text = written(&[
            (0, &[started(1, "[1/3] FROM x")]),
            (10, &[finished(1, Outcome::Cached), started(2, "[2/3] RUN make")]),
            (423, &[line(2, "cc app.c")]),
            (1210, &[finished(2, Outcome::Done), started(3, "[3/3] RUN make")]),
            (
                1500,
                &[line(3, "\x1b[31mno rule"), finished(3, Outcome::Failed(failure))],
            ),
        ]);
        assert_eq!(
            text,
            "#0 building with rbuild\n\n#1 [1/3] FROM x\n#1 CACHED\n\n#2 [2/3] RUN make\n#2 0.413 cc app.c\n#2 DONE 1.2s\n\n#3 [3/3] RUN make\n#3 0.290 no rule\n#3 ERROR: process \"/bin/sh -c make\" did not complete successfully: exit code: 2\n"
        );
    }

    #[test]
    fn a_step_keeps_the_word_until_it_ends() {
        let text = written(&[
            (0, &[started(1, "a"), started(2, "b")]),
            (100, &[line(1, "a1"), line(2, "b1")]),
            (200, &[line(2, "b2"), line(1, "a2")]),
            (300, &[finished(1, Outcome::Done)]),
            (400, &[finished(2, Outcome::Cancelled)]),
        ]);
        assert_eq!(
            text,
            "#0 building with rbuild\n\n#1 a\n#1 0.100 a1\n#1 0.200 a2\n#1 DONE 0.3s\n\n#2 b\n#2 0.100 b1\n#2 0.200 b2\n#2 CANCELED\n"
        );
    }

    #[test]
    fn a_waiting_step_gets_the_word_after_a_while() {
        let text = written(&[
            (0, &[started(1, "a"), started(2, "b")]),
            (1000, &[line(2, "b1")]),
            (6000, &[line(1, "a1")]),
            (7000, &[finished(2, Outcome::Done)]),
            (8000, &[line(1, "a2"), finished(1, Outcome::Done)]),
        ]);
        assert_eq!(
            text,
            "#0 building with rbuild\n\n#1 a\n#1 6.000 a1\n#1 ...\n\n#2 b\n#2 1.000 b1\n#2 DONE 7.0s\n\n#1 a\n#1 8.000 a2\n#1 DONE 8.0s\n"
        );
    }

    #[test]
    fn small_moves_are_not_news() {
        let text = written(&[
            (0, &[started(1, "[1/1] FROM x"), moved(0, false)]),
            (100, &[moved(50, false)]),
            (200, &[moved(1500, false)]),
            (300, &[moved(2000, true)]),
            (400, &[finished(1, Outcome::Done)]),
        ]);
        assert_eq!(
            text,
            "#0 building with rbuild\n\n#1 [1/1] FROM x\n#1 sha256:aa 0B / 2.00kB\n#1 sha256:aa 1.50kB / 2.00kB 0.2s\n#1 sha256:aa 2.00kB / 2.00kB 0.3s done\n#1 DONE 0.4s\n"
        );
    }
}
