//! What follows `RUN --mount=`: it is refused in words or planned, twice the same, and then it is mounted below the root.

use frontend::{Findings, Options};
use futures_util::FutureExt;
use graph::Op;

use super::dockerfile::Images;

/// Plans a step with the mount.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if text.contains(['\n', '\r']) {
        return;
    }
    let dockerfile = format!("FROM scratch AS a\nFROM b\nARG x=y\nRUN --mount={text} true\n");
    let options = Options::new("linux/amd64".parse().expect("a platform"));
    let plan = || {
        let planned = frontend::plan(dockerfile.as_bytes(), &options, &Images, &Findings::new()).now_or_never();
        planned.expect("nobody is waited for")
    };
    match (plan(), plan()) {
        (Ok(one), Ok(two)) => {
            let [text, again] = [&one, &two].map(|plan| graph::dump::definition(&plan.definition));
            assert_eq!(text, again);
            let steps = one.definition.iter().filter_map(|(_, vertex)| match &vertex.op {
                Op::Exec(step) => Some(step),
                _ => None,
            });
            for mount in steps.flat_map(|step| &step.mounts) {
                assert!(mount.target.starts_with('/'), "{mount:?}");
            }
        }
        (Err(one), Err(two)) => assert_eq!(one.to_string(), two.to_string()),
        _ => panic!("the same text gives the same answer"),
    }
}
