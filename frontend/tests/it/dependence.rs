//! What a RUN depends on of all that stands above it: which changes of a Dockerfile, or of what is asked of it, give it
//! another vertex, and which leave it as it was.

use frontend::Options;
use graph::VertexId;

use crate::images::{options, plan_with};

type Ask = fn(&mut Options);

const NOTHING: Ask = |_| {};

fn given(options: &mut Options, name: &str, value: &str) {
    options.build_args.insert(name.to_owned(), value.to_owned());
}

/// The vertex of the last step of `FROM busybox`, the instructions above, and `RUN make`.
fn step(above: &str, ask: Ask) -> VertexId {
    let mut options = options();
    options.allow_network_host = true;
    ask(&mut options);
    let plan = plan_with(&format!("FROM busybox\n{above}\nRUN make\n"), &options).unwrap();
    plan.definition.target().unwrap()
}

#[test]
fn what_makes_a_run_another() {
    let same = true;
    let other = false;
    let cases: &[(&str, &str, bool)] = &[
        ("", "# why\n", same),
        ("RUN a", "run    a", same),
        ("RUN a", "RUN \\\n # why\n\\\n a", same),
        ("RUN a b", "RUN a  b", other),
        ("RUN a", "RUN [\"a\"]", other),
        ("ENV a=1", "ENV a=2", other),
        ("ENV a=1", "ENV a 1", same),
        ("ENV a=1 b=2", "ENV a=1\nENV b=2", same),
        ("ENV a=1 b=2", "ENV b=2 a=1", other),
        ("ENV a=1", "ENV a=0\nENV a=1", same),
        ("", "ENV a=1", other),
        ("ARG a=1", "ARG a=2", other),
        ("", "ARG a", same),
        ("ARG a=1\nENV a=3", "ARG a=2\nENV a=3", same),
        ("LABEL a=1", "LABEL a=2", same),
        (
            "",
            "CMD x\nENTRYPOINT y\nEXPOSE 80\nVOLUME /v\nSTOPSIGNAL 9\nHEALTHCHECK CMD z\nMAINTAINER m",
            same,
        ),
        ("", "ONBUILD RUN x", same),
        ("", "SHELL [\"/bin/bash\", \"-c\"]", other),
        ("", "USER 5", other),
        ("USER 5", "USER 6", other),
        ("", "WORKDIR /", same),
        ("", "WORKDIR /w", other),
        ("RUN --network=none a", "RUN a", other),
        ("RUN --mount=type=tmpfs,target=/t a", "RUN a", other),
        (
            "RUN --mount=type=tmpfs,target=/t a",
            "RUN --mount=type=tmpfs,size=1m,target=/t a",
            other,
        ),
        (
            "RUN --mount=type=tmpfs,target=/t a",
            "RUN --mount=target=/t,type=tmpfs a",
            same,
        ),
        (
            "RUN --mount=type=secret,id=a x",
            "RUN --mount=type=secret,id=b x",
            other,
        ),
        ("RUN <<E\na\nE", "RUN <<F\na\nF", same),
        ("RUN <<E\na\nE", "RUN <<E\nb\nE", other),
    ];
    for (one, two, expected) in cases {
        assert_eq!(
            step(one, NOTHING) == step(two, NOTHING),
            *expected,
            "{one:?} and {two:?}"
        );
    }
}

#[test]
fn what_is_asked_of_a_build_and_makes_a_run_another() {
    let cases: &[(&str, &str, Ask, bool)] = &[
        ("an argument nobody declares", "", |o| given(o, "a", "1"), true),
        ("an argument that is declared", "ARG a", |o| given(o, "a", "1"), false),
        ("the default of an argument", "ARG a=1", |o| given(o, "a", "1"), true),
        (
            "an argument under a variable",
            "ARG a=1\nENV a=2",
            |o| given(o, "a", "3"),
            true,
        ),
        ("a proxy", "", |o| given(o, "HTTP_PROXY", "http://p"), true),
        (
            "a proxy that is declared",
            "ARG HTTP_PROXY",
            |o| given(o, "HTTP_PROXY", "http://p"),
            false,
        ),
        ("a label", "", |o| drop(o.labels.insert("a".into(), "b".into())), true),
        ("the size of /dev/shm", "", |o| o.shm_size = Some(1 << 20), false),
        (
            "another name of a host",
            "",
            |o| o.extra_hosts.push(("h".into(), "1.2.3.4".into())),
            false,
        ),
        ("patterns of the ignore file", "", |o| o.excludes.push("x".into()), true),
        (
            "the name of the machine",
            "",
            |o| given(o, "BUILDKIT_SANDBOX_HOSTNAME", "m"),
            false,
        ),
        ("no cache", "", |o| o.no_cache = frontend::NoCache::All, true),
    ];
    for (what, above, ask, same) in cases {
        assert_eq!(step(above, NOTHING) == step(above, *ask), *same, "{what}");
    }
    let address = |address: &'static str| {
        let mut options = options();
        options.extra_hosts.push(("h".into(), address.into()));
        plan_with("FROM busybox\nRUN make\n", &options)
            .unwrap()
            .definition
            .target()
    };
    assert_eq!(address("1.1.1.1"), address("2.2.2.2"), "the address of a host");
}
