//! What the builder has open while a step starts leads the step nowhere: neither its working directory, nor its program,
//! nor what it is looked for in.

use std::fs;

use crate::support::{Bases, User, Workshop, text};

/// More than a step that starts has ever open.
const DESCRIPTORS: std::ops::Range<usize> = 3..16;

#[test]
fn no_descriptor_of_the_builder_is_a_way_out() {
    let Some(bases) = Bases::find() else { return };
    for user in [Some(User::Own), User::ordinary()].into_iter().flatten() {
        let workshop = Workshop::new(user);
        for options in [&[][..], &["--memory", "100m"], &["--isolation", "plain"]] {
            let outside = workshop.context("outside", &[("kept", "kept")]);
            let tool = workshop.context("tools", &[("tool", "")]).join("tool");
            fs::copy(crate::support::binary(), &tool).unwrap();
            let up = "../../../../../../../..";
            let ran = format!("rbuild {} (", env!("CARGO_PKG_VERSION"));
            for number in DESCRIPTORS {
                let here = format!("/proc/self/fd/{number}");
                let steps = [
                    format!(
                        "WORKDIR {here}\nRUN cd {up}{0} && echo got-out && touch made; true",
                        outside.display()
                    ),
                    format!("WORKDIR {here}/{up}{}/made\nRUN true", outside.display()),
                    format!("RUN [\"{here}/{up}{}\", \"--version\"]", tool.display()),
                    format!(
                        "ENV PATH={here}/{up}{}\nRUN [\"tool\", \"--version\"]",
                        tool.parent().unwrap().display()
                    ),
                ];
                for step in steps {
                    let context = workshop.context("step", &[("Dockerfile", &format!("FROM busybox\n{step}\n"))]);
                    // Whether it fails is not asked: a path may well lead to nothing.
                    let said = text(&workshop.build(bases, &context).args(options).output().unwrap().stderr);
                    let is_out = said.contains(" got-out\n") || said.contains(&ran);
                    assert!(!is_out, "{options:?} {step}: {said}");
                }
            }
            let names: Vec<_> = fs::read_dir(&outside)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(names, ["kept"], "{options:?}");
        }
    }
}
