//! Spans and who hears of them. One test, because a process has one recorder.

use std::sync::Mutex;

use super::*;

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Heard;

impl Recorder for Heard {
    fn ended(&self, ended: &Ended<'_>) {
        let of = ended.of.map(ToString::to_string).unwrap_or_default();
        let track = match ended.track {
            Track::Thread => "thread",
            Track::Flight(_) => "flight",
        };
        let line = format!("{} {of} {:?} {track}", ended.phase, ended.bytes);
        HEARD.lock().unwrap().push(line);
    }
}

struct NotToBeShown;

impl Display for NotToBeShown {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("nobody listens, and yet it is formatted")
    }
}

#[test]
fn spans_are_told_as_they_end_and_only_when_someone_listens() {
    let before = span_of("before", &NotToBeShown);
    record_to(Box::new(Heard));
    drop(before);
    {
        let _outer = span("outer");
        let mut inner = span_of("inner", &"file");
        inner.bytes(7);
    }
    drop(flight_of("wait", &"registry"));
    let heard = HEARD.lock().unwrap();
    assert_eq!(
        *heard,
        [
            "inner file Some(7) thread",
            "outer  None thread",
            "wait registry None flight"
        ]
    );
}
