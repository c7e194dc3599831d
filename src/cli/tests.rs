//! Command lines and what they are taken for.

use std::time::Duration;

use super::*;

fn typed(line: &str) -> Cli {
    let words = line.split_whitespace().map(OsString::from);
    parse(std::iter::once(OsString::from("rbuild")).chain(words)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn build(line: &str) -> BuildArgs {
    match typed(line).command {
        Command::Build(args) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> String {
    let words = line.split_whitespace().map(OsString::from);
    let parsed = parse(std::iter::once(OsString::from("rbuild")).chain(words));
    parsed.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_line_without_a_command_builds() {
    for line in [
        ".",
        "-t a .",
        "build .",
        "--root /x -t a .",
        "--root=/x .",
        "./images",
        "-t images images",
    ] {
        build(line);
    }
    assert!(matches!(typed("images").command, Command::Images(_)));
    assert!(matches!(typed("--root /x images").command, Command::Images(_)));
    assert!(matches!(typed("images --root /x").command, Command::Images(_)));
    assert_eq!(typed("-t a . --root /x").root, Some(PathBuf::from("/x")));
}

#[test]
fn switches_take_gos_values() {
    for (line, push, pull) in [
        ("--push .", true, false),
        ("--push=true --pull=1 .", true, true),
        ("--push=false .", false, false),
        ("--push --push=false .", false, false),
        ("--push=false --push .", true, false),
        ("--push --push .", true, false),
    ] {
        let args = build(line);
        assert_eq!((args.output.push, args.input.pull), (push, pull), "{line}");
    }
    assert!(refusal("--push=maybe .").contains("unexpected value 'maybe'"));
    assert!(build("-q=true .").work.quiet);
    let args = build("-qt a .");
    assert!(args.work.quiet);
    assert_eq!(args.output.tag, ["a"]);
}

#[test]
fn of_single_values_the_last_counts_and_lists_grow() {
    let args = build("-f a --file=b -t x --tag y --build-arg A=1 --build-arg B .");
    assert_eq!(args.input.file, Some(PathBuf::from("b")));
    assert_eq!(args.output.tag, ["x", "y"]);
    let keys: Vec<&str> = args.input.build_arg.iter().map(|pair| pair.key.as_str()).collect();
    assert_eq!(keys, ["A", "B"]);
    assert_eq!(args.input.build_arg[1].value, None);
}

#[test]
fn flags_not_supported_are_refused_by_name() {
    let complaint = build("--policy x .").not_yet.complaint();
    assert_eq!(complaint.as_deref(), Some("--policy is not supported yet"));
    assert_eq!(build("--rm --force-rm --compress .").not_yet.complaint(), None);
    assert_eq!(build("--squash --security-opt a .").not_yet.warnings.len(), 2);
    assert!(refusal("--isolation hyperv .").contains("auto, namespaces, plain"));
    assert!(refusal("--progress fancy .").contains("expected auto, plain, tty, quiet, none or rawjson"));
    assert!(refusal("--no-such .").contains("--no-such"));
}

#[test]
fn attestations_may_be_switched_off() {
    assert_eq!(
        build("--provenance=false --sbom=false .").output.sbom.as_deref(),
        Some("false")
    );
    assert_eq!(build(". --provenance").output.provenance.as_deref(), Some("true"));
}

#[test]
fn a_run_passes_flags_after_the_name_on() {
    let Command::Run(args) = typed("run -it -e A=1 --entrypoint /x alpine ls -l --push=true").command else {
        panic!("not a run");
    };
    assert!(args.interactive && args.tty);
    assert_eq!(args.command, ["ls", "-l", "--push=true"]);
}

#[test]
fn sizes_and_durations_have_units() {
    for (text, bytes) in [
        ("0", 0),
        ("64", 64),
        ("1k", 1024),
        ("512m", 512 << 20),
        ("10GB", 10 << 30),
        ("1.5GiB", 3 << 29),
        ("2 TB", 2 << 40),
    ] {
        assert_eq!(values::size(text), Ok(bytes), "{text}");
    }
    for text in ["", "m", "1x", "-1", "1..2", "999999999999PB"] {
        assert!(values::size(text).is_err(), "{text}");
    }
    for (text, seconds) in [("90s", 90), ("24h", 86_400), ("7d", 604_800), ("1h30m", 5400)] {
        assert_eq!(values::duration(text), Ok(Duration::from_secs(seconds)));
    }
    for text in ["", "5", "h", "5y", "99999999999999999999d"] {
        assert!(values::duration(text).is_err(), "{text}");
    }
}

#[test]
fn limits_and_hosts_are_checked() {
    let limit = values::ulimit("nofile=1024:2048").unwrap();
    assert_eq!((limit.name.as_str(), limit.soft, limit.hard), ("nofile", 1024, 2048));
    assert_eq!(values::ulimit("core=-1").unwrap().hard, -1);
    for text in [
        "nofile",
        "nofile=",
        "nofile=2:1",
        "files=1",
        "nofile=-2",
        "core=unlimited:1",
        "nofile=99999999999",
    ] {
        assert!(values::ulimit(text).is_err(), "{text}");
    }
    for (text, name, address) in [
        ("a:127.0.0.1", "a", "127.0.0.1"),
        ("a=127.0.0.1", "a", "127.0.0.1"),
        ("a:[::1]", "a", "::1"),
        ("a:::1", "a", "::1"),
        ("a=::1", "a", "::1"),
        ("A=::ffff:1.2.3.4", "a", "1.2.3.4"),
        ("a:host-gateway", "a", "127.0.0.1"),
    ] {
        let host = values::extra_host(text).unwrap();
        assert_eq!((host.name.as_str(), host.address.as_str()), (name, address));
    }
    for text in ["a", "a:", ":1.2.3.4", "a:host", "a b:1.2.3.4"] {
        assert!(values::extra_host(text).is_err(), "{text}");
    }
}

#[test]
fn the_environment_chooses_progress_only_where_the_user_did_not() {
    assert_eq!(progress_mode(Mode::Auto, Some("plain")), Mode::Plain);
    assert_eq!(progress_mode(Mode::Tty, Some("plain")), Mode::Tty);
    assert_eq!(progress_mode(Mode::Auto, Some("strange")), Mode::Auto);
    assert_eq!(progress_mode(Mode::Auto, None), Mode::Auto);
}
