//! The action, the templates and the page about pipelines: what they type there is, and does what they say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Bases, Workshop, binary, progress, run};

/// Flags of other programs.
const OF_OTHERS: [&str; 6] = [
    "--security-opt",
    "--username",
    "--password-stdin",
    "--release",
    "--locked",
    "--mount",
];

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// All that begins with `--` and a letter.
fn flags(text: &str) -> BTreeSet<String> {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let begins =
        |word: &&str| word.starts_with("--") && word[2..].starts_with(|letter: char| letter.is_ascii_lowercase());
    text.split(|character: char| !is_of_name(character))
        .filter(begins)
        .map(|word| word.trim_end_matches('-').to_owned())
        .collect()
}

#[test]
fn every_flag_that_is_typed_for_pipelines_exists() {
    let help = |command: &str| run(Command::new(binary()).args([command, "--help"]));
    let mut known = flags(&help("build"));
    known.extend(OF_OTHERS.map(str::to_owned));
    for file in [
        "docs/ci.md",
        "action.yml",
        "templates/github-action",
        "templates/gitlab.yml",
    ] {
        let unknown: Vec<String> = flags(&read(file)).difference(&known).cloned().collect();
        assert_eq!(unknown, Vec::<String>::new(), "{file}");
    }
}

#[test]
fn every_input_of_the_action_is_used_and_every_variable_is_an_input() {
    let (action, script) = (read("action.yml"), read("templates/github-action"));
    let variables = |text: &str| -> BTreeSet<String> {
        let words = text.split(|character: char| !character.is_ascii_uppercase() && character != '_');
        let named = words.filter(|word| word.starts_with("INPUT_"));
        named
            .map(ToOwned::to_owned)
            .filter(|word| word.len() > "INPUT_".len())
            .collect()
    };
    assert_eq!(variables(&action), variables(&script));
    for variable in variables(&action) {
        let input = variable.trim_start_matches("INPUT_").to_lowercase().replace('_', "-");
        assert!(action.contains(&format!("\n  {input}:\n")), "{input} is no input");
        assert!(
            action.contains(&format!("{variable}: ${{{{ inputs.{input} }}}}")),
            "{variable} is not that input"
        );
    }
}

#[test]
fn the_action_builds_what_its_inputs_say_and_sets_its_outputs() {
    let Some(bases) = Bases::find() else { return };
    let workshop = Workshop::own();
    let dockerfile = "FROM busybox AS other\nRUN --mount=type=secret,id=s,required test \"$(cat /run/secrets/s)\" = 'a=b c'\n\
                      ARG GREETING\nLABEL greeting=$GREETING\nFROM scratch\n";
    let context = workshop.context("a folder", &[("Dockerfile", dockerfile)]);
    let build = workshop.build(bases, &context);
    let bases = build
        .get_args()
        .filter_map(|word| word.to_str()?.strip_prefix("--build-context="));
    let bases: Vec<&str> = bases.collect();
    let mut action = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/github-action"));
    action
        .env("INPUT_RBUILD", binary())
        .env("INPUT_CONTEXT", &context)
        .env("INPUT_ROOT", workshop.store())
        .env("INPUT_BUILD_CONTEXTS", bases.join("\n"))
        .env("INPUT_TAGS", "r.example/app:1\n\n  r.example/app:2\r\n")
        .env("INPUT_TARGET", "other")
        .env("INPUT_BUILD_ARGS", "GREETING=good day; $(touch /tmp/x)")
        .env("INPUT_SECRETS", "s=a=b c\n")
        .env("INPUT_PUSH", "false")
        .env("INPUT_NO_CACHE", "true")
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_OUTPUT", workshop.path("outputs"))
        .env_remove("GITHUB_STEP_SUMMARY")
        .env_remove("BUILDKIT_PROGRESS");
    let said = progress(&mut action);
    assert!(
        said.contains("::group::") || said.contains("RUN --mount=type=secret"),
        "{said}"
    );
    let outputs = fs::read_to_string(workshop.path("outputs")).unwrap();
    assert!(
        outputs.contains("digest=sha256:") && outputs.contains("r.example/app:2"),
        "{outputs}"
    );
    let image = run(workshop.rbuild().args(["inspect", "r.example/app:2"]));
    assert!(image.contains("good day; $(touch /tmp/x)"), "{image}");
}
