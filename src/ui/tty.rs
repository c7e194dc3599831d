//! A moving picture of the build on a terminal.
//!
//! ```text
//! building with rbuild …                                        the heading
//!  => CACHED [1/3] FROM debian                        0.0s      finished steps scroll up
//! [+] Building 3.2s (2/3)                                       a header over what runs now
//!  => [2/3] RUN make                                  2.9s
//!  => => # cc -o app app.c
//! ```
//!
//! What is shown, and cut where, is decided here ([`frame`], pure); `indicatif` only draws: it replaces the last picture
//! by the next one and writes finished steps above it. It would cut a picture higher than the terminal at its end, so no
//! picture here is.

use std::io;
use std::time::Duration;

use console::{Style, Term};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use solver::{Event, Outcome};

use super::steps::{StepState, Steps, step_of};
use super::{Display, Screen, text};

/// How many moving items are shown below a step.
const ITEMS: usize = 8;

/// Draws progress on the terminal behind stderr.
pub(crate) struct Tty {
    term: Term,
    bar: ProgressBar,
    palette: Palette,
    log_lines: usize,
    /// Finished steps, and first of all the heading, not written yet.
    finished: Vec<String>,
}

/// Styles for the marks before a step; the words say the same.
struct Palette {
    done: Style,
    failed: Style,
    cancelled: Style,
    faint: Style,
}

/// Columns and rows.
#[derive(Clone, Copy, Debug)]
struct Size {
    width: usize,
    height: usize,
}

impl Tty {
    /// A picture for the terminal `screen` describes.
    pub(crate) fn new(screen: &Screen, heading: &str) -> Tty {
        let term = Term::buffered_stderr();
        let target = ProgressDrawTarget::term(term.clone(), 20);
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is valid"));
        let style = Style::new().for_stderr().force_styling(screen.colours.is_some());
        let colours = screen.colours.clone().unwrap_or_default();
        Tty {
            term,
            bar,
            palette: Palette {
                done: style.clone().fg(colours.done),
                failed: style.clone().fg(colours.failed),
                cancelled: style.clone().fg(colours.cancelled),
                faint: style.dim(),
            },
            log_lines: screen.log_lines,
            finished: (!heading.is_empty()).then(|| heading.to_owned()).into_iter().collect(),
        }
    }

    fn size(&self) -> Size {
        let (height, width) = self.term.size();
        Size {
            width: usize::from(width).max(20),
            height: usize::from(height).max(4),
        }
    }

    fn write_finished(&mut self) {
        for line in self.finished.drain(..) {
            self.bar.println(line);
        }
    }
}

impl Display for Tty {
    fn take(&mut self, _: Duration, event: &Event, steps: &Steps) {
        let Event::Finished { outcome, .. } = event else { return };
        if let Some(state) = steps.get(step_of(event)) {
            let width = self.size().width;
            let line = step_line(state, Some(outcome), state.ended.unwrap_or_default(), width);
            let style = match outcome {
                Outcome::Done | Outcome::Cached => &self.palette.done,
                Outcome::Failed(_) => &self.palette.failed,
                Outcome::Cancelled => &self.palette.cancelled,
            };
            self.finished.push(style.apply_to(line).to_string());
        }
    }

    fn refresh(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        self.write_finished();
        let lines = frame(now, steps, self.size(), self.log_lines);
        let faint = |line: String| match line.starts_with(LOG_MARK) {
            true => self.palette.faint.apply_to(line).to_string(),
            false => line,
        };
        let lines: Vec<String> = lines.into_iter().map(faint).collect();
        self.bar.set_message(lines.join("\n"));
        self.bar.tick();
        Ok(())
    }

    fn finish(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        self.write_finished();
        self.bar.println(format!("{} FINISHED", header(now, steps)));
        self.bar.finish_and_clear();
        self.term.flush()
    }
}

const LOG_MARK: &str = " => => # ";

/// The picture: at most so wide and, with the cursor's own row, so high as the terminal.
fn frame(now: Duration, steps: &Steps, size: Size, log_lines: usize) -> Vec<String> {
    let mut lines = vec![cut(&header(now, steps), size.width)];
    let room = size.height.saturating_sub(2);
    let running: Vec<&StepState> = steps.running().map(|(_, state)| state).collect();
    // Every running step has its line before any has details; what is left is shared out evenly.
    let shown = running.len().min(room.saturating_sub(1));
    let spare = room.saturating_sub(1 + shown);
    let share = spare.checked_div(shown).unwrap_or(0);
    for state in &running[..shown] {
        lines.push(step_line(state, None, now, size.width));
        lines.extend(details(state, size.width, share, log_lines));
    }
    lines
}

/// What moves in a step and what its process wrote last, in at most `room` lines.
fn details(state: &StepState, width: usize, room: usize, log_lines: usize) -> Vec<String> {
    let moving = state.items.iter().filter(|item| !item.done);
    let done = state.items.iter().filter(|item| item.done);
    let mut lines: Vec<String> = moving
        .chain(done)
        .take(ITEMS.min(room))
        .map(|item| cut(&format!(" => => {}{}", item.name, item.progress()), width))
        .collect();
    let count = log_lines.min(room.saturating_sub(lines.len()));
    let skipped = state.log.len().saturating_sub(count);
    for line in state.log.iter().skip(skipped) {
        let text = line.text.replace('\t', "    ");
        lines.push(cut(&format!("{LOG_MARK}{text}"), width));
    }
    lines
}

fn header(now: Duration, steps: &Steps) -> String {
    let (ended, all) = steps.count();
    format!("[+] Building {} ({ended}/{all})", text::seconds(now))
}

/// ` => CACHED [1/3] FROM debian      0.0s`, the time at the right edge.
fn step_line(state: &StepState, outcome: Option<&Outcome>, now: Duration, width: usize) -> String {
    let mark = match outcome {
        None | Some(Outcome::Done) => "",
        Some(Outcome::Cached) => "CACHED ",
        Some(Outcome::Failed(_)) => "ERROR ",
        Some(Outcome::Cancelled) => "CANCELED ",
    };
    let took = text::seconds(now.saturating_sub(state.started));
    let room = width.saturating_sub(took.len() + 2);
    let left = cut(&format!(" => {mark}{}", state.name.replace('\t', " ")), room);
    let gap = width.saturating_sub(1 + took.len() + console::measure_text_width(&left));
    format!("{left}{:gap$}{took}", "")
}

/// One column stays free: a line of exactly the terminal's width wraps on some.
fn cut(line: &str, width: usize) -> String {
    console::truncate_str(line, width.saturating_sub(1), "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use solver::{StepId, Stream};

    fn two_running() -> Steps {
        let mut steps = Steps::default();
        for (number, name) in [
            (1, "[1/3] FROM x"),
            (2, "[2/3] RUN make"),
            (3, "[other 2/2] RUN 測試測試測試測試測試"),
        ] {
            let step = StepId(number);
            let name = name.to_owned();
            steps.apply(Duration::ZERO, &Event::Started { step, name });
        }
        let step = StepId(1);
        let outcome = Outcome::Cached;
        steps.apply(Duration::ZERO, &Event::Finished { step, outcome });
        for number in 0..9 {
            let event = Event::Line {
                step: StepId(2),
                stream: Stream::Stderr,
                text: format!("line {number} \x1b[2Jlonger than the terminal is wide").into_bytes(),
            };
            steps.apply(Duration::from_secs(1), &event);
        }
        steps
    }

    #[test]
    fn the_picture_shows_running_steps_with_their_last_lines() {
        let size = Size { width: 32, height: 24 };
        let lines = frame(Duration::from_millis(3200), &two_running(), size, 2);
        assert_eq!(
            lines,
            [
                "[+] Building 3.2s (1/3)",
                " => [2/3] RUN make         3.2s",
                " => => # line 7 longer than th…",
                " => => # line 8 longer than th…",
                " => [other 2/2] RUN 測試…  3.2s",
            ]
        );
    }

    #[test]
    fn no_picture_is_larger_than_the_terminal() {
        let steps = two_running();
        for width in 20..60 {
            for height in 4..20 {
                let lines = frame(Duration::from_secs(100), &steps, Size { width, height }, 6);
                assert!(lines.len() < height, "{height}: {lines:?}");
                for line in lines {
                    assert!(console::measure_text_width(&line) < width, "{width}: {line}");
                }
            }
        }
    }
}
