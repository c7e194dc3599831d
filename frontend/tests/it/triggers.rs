//! ONBUILD: what a base leaves to be done is done first, once, and may need more than the Dockerfile says.

use frontend::{Findings, Plan};
use futures_util::FutureExt;

use crate::images::{images, options, plan, plan_with, refusal};

/// Names of steps, without those of bases and contexts.
fn steps(plan: &Plan) -> Vec<&str> {
    let names = plan.definition.iter().map(|(_, vertex)| vertex.metadata.name.as_str());
    names
        .filter(|name| name.contains("] ") && !name.contains("FROM") && !name.contains("[internal]"))
        .collect()
}

#[test]
fn the_triggers_of_a_base_are_done_first() {
    for (text, expected) in [
        (
            "FROM conf/onbuild\nRUN b\n",
            &["[2/3] ONBUILD RUN touch /onbuild.txt", "[3/3] RUN b"][..],
        ),
        (
            "FROM scratch AS a\nONBUILD RUN 1\nONBUILD ENV x=1\nONBUILD RUN 2\nRUN own\nFROM a\nRUN 3\n",
            &[
                "[a 1/1] RUN own",
                "[stage-1 1/4] ONBUILD RUN 1",
                "[stage-1 2/4] ONBUILD RUN 2",
                "[stage-1 3/4] RUN 3",
            ],
        ),
        // What is based on the stage that had them does not have them again.
        (
            "FROM conf/onbuild AS a\nFROM a AS b\nFROM b\nRUN c\n",
            &["[a 2/2] ONBUILD RUN touch /onbuild.txt", "[stage-2 1/1] RUN c"],
        ),
        (
            "FROM scratch AS a\nONBUILD ENV v=1\nFROM a AS b\nFROM a AS c\nFROM c\nRUN $v\n",
            &["[stage-3 1/1] RUN 1"],
        ),
        // An image that is only copied from is taken as it is.
        (
            "FROM scratch\nCOPY --from=conf/onbuild /x /\n",
            &["[stage-0 1/1] COPY --from=conf/onbuild /x /"],
        ),
    ] {
        let plan = plan(text);
        assert_eq!(steps(&plan), expected, "{text}");
        assert!(plan.images[0].config.config.on_build.is_empty(), "{text}");
    }
}

#[test]
fn triggers_bring_in_stages_and_images() {
    let images = images();
    let text = "FROM nowhere AS unused\nFROM busybox AS tool\nFROM conf/rich AS number\nFROM scratch AS base\n\
         ONBUILD COPY --from=TOOL /t /\nONBUILD COPY --from=2 /n /\nONBUILD COPY --from=conf/empty /e /\n\
         ONBUILD RUN --mount=from=conf/onbuild,target=/m x\nFROM base\n";
    let plan = frontend::plan(text.as_bytes(), &options(), &images, &Findings::new())
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(steps(&plan).len(), 4);
    assert_eq!(
        images.asked.lock().unwrap().len(),
        4,
        "each image once, and none that nothing needs"
    );
}

#[test]
fn a_trigger_can_hold_a_document_and_leave_a_trigger() {
    let text =
        "FROM scratch AS a\nARG v=stage\nONBUILD COPY <<E /f\n$v\nE\nONBUILD RUN <<E\nx $v\nE\nFROM a\nARG v=child\n";
    let dump = graph::dump::definition(&plan(text).definition);
    assert!(
        dump.contains("make file /E of 6 bytes"),
        "the value is that of the base's ARG: {dump}"
    );
    assert!(dump.contains("x $v"), "{dump}");
    let child = plan("FROM conf/twice\n");
    assert_eq!(child.images[0].config.config.on_build, ["RUN later"]);
}

#[test]
fn triggers_that_make_no_sense_are_refused() {
    for (text, message) in [
        (
            "FROM scratch AS a\nONBUILD COPY --from=9 /x /\nFROM a\n",
            "invalid stage index 9",
        ),
        (
            "FROM scratch AS a\nONBUILD COPY --from=b /x /\nFROM a AS b\nFROM b\n",
            "circular dependency detected on stage: b",
        ),
        (
            "FROM scratch AS a\nONBUILD COPY --from=later /x /\nFROM a AS b\nFROM scratch AS later\nFROM b\n",
            "cannot copy from stage \"later\", it needs to be defined before current stage \"b\"",
        ),
        ("FROM conf/wrong\n", "onbuild trigger should be a single expression"),
        ("FROM conf/from\n", "FROM isn't allowed as an ONBUILD trigger"),
    ] {
        assert_eq!(refusal(text, &options()), message, "{text}");
    }
    let error = plan_with("FROM conf/from\n", &options()).unwrap_err();
    let hint = error.hint().unwrap();
    assert!(
        hint.starts_with("its base left this to be done here: ONBUILD FROM "),
        "{hint}"
    );
}

#[test]
fn triggers_do_not_multiply_without_end() {
    let mut text = String::from("FROM scratch AS a\n");
    text.push_str(&"ONBUILD USER x\n".repeat(3_000));
    text.push_str(&"FROM a AS b\n".repeat(30));
    for place in 1..30 {
        text.push_str(&format!("COPY --from={place} / /\n"));
    }
    let message = refusal(&text, &options());
    assert_eq!(message, "more than 65536 ONBUILD triggers are to be run");
}
