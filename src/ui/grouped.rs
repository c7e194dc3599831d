//! Progress for the logs of pipelines: lines, the lines of each step together, folded where the service can fold.
//!
//! ```text
//! ::group::#5 [2/3] RUN make                   GitHub; others have their own marks
//! #5 0.413 cc -o app app.c
//! ::endgroup::
//! #5 [2/3] RUN make: DONE 1.2s
//! #6 [3/3] COPY a b: CACHED
//! ```
//!
//! A log of a pipeline is read when all is over, so a step keeps its lines until it ends. One that says much, or says
//! something and goes on for long, is written in parts: nothing is kept for minutes, and memory stays bounded. What failed
//! comes last and unfolded. Services end jobs that say nothing for a while; so does a line that nothing else was said for
//! half a minute.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sandbox::MemoryUse;
use solver::{Event, Outcome, StepId};

use super::Display;
use super::narrator::{Narrator, Word};
use super::steps::{StepState, Steps, step_of};
use super::text;
use crate::ci::Service;

/// A step that has waiting lines for so long gets to say them.
const PATIENCE: Duration = Duration::from_secs(60);
/// And one that has more bytes of lines than these.
const MOST_WAITING: usize = 256 << 10;
/// All together.
const MOST_WAITING_IN_ALL: usize = 4 << 20;
/// How long nothing may be said.
const SILENCE: Duration = Duration::from_secs(30);
/// So many steps are named in a sign of life.
const MOST_NAMED: usize = 3;

/// Writes progress in groups to `out`.
pub(crate) struct Grouped<W> {
    out: W,
    service: Service,
    /// When the progress began, for marks that tell the time.
    start: Timestamp,
    heading: Option<String>,
    waiting: BTreeMap<StepId, Waiting>,
    narrator: Narrator,
    /// When something was last written.
    written: Duration,
}

#[derive(Default)]
struct Waiting {
    /// Since when the first of the lines waits.
    since: Duration,
    lines: Vec<String>,
    /// Of all lines together.
    bytes: usize,
    /// How many parts were written.
    parts: usize,
    ended: Option<Ending>,
}

struct Ending {
    at: Duration,
    text: String,
    has_failed: bool,
}

impl<W: Write> Grouped<W> {
    /// Progress that began at `start`, below `heading`.
    pub(crate) fn new(out: W, service: Service, start: Timestamp, heading: String) -> Grouped<W> {
        Grouped {
            out,
            service,
            start,
            heading: Some(heading).filter(|text| !text.is_empty()),
            waiting: BTreeMap::new(),
            narrator: Narrator::default(),
            written: Duration::ZERO,
        }
    }

    fn note(&mut self, at: Duration, event: &Event, steps: &Steps) {
        let Some(word) = self.narrator.word(at, event, steps) else {
            return;
        };
        let waiting = self.waiting.entry(step_of(event)).or_default();
        match word {
            Word::Begin => {}
            Word::Line(line) => {
                if waiting.lines.is_empty() {
                    waiting.since = at;
                }
                waiting.bytes += line.len();
                waiting.lines.push(self.service.disarmed(&line));
            }
            Word::End(text) => {
                let text = self.service.disarmed(&text);
                let has_failed = matches!(
                    event,
                    Event::Finished {
                        outcome: Outcome::Failed(_),
                        ..
                    }
                );
                waiting.ended = Some(Ending { at, text, has_failed });
            }
        }
    }

    /// Writes the steps that ended well, and what cannot wait of the others.
    fn write_due(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        let mut ended: Vec<(Duration, StepId)> = Vec::new();
        for (step, waiting) in &self.waiting {
            if let Some(ending) = waiting.ended.as_ref().filter(|ending| !ending.has_failed) {
                ended.push((ending.at, *step));
            }
        }
        ended.sort();
        for (_, step) in ended {
            self.write_step(step, now, steps)?;
        }
        let in_all: usize = self.waiting.values().map(|waiting| waiting.bytes).sum();
        let is_due = |waiting: &Waiting| {
            let waited = now.saturating_sub(waiting.since) >= PATIENCE;
            let is_much = waiting.bytes > MOST_WAITING || in_all > MOST_WAITING_IN_ALL;
            !waiting.lines.is_empty() && (waited || is_much)
        };
        let due = self.waiting.iter().filter(|(_, waiting)| is_due(waiting));
        let due: Vec<StepId> = due.map(|(step, _)| *step).collect();
        for step in due {
            self.write_part(step, now, steps)?;
        }
        if now.saturating_sub(self.written) >= SILENCE {
            self.give_sign_of_life(now, steps)?;
        }
        Ok(())
    }

    /// Writes the lines that a step has so far.
    fn write_part(&mut self, step: StepId, now: Duration, steps: &Steps) -> io::Result<()> {
        let Some(state) = steps.get(step) else { return Ok(()) };
        let Some(waiting) = self.waiting.get_mut(&step) else {
            return Ok(());
        };
        let (lines, parts) = (std::mem::take(&mut waiting.lines), waiting.parts);
        waiting.parts += 1;
        waiting.bytes = 0;
        let part = if parts == 0 {
            String::new()
        } else {
            format!(" (part {})", parts + 1)
        };
        self.begin(now)?;
        self.fold(step, state, (&lines, &part), now)
    }

    /// Writes all that a step has, and forgets it.
    fn write_step(&mut self, step: StepId, now: Duration, steps: &Steps) -> io::Result<()> {
        let Some(state) = steps.get(step) else { return Ok(()) };
        let waiting = self.waiting.remove(&step).unwrap_or_default();
        let (StepId(number), title) = (step, self.service.disarmed(&state.name));
        let has_failed = waiting.ended.as_ref().is_some_and(|ending| ending.has_failed);
        self.begin(now)?;
        if has_failed {
            let head = self.service.unfolded(&format!("#{number} {title}"));
            writeln!(self.out, "{head}")?;
            for line in &waiting.lines {
                writeln!(self.out, "#{number} {line}")?;
            }
        } else if !waiting.lines.is_empty() {
            let part = match waiting.parts {
                0 => String::new(),
                parts => format!(" (part {})", parts + 1),
            };
            self.fold(step, state, (&waiting.lines, &part), now)?;
        }
        match waiting.ended {
            Some(ending) => writeln!(self.out, "#{number} {title}: {}", ending.text),
            None => writeln!(self.out, "#{number} {title}"),
        }
    }

    fn fold(
        &mut self,
        step: StepId,
        state: &StepState,
        (lines, part): (&[String], &str),
        now: Duration,
    ) -> io::Result<()> {
        let StepId(number) = step;
        let title = format!("#{number} {}{part}", self.service.disarmed(&state.name));
        let part: String = part.chars().filter(char::is_ascii_digit).collect();
        let name = match part.as_str() {
            "" => format!("step_{number}"),
            part => format!("step_{number}_{part}"),
        };
        let from = self.seconds(state.started);
        if let Some(mark) = self.service.fold(&name, &title, from) {
            writeln!(self.out, "{mark}")?;
        }
        for line in lines {
            writeln!(self.out, "#{number} {line}")?;
        }
        match self
            .service
            .end_of_fold(&name, self.seconds(state.ended.unwrap_or(now)))
        {
            Some(mark) => writeln!(self.out, "{mark}"),
            None => Ok(()),
        }
    }

    /// Seconds since 1970 at a time of the progress.
    fn seconds(&self, at: Duration) -> i64 {
        let passed = SignedDuration::try_from(at).unwrap_or(SignedDuration::ZERO);
        self.start.saturating_add(passed).unwrap_or(self.start).as_second()
    }

    fn give_sign_of_life(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        let mut running: Vec<String> = Vec::new();
        for (_, state) in steps.running() {
            let since = text::seconds(now.saturating_sub(state.started));
            let memory = state.gauge.read().map(memory).unwrap_or_default();
            running.push(format!("{} for {since}{memory}", self.service.disarmed(&state.name)));
        }
        if running.is_empty() {
            return Ok(());
        }
        let others = match running.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            count => format!(", and {count} more"),
        };
        running.truncate(MOST_NAMED);
        self.begin(now)?;
        writeln!(self.out, "#0 still running: {}{others}", running.join(", "))
    }

    fn begin(&mut self, now: Duration) -> io::Result<()> {
        self.written = now;
        match self.heading.take() {
            Some(heading) => writeln!(self.out, "#0 {heading}"),
            None => Ok(()),
        }
    }
}

/// ` (memory 300.00MB, at most 512.00MB so far)`.
fn memory(memory: MemoryUse) -> String {
    let current = text::bytes(memory.current);
    match memory.peak {
        Some(peak) => format!(" (memory {current}, at most {} so far)", text::bytes(peak)),
        None => format!(" (memory {current})"),
    }
}

impl<W: Write + Send> Display for Grouped<W> {
    fn take(&mut self, at: Duration, event: &Event, steps: &Steps) {
        self.note(at, event, steps);
    }

    fn refresh(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        self.write_due(now, steps)?;
        self.out.flush()
    }

    fn finish(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        self.write_due(now, steps)?;
        let has_failed = |waiting: &Waiting| waiting.ended.as_ref().is_some_and(|ending| ending.has_failed);
        let mut rest: Vec<(bool, StepId)> = Vec::new();
        for (step, waiting) in &self.waiting {
            rest.push((has_failed(waiting), *step));
        }
        rest.sort();
        for (_, step) in rest {
            self.write_step(step, now, steps)?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
