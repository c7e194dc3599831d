//! `--trace`: what a build's trace tells, and that there is one however the build ends.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Bases, Workshop, ends_with, eventually, run};

const DOCKERFILE: &str = "\
FROM busybox AS made
RUN echo one > /one
FROM busybox
COPY file /
COPY --from=made /one /
RUN cat /one /file
";

#[test]
fn a_trace_shows_every_step_and_phase_in_its_place() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("app", &[("Dockerfile", DOCKERFILE), ("file", "text")]);
    let (cold, warm) = (workshop.path("cold.json"), workshop.path("warm.json"));
    run(workshop
        .build(bases, &context)
        .args(["-t", "app", "--trace"])
        .arg(&cold));
    run(workshop
        .build(bases, &context)
        .args(["-t", "app", "--trace"])
        .arg(&warm));

    let cold = Trace::read(&cold);
    for step in [
        "RUN echo one > /one",
        "COPY file /",
        "COPY --from=made /one /",
        "RUN cat /one /file",
        "exporting to image",
    ] {
        assert_eq!(cold.steps("done", step), 1, "{step}");
    }
    assert_nests(&cold);
    for (phase, within) in [
        ("start sandbox", &["run"][..]),
        ("run", &["step"]),
        ("mount", &["step", "checksum"]),
        ("prepare", &["step", "unpack"]),
        ("change files", &["step"]),
        ("commit", &["step"]),
        ("record", &["step"]),
        ("isolate", &["rbuild"]),
        ("open store", &["rbuild"]),
        ("look up", &["rbuild"]),
        ("key", &["rbuild"]),
    ] {
        cold.assert_within(phase, within);
    }
    for phase in ["unpack", "fetch", "checksum", "walk context", "diff", "write image"] {
        assert!(cold.has(phase), "no phase {phase}");
    }

    let warm = Trace::read(&warm);
    for step in ["RUN echo one > /one", "COPY file /", "RUN cat /one /file"] {
        assert_eq!((warm.steps("done", step), warm.found(step)), (0, 1), "{step}");
    }
    assert!(!warm.has("run"));

    let archived = workshop.path("archived.json");
    let archive = format!("type=oci,dest={}", workshop.path("app.tar").display());
    run(workshop
        .build(bases, &context)
        .args(["-o", &archive, "--trace"])
        .arg(&archived));
    assert!(Trace::read(&archived).has("compress"));
}

#[test]
fn a_build_that_fails_leaves_a_whole_trace() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("app", &[("Dockerfile", "FROM busybox\nRUN exit 3")]);
    let path = workshop.path("trace.json");
    ends_with(workshop.build(bases, &context).arg("--trace").arg(&path), 1);
    let trace = Trace::read(&path);
    assert_eq!(trace.steps("failed", "RUN exit 3"), 1);
    assert_nests(&trace);
}

#[test]
fn a_build_that_is_interrupted_leaves_a_whole_trace() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let context = workshop.context("app", &[("Dockerfile", "FROM busybox\nRUN echo begun; sleep 1000")]);
    let path = workshop.path("trace.json");
    let mut build = workshop.direct(bases, &context);
    let log = fs::File::create(workshop.path("log")).unwrap();
    let mut child = build
        .arg("--trace")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let begun = || fs::read_to_string(workshop.path("log")).is_ok_and(|log| log.contains(" begun"));
    assert!(eventually(Duration::from_secs(60), begun));
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let trace = Trace::read(&path);
    assert_eq!(trace.steps("cancelled", "RUN echo begun; sleep 1000"), 1);
    assert!(trace.has("run"));
}

#[test]
fn a_trace_that_cannot_be_written_is_said_at_once() {
    let workshop = Workshop::own();
    let context = workshop.context("app", &[("Dockerfile", "FROM scratch")]);
    let said = ends_with(
        workshop.rbuild().args(["--trace", "/nowhere/trace.json"]).arg(context),
        1,
    );
    assert!(said.contains("cannot write the trace /nowhere/trace.json"), "{said}");
}

/// A trace, whole: it parses as it is.
struct Trace(Vec<Value>);

/// A complete event on a track.
struct Span {
    name: String,
    track: (u64, u64),
    from: f64,
    to: f64,
}

impl Trace {
    fn read(path: &Path) -> Trace {
        let text = fs::read_to_string(path).unwrap();
        Trace(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    fn spans(&self) -> Vec<Span> {
        let complete = self.0.iter().filter(|event| event["ph"] == "X");
        let span = |event: &Value| Span {
            name: event["name"].as_str().unwrap().to_owned(),
            track: (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap()),
            from: event["ts"].as_f64().unwrap(),
            to: event["ts"].as_f64().unwrap() + event["dur"].as_f64().unwrap(),
        };
        complete.map(span).collect()
    }

    /// How many steps whose name ends so, ended so.
    fn steps(&self, outcome: &str, name: &str) -> usize {
        let ended = self.0.iter().filter(|event| event["args"]["outcome"] == outcome);
        ended
            .filter(|event| event["name"].as_str().unwrap().ends_with(name))
            .count()
    }

    fn found(&self, name: &str) -> usize {
        let found = self.0.iter().filter(|event| event["cat"] == "cached");
        found
            .filter(|event| event["name"].as_str().unwrap().ends_with(name))
            .count()
    }

    fn has(&self, phase: &str) -> bool {
        self.0.iter().any(|event| event["name"] == phase)
    }

    /// Every span of that name lies in one of another of these names, on the same track.
    fn assert_within(&self, name: &str, within: &[&str]) {
        let spans = self.spans();
        let (parents, all): (Vec<_>, Vec<_>) = (
            spans.iter().filter(|span| within.contains(&&*span.name)).collect(),
            spans.iter().filter(|span| span.name == name).collect(),
        );
        assert!(!all.is_empty(), "no phase {name}");
        for span in all {
            let holds = |parent: &&&Span| {
                parent.track == span.track && parent.from <= span.from && span.to <= parent.to + 0.002
            };
            assert!(
                parents.iter().any(|parent| holds(&parent)),
                "{name} is not in {within:?}"
            );
        }
    }
}

/// On every track, of two spans one lies in the other or they are apart.
fn assert_nests(trace: &Trace) {
    let mut tracks: HashMap<(u64, u64), Vec<Span>> = HashMap::new();
    for span in trace.spans() {
        tracks.entry(span.track).or_default().push(span);
    }
    for spans in tracks.values_mut() {
        spans.sort_by(|a, b| a.from.total_cmp(&b.from).then(b.to.total_cmp(&a.to)));
        let mut open: BTreeMap<usize, (String, f64)> = BTreeMap::new();
        for span in spans {
            while open.last_entry().is_some_and(|last| last.get().1 <= span.from) {
                open.pop_last();
            }
            if let Some(last) = open.last_entry() {
                let (name, to) = last.get();
                assert!(span.to <= to + 0.002, "{} is not within {name}", span.name);
            }
            open.insert(open.len(), (span.name.clone(), span.to));
        }
    }
}
