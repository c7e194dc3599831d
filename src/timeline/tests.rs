//! What is written for what happens.

use std::time::Duration;

use serde_json::Value;
use solver::{Outcome, Reporter};

use super::*;

/// The events of a trace into which `record` writes.
fn events(record: impl FnOnce(&Arc<Timeline>)) -> Vec<Value> {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("trace.json");
    let timeline = Arc::new(Timeline {
        start: Instant::now(),
        recorded: Mutex::new(Recorded {
            file: TraceFile::create(&path).unwrap(),
            steps: Steps::default(),
        }),
    });
    record(&timeline);
    assert_eq!(timeline.finish(), None);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut events: Vec<Value> = serde_json::from_str(&text).unwrap();
    events.retain(|event| event["ph"] != "M");
    events
}

fn reporter(timeline: &Arc<Timeline>) -> Reporter {
    let timeline = timeline.clone();
    Reporter::new(Arc::new(move |event| timeline.step(&event)))
}

#[test]
fn a_trace_of_nothing_is_one() {
    assert_eq!(events(|_| {}), Vec::<Value>::new());
}

#[test]
fn steps_lie_in_lanes_as_few_as_there_were_at_once() {
    let events = events(|timeline| {
        let reporter = reporter(timeline);
        let first = reporter.start("first");
        reporter.start("second \"quoted\"\n").done();
        reporter.start("third").failed(solver::Failure::default());
        drop(first);
        let _left = reporter.start("fourth");
        timeline.finish();
    });
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let outcome = event["args"]["outcome"].as_str().unwrap();
            (event["name"].as_str().unwrap(), event["tid"].as_u64().unwrap(), outcome)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("second \"quoted\"\n", 2, "done"),
            ("third", 2, "failed"),
            ("first", 1, "cancelled"),
            ("fourth", 1, "abandoned"),
        ]
    );
}

#[test]
fn what_was_found_is_an_instant() {
    let events = events(|timeline| reporter(timeline).start("FROM busybox").cached());
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["ph"], &events[0]["cat"], &events[0]["name"]),
        (&"i".into(), &"cached".into(), &"FROM busybox".into())
    );
}

#[test]
fn bytes_of_all_items_are_counted_once() {
    let events = events(|timeline| {
        let step = reporter(timeline).start("pull");
        step.moved("a", 10, None, false);
        step.moved("b", 5, None, true);
        step.moved("a", 30, None, true);
        step.moved("c", 0, None, true);
        step.done();
    });
    let counted = events.iter().filter(|event| event["ph"] == "C");
    let counted: Vec<_> = counted.map(|event| event["args"]["bytes"].as_u64().unwrap()).collect();
    assert_eq!(counted, [10, 15, 35]);
}

#[test]
fn spans_and_flights_say_what_they_were_about() {
    let span = |track, of: Option<&'static str>, bytes| {
        events(|timeline| {
            timeline.ended(&Ended {
                phase: "unpack",
                of: of.as_ref().map(|of| of as &dyn std::fmt::Display),
                bytes,
                began: timeline.start,
                track,
            });
        })
    };
    let on_thread = span(trace::Track::Thread, Some("a \"layer\""), Some(9));
    assert_eq!(on_thread[0]["ph"], "X");
    assert_eq!(
        on_thread[0]["args"],
        serde_json::json!({"of": "a \"layer\"", "bytes": 9})
    );
    assert_eq!(
        span(trace::Track::Thread, None, Some(1))[0]["args"],
        serde_json::json!({"bytes": 1})
    );
    let flight = span(trace::Track::Flight(3), Some("x"), None);
    let halves: Vec<_> = flight
        .iter()
        .map(|event| (event["ph"].as_str().unwrap(), &event["id"]))
        .collect();
    assert_eq!(halves, [("b", &3.into()), ("e", &3.into())]);
}

#[test]
fn the_file_ends_with_a_whole_event_at_any_time() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("trace.json");
    let mut file = TraceFile::create(&path).unwrap();
    let mut steps = Steps::default();
    for number in 0..1000_u64 {
        let (id, at) = (solver::StepId(number), Duration::from_millis(number));
        let name = format!("step {number}");
        file.add(at, |out| steps.apply(out, at, &Event::Started { step: id, name }));
        let outcome = Outcome::Done;
        file.add(at, |out| steps.apply(out, at, &Event::Finished { step: id, outcome }));
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("step 5"), "nothing was written before the end");
    serde_json::from_str::<Vec<Value>>(&format!("{text}]")).unwrap();
}
