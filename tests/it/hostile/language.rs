//! Dockerfiles whose values are made of values until there is no memory left.

use std::fmt::Write as _;

use crate::support::{Workshop, ends_with};

/// A megabyte in `$A5`.
fn growing() -> String {
    let mut text = "ARG A0=aaaaaaaaaa\n".to_owned();
    for number in 1..=5 {
        let before = format!("$A{}", number - 1);
        writeln!(text, "ARG A{number}={}", before.repeat(10)).unwrap();
    }
    text
}

#[test]
fn values_made_of_values_are_refused_by_their_line() {
    let lines = |line: fn(usize) -> String| (0..1000).map(line).collect::<String>();
    let cases = [
        (
            "replaced",
            format!("{}ARG B=${{A5//a/$A4}}\nFROM scratch\nCOPY Dockerfile /\n", growing()),
            7,
        ),
        (
            "arguments",
            format!("{}{}FROM scratch\n", growing(), lines(|n| format!("ARG B{n}=$A5\n"))),
            0,
        ),
        (
            "labels",
            format!(
                "{}FROM scratch\nARG A5\n{}",
                growing(),
                lines(|n| format!("LABEL B{n}=$A5\n"))
            ),
            0,
        ),
        (
            "stages",
            format!(
                "{}{}",
                growing(),
                lines(|n| format!("FROM scratch AS s{n}\nARG A5\nENV X{n}=$A5\n"))
            ),
            0,
        ),
        (
            "processes",
            format!(
                "{}FROM scratch\nARG A5\nENV X=$A5\n{}",
                growing(),
                lines(|n| format!("RUN echo {n}\n"))
            ),
            0,
        ),
        (
            "patterns",
            format!(
                "{}{}FROM scratch\n",
                growing(),
                lines(|n| format!("ARG B{n}=${{A5%%a*b*c*d}}\n"))
            ),
            0,
        ),
    ];
    for (name, text, line) in cases {
        let workshop = Workshop::own();
        let context = workshop.context("large", &[("Dockerfile", &text)]);
        // A build leaves out stages that it does not need.
        for how in [&["--check"][..], &[]]
            .into_iter()
            .take(if name == "stages" { 1 } else { 2 })
        {
            let mut command = workshop.shell("ulimit -v 4000000; exec \"$@\"");
            command
                .arg(crate::support::binary())
                .arg("--root")
                .arg(workshop.store());
            command.arg("--progress=plain").args(how).arg(&context);
            let said = ends_with(&mut command, 2);
            assert!(said.contains(">>> "), "{name} {how:?} names its line: {said}");
            if line > 0 {
                assert!(said.contains(&format!("Dockerfile:{line}\n")), "{name} {how:?}: {said}");
            }
        }
    }
}
