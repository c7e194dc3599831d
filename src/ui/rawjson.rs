//! Progress for programs: one JSON document a line, in the form of BuildKit's `SolveStatus`.
//!
//! ```text
//! {"vertexes":[{"digest":"sha256:…","name":"[2/3] RUN make","started":"…"}]}
//! {"logs":[{"vertex":"sha256:…","stream":1,"data":"<base64>","timestamp":"…"}]}
//! {"statuses":[{"id":"sha256:…","vertex":"sha256:…","current":5,"total":9,"timestamp":"…","started":"…"}]}
//! {"vertexes":[{"digest":"sha256:…","name":"[2/3] RUN make","started":"…","completed":"…"}]}
//! ```
//!
//! A step's digest is that of its number and name: it tells steps of one build apart, and no more.

use std::io::{self, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use oci::Digest;
use serde_json::{Map, Value, json};
use solver::{Event, Outcome, StepId, Stream};

use super::steps::{StepState, Steps, step_of};
use super::{Display, text};

/// Writes one document for each event to `out`.
pub(crate) struct RawJson<W> {
    out: W,
    start: Timestamp,
    /// What is not written yet.
    lines: Vec<Value>,
}

impl<W: Write> RawJson<W> {
    /// Progress that began at `start`.
    pub(crate) fn new(out: W, start: Timestamp) -> RawJson<W> {
        RawJson {
            out,
            start,
            lines: Vec::new(),
        }
    }

    fn time(&self, at: Duration) -> String {
        let passed = SignedDuration::try_from(at).unwrap_or(SignedDuration::MAX);
        self.start.saturating_add(passed).unwrap_or(self.start).to_string()
    }

    fn vertex(&self, step: StepId, state: &StepState) -> Value {
        let mut vertex = Map::new();
        vertex.insert("digest".to_owned(), json!(digest(step, state)));
        vertex.insert("name".to_owned(), json!(state.name));
        vertex.insert("started".to_owned(), json!(self.time(state.started)));
        if let Some(ended) = state.ended {
            vertex.insert("completed".to_owned(), json!(self.time(ended)));
        }
        match &state.outcome {
            Some(Outcome::Cached) => vertex.insert("cached".to_owned(), json!(true)),
            Some(Outcome::Failed(failure)) => vertex.insert("error".to_owned(), json!(failure.message)),
            Some(Outcome::Cancelled) => vertex.insert("error".to_owned(), json!("context canceled")),
            Some(Outcome::Done) | None => None,
        };
        json!({ "vertexes": [vertex] })
    }

    fn log(&self, at: Duration, vertex: Digest, (stream, text): (u8, &[u8])) -> Value {
        let data = STANDARD.encode([text, b"\n"].concat());
        json!({ "logs": [{ "vertex": vertex, "stream": stream, "data": data, "timestamp": self.time(at) }] })
    }

    fn status(&self, at: Duration, vertex: Digest, state: &StepState, name: &str) -> Option<Value> {
        let item = state.items.iter().find(|item| item.name == name)?;
        let mut status = json!({
            "id": item.name,
            "vertex": vertex,
            "current": item.current,
            "timestamp": self.time(at),
            "started": self.time(item.started),
        });
        if let Some(total) = item.total {
            status["total"] = json!(total);
        }
        if item.done {
            status["completed"] = json!(self.time(item.seen));
        }
        Some(json!({ "statuses": [status] }))
    }
}

fn digest(step: StepId, state: &StepState) -> Digest {
    Digest::of(format!("{} {}", step.0, state.name).as_bytes())
}

impl<W: Write + Send> Display for RawJson<W> {
    fn take(&mut self, at: Duration, event: &Event, steps: &Steps) {
        let step = step_of(event);
        let Some(state) = steps.get(step) else { return };
        let vertex = digest(step, state);
        let line = match event {
            Event::Started { .. } | Event::Finished { .. } => Some(self.vertex(step, state)),
            Event::Line { stream, text, .. } => {
                let number = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                Some(self.log(at, vertex, (number, text)))
            }
            Event::Note { text, .. } => Some(self.log(at, vertex, (2, text.as_bytes()))),
            Event::Running { .. } => None,
            Event::Moved { item, .. } => {
                let name = text::harmless(item.as_bytes());
                self.status(at, vertex, state, &name)
            }
        };
        self.lines.extend(line);
    }

    fn refresh(&mut self, _: Duration, _: &Steps) -> io::Result<()> {
        for line in self.lines.drain(..) {
            writeln!(self.out, "{}", text::harmless_json(&line.to_string()))?;
        }
        self.out.flush()
    }

    fn finish(&mut self, now: Duration, steps: &Steps) -> io::Result<()> {
        self.refresh(now, steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_a_document_of_its_own() {
        let step = StepId(1);
        let name = "[1/1] RUN x".to_owned();
        let (item, text) = ("sha256:aa".to_owned(), b"hi".to_vec());
        let events = [
            Event::Started { step, name },
            Event::Line {
                step,
                stream: Stream::Stderr,
                text,
            },
            Event::Moved {
                step,
                item,
                current: 3,
                total: Some(3),
                done: true,
            },
            Event::Finished {
                step,
                outcome: Outcome::Cached,
            },
        ];
        let mut out = Vec::new();
        let mut shown = RawJson::new(&mut out, Timestamp::UNIX_EPOCH);
        let mut steps = Steps::default();
        for (second, event) in events.iter().enumerate() {
            let at = Duration::from_secs(second as u64);
            steps.apply(at, event);
            shown.take(at, event, &steps);
        }
        shown.finish(Duration::ZERO, &steps).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let digest = Digest::of(b"1 [1/1] RUN x").to_string();
        assert_eq!(
            lines[0],
            json!({"vertexes": [{"digest": digest, "name": "[1/1] RUN x", "started": "1970-01-01T00:00:00Z"}]})
        );
        assert_eq!(
            lines[1],
            json!({"logs": [{"vertex": digest, "stream": 2, "data": "aGkK", "timestamp": "1970-01-01T00:00:01Z"}]})
        );
        let status = &lines[2]["statuses"][0];
        assert_eq!((&status["current"], &status["total"]), (&json!(3), &json!(3)));
        assert_eq!(status["completed"], "1970-01-01T00:00:02Z");
        assert_eq!(lines[3]["vertexes"][0]["cached"], true);
        assert_eq!(lines[3]["vertexes"][0]["completed"], "1970-01-01T00:00:03Z");
    }
}
