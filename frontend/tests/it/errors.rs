//! What is refused, and in which words.

use frontend::{Diagnostic, Error, NamedContext};
use graph::SourceLines;

use crate::images::{options, plan_with, refusal};

fn diagnostic(text: &str) -> Diagnostic {
    match plan_with(text, &options()).unwrap_err() {
        Error::Dockerfile(diagnostic) => diagnostic,
        other => panic!("{other}"),
    }
}

#[test]
fn wrong_instructions_are_named() {
    for (instruction, message) in [
        ("CPOY a /", "unknown instruction: CPOY (did you mean COPY?)"),
        ("cpoy a /", "unknown instruction: cpoy (did you mean copy?)"),
        ("COPY --chwon=1 a /", "unknown flag: --chwon (did you mean chown?)"),
        ("COPY --chown=1 --chown=2 a /", "duplicate flag specified: --chown"),
        ("COPY --chown a /", "missing a value on flag: --chown"),
        ("COPY --link=x a /", "expecting boolean value for flag --link, not: x"),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY a <<b\nb", "COPY cannot accept a heredoc as a destination"),
        ("FROM a b", "FROM requires either one or three arguments"),
        (
            "FROM scratch AS 1x",
            "invalid name for build stage: \"1x\", name can't start with a number or contain symbols",
        ),
        ("SHELL /bin/sh -c", "SHELL requires the arguments to be in JSON form"),
        (
            "HEALTHCHECK --interval=1ns CMD x",
            "Interval \"interval\" cannot be less than 1ms",
        ),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK TCP 1", "Unknown type \"TCP\" in HEALTHCHECK (try CMD)"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        (
            "ONBUILD ONBUILD RUN x",
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        ("ENV =1", "ENV names can not be blank"),
        ("USER", "USER requires exactly one argument"),
        ("RUN --mount= a", "failed to parse csv mounts: EOF"),
        ("RUN --network=x a", "invalid network mode \"x\""),
        (
            "RUN --mount=from=$x,target=/a b",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
    ] {
        let found = diagnostic(&format!("FROM scratch\n{instruction}\n"));
        assert_eq!(found.message, format!("dockerfile parse error on line 2: {message}"));
        assert_eq!(found.lines[0].0.start, 2);
    }
}

#[test]
fn wrong_values_are_named() {
    for (instructions, message) in [
        ("EXPOSE abc", "invalid containerPort: abc"),
        ("STOPSIGNAL SIGNOPE", "invalid signal: SIGNOPE"),
        (
            "COPY --chmod=9 a /a",
            "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777",
        ),
        (
            "ADD --chmod=rwx a /a",
            "invalid chmod parameter: 'rwx'. it should be an octal string or like u=rwX,go=rX",
        ),
        (
            "COPY --exclude=[ a /a",
            "invalid --exclude: syntax error in pattern `[`",
        ),
        ("COPY https://a/b /", "source can't be a URL for COPY"),
        ("COPY git@a.b:c/d /", "source can't be a git ref for COPY"),
        (
            "ADD --checksum=sha256:0 a /",
            "checksum requires HTTP(S) or Git sources",
        ),
        ("RUN --network=host true", "network.host is not allowed"),
        ("RUN --security=insecure true", "security.insecure is not allowed"),
        ("RUN []", "arguments are required"),
        (
            "RUN --mount=typ=bind true",
            "unexpected key 'typ' in 'typ=bind' (did you mean type?)",
        ),
        (
            "RUN --mount=type=tmp true",
            "unsupported mount type \"tmp\" (did you mean tmpfs?)",
        ),
        (
            "RUN --mount=type=tmpfs,target=/a,uid=1 true",
            "uid not allowed for \"tmpfs\" type mounts",
        ),
        (
            "ENV x=\"${NOPE:?must be set}\"",
            "failed to process \"\\\"${NOPE:?must be set}\\\"\": NOPE: must be set",
        ),
    ] {
        let found = diagnostic(&format!("FROM scratch\n{instructions}\n"));
        assert_eq!(found.message, message);
        assert_eq!(found.lines, [SourceLines(2..3)]);
    }
}

#[test]
fn what_is_not_converted_yet_is_named_with_its_line() {
    assert_eq!(
        refusal("FROM scratch\nRUN --device=a/b=c x\n", &options()),
        "RUN --device is not supported yet (Dockerfile line 2)"
    );
    assert_eq!(
        refusal("# syntax=example.com/other:1\nFOO", &options()),
        "the syntax `example.com/other:1` is not supported yet (Dockerfile line 1)"
    );
}

#[test]
fn only_the_built_in_frontend_is_taken() {
    let own = "FROM scratch\n";
    for text in [
        "docker/dockerfile:1",
        "docker.io/docker/dockerfile-upstream:master x",
        "dockerfile.v0",
    ] {
        plan_with(&format!("# syntax={text}\n{own}"), &options()).unwrap();
    }
    for (text, message) in [
        (
            "//syntax=a\n",
            "the syntax `a` is not supported yet (Dockerfile line 1)",
        ),
        (
            "{\"syntax\": \"a\"}",
            "the syntax `a` is not supported yet (Dockerfile line 1)",
        ),
        (
            "#!x\n# syntax=docker/dockerfiles\n",
            "the syntax `docker/dockerfiles` is not supported yet (Dockerfile line 2)",
        ),
        (
            "# syntax=example.com/docker/dockerfile",
            "the syntax `example.com/docker/dockerfile` is not supported yet (Dockerfile line 1)",
        ),
        ("# syntax= \n", "invalid context name : invalid reference format"),
        (
            "# syntax=docker/dockerfile:1@x\n",
            "invalid context name docker/dockerfile:1@x: invalid reference format",
        ),
    ] {
        assert_eq!(refusal(text, &options()), message, "{text}");
    }
    let given = |value: &str| {
        let mut options = options();
        options
            .build_args
            .insert("BUILDKIT_SYNTAX".to_owned(), value.to_owned());
        options
    };
    for value in ["dockerfile.v0", " docker/dockerfile:1 x"] {
        plan_with(&format!("# syntax=a\n{own}"), &given(value)).unwrap();
    }
    for (value, message) in [
        ("", "invalid context name : invalid reference format"),
        (
            "a/b:1",
            "the syntax `a/b:1` is not supported yet (build argument BUILDKIT_SYNTAX)",
        ),
    ] {
        assert_eq!(refusal(own, &given(value)), message, "{value}");
    }
    let mut replaced = options();
    replaced
        .contexts
        .insert("docker/dockerfile:1".to_owned(), NamedContext::Scratch);
    plan_with(own, &replaced).unwrap();
    assert_eq!(
        refusal(&format!("# syntax=docker.io/docker/dockerfile:1\n{own}"), &replaced),
        "a named context in place of the syntax `docker.io/docker/dockerfile:1` is not supported yet (Dockerfile line 1)"
    );
}

#[test]
fn stages_that_do_not_fit_are_named() {
    for (text, message) in [
        ("RUN true\n", "no build stage in current context"),
        ("ARG a\n", "dockerfile contains no stages to build"),
        ("ARG X\nFROM $X\n", "base name ($X) should not be blank"),
        (
            "FROM --platform=$TRAGETPLATFORM busybox\n",
            "empty platform value from expression $TRAGETPLATFORM (did you mean TARGETPLATFORM?)",
        ),
        (
            "FROM scratch AS first\nCOPY --from=later /a /b\nFROM scratch AS later\nFROM first\n",
            "cannot copy from stage \"later\", it needs to be defined before current stage \"first\"",
        ),
        (
            "FROM scratch\nARG S=x\nCOPY --from=$S a b\n",
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        ),
        ("FROM scratch\nCOPY --from=7 a b\n", "invalid stage index 7"),
        (
            "FROM scratch AS first\nRUN --mount=from=later,target=/m a\nFROM scratch AS later\nFROM first\n",
            "cannot mount from stage \"later\" to \"/m\", stage needs to be defined before current command",
        ),
        (
            "FROM scratch AS a\nRUN --mount=from=b,target=/m x\nFROM scratch AS b\nRUN --mount=from=A,target=/m x\n",
            "circular dependency detected on stage: a",
        ),
        ("FROM scratch\nRUN --mount=type=cache a\n", "invalid mount target \"/\""),
        ("FROM scratch\nRUN --mount=target=.. a\n", "invalid mount target \"/\""),
    ] {
        assert_eq!(refusal(text, &options()), message);
    }
    let mut wanted = options();
    wanted.target = Some("bulid".to_owned());
    assert_eq!(
        refusal("FROM scratch AS build\n", &wanted),
        "target stage \"bulid\" could not be found (did you mean build?)"
    );
    wanted.target = Some("0".to_owned());
    assert_eq!(
        refusal("FROM scratch AS build\n", &wanted),
        "target stage \"0\" could not be found"
    );
}

#[test]
fn a_circle_of_stages_shows_all_its_lines() {
    let found = diagnostic("FROM scratch AS a\nCOPY --from=b /x /\nFROM scratch AS b\nCOPY --from=a /x /\n");
    assert_eq!(found.message, "circular dependency detected on stage: a");
    assert_eq!(found.lines, [SourceLines(2..3), SourceLines(4..5)]);
    let mut replaced = options();
    replaced.contexts.insert("a".to_owned(), NamedContext::Scratch);
    for (text, known) in [
        (
            "FROM scratch AS a\nCOPY --from=a /x /\n",
            "circular dependency detected on stage: a",
        ),
        ("FROM scratch AS a\nCOPY --from=7 /x /\n", "invalid stage index 7"),
    ] {
        assert_eq!(
            refusal(text, &replaced),
            known,
            "a context in its place makes no difference"
        );
    }
    let long: String = (0..20_000)
        .map(|i| format!("FROM scratch AS s{i}\nCOPY --from=s{} a b\n", (i + 1) % 20_000))
        .collect();
    assert_eq!(diagnostic(&long).lines.len(), 20_000);
}

#[test]
fn an_image_that_is_missing_is_named_with_its_line() {
    let error = plan_with("FROM scratch AS build\nFROM biuld\n", &options()).unwrap_err();
    assert_eq!(error.to_string(), "cannot look up image `biuld`");
    assert_eq!(error.lines(), [SourceLines(2..3)]);
    assert_eq!(error.hint(), Some("did you mean build?"));
    assert!(
        refusal("FROM Upper\n", &options())
            .starts_with("failed to parse stage name \"Upper\": invalid reference format")
    );
}
