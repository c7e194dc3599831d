//! What each rule has something against, and what not.

use frontend::{Findings, Options, Outline};
use futures_util::FutureExt;

use crate::images::{images, options};

/// What a check of all stages finds, each as `Rule: detail (line N)`, and the error if there is one.
fn check_with(text: &str, options: &Options) -> (Vec<String>, Option<String>) {
    let findings = Findings::new();
    let images = images();
    let checked = frontend::check(text.as_bytes(), options, &images, &findings)
        .now_or_never()
        .unwrap();
    let warnings = findings.warnings().iter().map(ToString::to_string).collect();
    (warnings, checked.err().map(|error| error.to_string()))
}

fn check(text: &str) -> Vec<String> {
    let (warnings, error) = check_with(text, &options());
    assert_eq!(error, None, "{text}");
    warnings
}

/// Each text finds exactly this.
fn find(table: &[(&str, &[&str])]) {
    for (text, warnings) in table {
        assert_eq!(check(text), *warnings, "{text}");
    }
}

#[test]
fn names_and_cases() {
    find(&[
        ("FROM scratch AS base\nUSER a\n", &[]),
        ("from scratch as base\nuser a\n", &[]),
        (
            "FROM scratch AS Base",
            &["StageNameCasing: Stage name 'Base' should be lowercase (line 1)"],
        ),
        (
            "FROM scratch as base",
            &["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"],
        ),
        (
            "from scratch AS base",
            &["FromAsCasing: 'AS' and 'from' keywords' casing do not match (line 1)"],
        ),
        (
            "From scratch aS base\nUSER a",
            &[
                "ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase) (line 1)",
            ],
        ),
        (
            "from scratch\nuser a\nUSER b",
            &[
                "ConsistentInstructionCasing: Command 'USER' should match the case of the command majority (lowercase) (line 3)",
            ],
        ),
        // A tie is for upper case.
        (
            "FROM scratch\nuser a",
            &[
                "ConsistentInstructionCasing: Command 'user' should match the case of the command majority (uppercase) (line 2)",
            ],
        ),
        (
            "FROM scratch AS a\nFROM scratch AS a",
            &["DuplicateStageName: Duplicate stage name \"a\", stage names should be unique (line 2)"],
        ),
        (
            "FROM scratch AS context",
            &["ReservedStageName: Stage name should not use the same name as reserved stage \"context\" (line 1)"],
        ),
    ]);
}

#[test]
fn old_ways_of_writing() {
    find(&[
        (
            "FROM scratch\nMAINTAINER me",
            &["MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"],
        ),
        (
            "FROM scratch\nENV a b c",
            &[
                "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)",
            ],
        ),
        (
            "FROM scratch\nLABEL a b",
            &[
                "LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line 2)",
            ],
        ),
        ("FROM scratch\nENV a=b c=d\nLABEL a=\"b c\"", &[]),
        (
            "FROM scratch\nENV a=1 \\\n\n  b=2\n",
            &["NoEmptyContinuation: Empty continuation line (line 4)"],
        ),
        ("FROM scratch\nENV a=1 \\\n# why\n  b=2\n", &[]),
    ]);
}

#[test]
fn commands() {
    let shell = "JSON arguments recommended for";
    let signals = "to prevent unintended behavior related to OS signals";
    let cmd = format!("JSONArgsRecommended: {shell} CMD {signals} (line 2)");
    let entrypoint = format!("JSONArgsRecommended: {shell} entrypoint {signals} (line 2)");
    find(&[
        ("FROM scratch\nCMD a", &[&cmd]),
        ("from scratch\nentrypoint a", &[&entrypoint]),
        ("FROM scratch\nCMD [\"a\"]", &[]),
        ("FROM scratch\nSHELL [\"/bin/bash\"]\nCMD a", &[]),
        (
            "FROM scratch AS a\nCMD [\"a\"]\nCMD [\"b\"]\nHEALTHCHECK NONE\nHEALTHCHECK NONE\nFROM a\nCMD [\"c\"]",
            &[
                "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 2)",
                "MultipleInstructionsDisallowed: Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used (line 4)",
            ],
        ),
    ]);
}

#[test]
fn variables() {
    find(&[
        ("FROM scratch\nARG a\nENV b=$a", &[]),
        ("FROM scratch\nENV b=$PATH", &[]),
        ("FROM conf/rich\nENV b=$BASE", &[]),
        (
            "FROM scratch\nENV b=$BASE",
            &["UndefinedVar: Usage of undefined variable '$BASE' (line 2)"],
        ),
        (
            "FROM scratch\nARG name=$PAHT\nWORKDIR /$nam",
            &[
                "UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)",
                "UndefinedVar: Usage of undefined variable '$nam' (did you mean $name?) (line 3)",
            ],
        ),
        (
            "FROM scratch\nARG a=${nope:-b}",
            &["UndefinedVar: Usage of undefined variable '$nope' (line 2)"],
        ),
        ("FROM scratch\nRUN echo $nope\nCMD [\"$nope\"]", &[]),
        (
            "FROM scratch\nCOPY <<x /\n$nope\nx\n",
            &["UndefinedVar: Usage of undefined variable '$nope' (line 2)"],
        ),
        (
            "FROM scratch\nARG API_KEY\nENV apikey=1 TOKEN_FILE=/t KEYS=1 PUBLIC_KEY=2 KEY_VERSION=1\nENV my_Secret_x=1",
            &[
                "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"API_KEY\") (line 2)",
                "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"apikey\") (line 3)",
                "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"my_Secret_x\") (line 4)",
            ],
        ),
    ]);
}

#[test]
fn a_word_that_fails_has_been_looked_at() {
    let (warnings, error) = check_with("FROM scratch\nENV a=${nope?needed}", &options());
    assert_eq!(warnings, ["UndefinedVar: Usage of undefined variable '$nope' (line 2)"]);
    assert!(error.unwrap().ends_with("nope: needed"));
}

#[test]
fn from() {
    find(&[
        (
            "ARG BASE=scratch\nFROM $BASE AS a\nFROM --platform=$BUILDPLATFORM scratch",
            &[],
        ),
        (
            "ARG BASE=scratch\nFROM scratch$BSE",
            &["UndefinedArgInFrom: FROM argument 'BSE' is not declared (did you mean BASE?) (line 2)"],
        ),
        (
            "FROM --platform=${TARGETPLATFORM} scratch",
            &[
                "RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior (line 1)",
            ],
        ),
        ("FROM --platform=$TARGETOS/$TARGETARCH scratch", &[]),
        (
            "FROM --platform=linux/amd64 scratch AS a",
            &[
                "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\" (line 1)",
            ],
        ),
        ("FROM --platform=linux/amd64 scratch AS a-amd64", &[]),
    ]);
    find(&[(
        "FROM --platform=windows/$TARGETARCH busybox",
        &[
            "InvalidBaseImagePlatform: Base image busybox was pulled with platform \"linux/amd64\", expected \"windows/amd64\" for current build (line 1)",
        ],
    )]);
    let mut given = options();
    given.build_args.insert("TAG".to_owned(), "latest".to_owned());
    let (warnings, error) = check_with("ARG TAG\nFROM busybox:$TAG", &given);
    assert_eq!(error, None);
    let detail = "Default value for ARG busybox:$TAG results in empty or invalid base image name";
    assert_eq!(warnings, [format!("InvalidDefaultArgInFrom: {detail} (line 2)")]);
}

#[test]
fn paths_and_ports() {
    find(&[
        (
            "FROM scratch AS a\nWORKDIR b\nWORKDIR c\nFROM a\nWORKDIR d",
            &[
                "WorkdirRelativePath: Relative workdir \"b\" can have unexpected results if the base image changes (line 2)",
            ],
        ),
        ("FROM scratch\nWORKDIR /a\nWORKDIR b", &[]),
        ("FROM scratch\nEXPOSE 80/tcp 81", &[]),
        (
            "FROM scratch\nEXPOSE 80/Tcp 127.0.0.1:81:82",
            &[
                "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:81:82' (line 2)",
                "ExposeProtoCasing: Defined protocol '80/Tcp' in EXPOSE instruction should be lowercase (line 2)",
            ],
        ),
    ]);
}

#[test]
fn sources_that_the_ignore_file_leaves_out() {
    let text = "FROM scratch AS a\nCOPY x ./x/y z /\nADD x /\nCOPY . /\nFROM scratch\nCOPY --from=a x /\n";
    let with = |patterns: &[&str]| {
        let mut options = options();
        options.excludes = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        check_with(text, &options).0
    };
    let x = "CopyIgnoredFile: Attempting to Copy file \"x\" that is excluded by .dockerignore (line 2)";
    let below = "CopyIgnoredFile: Attempting to Copy file \"x/y\" that is excluded by .dockerignore (line 2)";
    let added = "CopyIgnoredFile: Attempting to Add file \"x\" that is excluded by .dockerignore (line 3)";
    assert_eq!(with(&["x"]), [x, below, added]);
    assert_eq!(with(&["x", "!x/y"]), Vec::<String>::new());
    assert_eq!(with(&["z/*", "x/*"]), [below]);
    assert_eq!(with(&["*"]).len(), 5);
}

#[test]
fn comments_describe_what_stands_below() {
    let text = "# check=experimental=InvalidDefinitionDescription\n# VERSION is it\nARG VERSION=1\n# else\nARG A B\n# base\nFROM scratch AS base\n# lost\n\n#\nFROM scratch AS other";
    let detail = "Comment for ARG should follow the format: `# <arg_key> <description>`";
    assert_eq!(
        check(text),
        [format!("InvalidDefinitionDescription: {detail} (line 5)")]
    );
    assert_eq!(check(&text.replace("experimental", "skip")), Vec::<String>::new());
}

#[test]
fn rules_are_chosen_for_the_file_the_build_and_the_instruction() {
    let text = "# check=skip=StageNameCasing\nFROM scratch AS A\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n";
    let legacy =
        "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 5)";
    assert_eq!(check(text), [legacy]);
    let mut asked = options();
    let argument = |value: &str| ("BUILDKIT_DOCKERFILE_CHECK".to_owned(), value.to_owned());
    asked.build_args.extend([argument("skip=all")]);
    assert_eq!(check_with(text, &asked), (Vec::new(), None));
    asked.build_args.extend([argument("error=true")]);
    let (warnings, error) = check_with(text, &asked);
    assert_eq!(warnings.len(), 2);
    assert_eq!(
        error.as_deref(),
        Some("lint violation found for rules: StageNameCasing, LegacyKeyValueFormat")
    );
    asked.build_args.extend([argument("foo=1")]);
    let (_, error) = check_with(text, &asked);
    assert_eq!(
        error.as_deref(),
        Some("failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: invalid check option \"foo\"")
    );
}

#[test]
fn without_a_target_all_stages_are_looked_at() {
    let text = "FROM scratch AS a\nCMD a\nFROM scratch AS b\n";
    assert_eq!(check(text).len(), 1);
    let mut options = options();
    options.target = Some("b".to_owned());
    assert_eq!(check_with(text, &options), (Vec::new(), None));
    let (warnings, error) = check_with("FROM scratch AS A\nENV a b\nFROM nowhere\n", &super::images::options());
    assert_eq!(
        warnings,
        ["StageNameCasing: Stage name 'A' should be lowercase (line 1)"]
    );
    assert_eq!(error.as_deref(), Some("cannot look up image `nowhere`"));
}

#[test]
fn each_rule_has_a_page_that_the_index_names() {
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules");
    let index = std::fs::read_to_string(pages.join("README.md")).unwrap();
    for rule in frontend::Rule::all() {
        let entry = index.lines().find(|line| line.starts_with(&format!("| [{rule}](")));
        let entry = entry.unwrap_or_else(|| panic!("{rule} is not in the index"));
        let page = entry.split(['(', ')']).nth(1).unwrap();
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.starts_with(&format!("# {rule}\n")), "{page}");
        if let Some(url) = rule.url() {
            assert!(url.ends_with(&format!("/{}/", page.trim_end_matches(".md"))), "{url}");
        }
    }
}

fn outline(text: &str, options: &Options) -> Outline {
    let images = images();
    frontend::outline(text.as_bytes(), options, &images, &Findings::new())
        .now_or_never()
        .unwrap()
        .unwrap()
}

#[test]
fn an_outline_has_what_the_target_and_its_stages_can_be_given() {
    let text = "ARG UNUSED=1\n# TAG of the base\nARG TAG=1\nARG BASE=busybox:${TAG:+latest}\nFROM $BASE AS base\nARG LEVEL=2\nRUN --mount=type=secret,id=token,required=true a\n\
        FROM scratch AS other\nARG ELSE\nFROM scratch AS lost\nARG LOST\n# app is built\nFROM base AS app\nARG TAG\nARG LEVEL=3\nCOPY --from=other / /o/\nRUN --mount=type=ssh b\n";
    let mut asked = options();
    asked.build_args.insert("ELSE".to_owned(), "given".to_owned());
    let outline = outline(text, &asked);
    assert_eq!(
        (outline.name.as_str(), outline.description.as_str()),
        ("app", "is built")
    );
    let arguments: Vec<_> = outline
        .arguments
        .iter()
        .map(|argument| {
            let line = argument.lines.0.start;
            (&*argument.name, &*argument.value, &*argument.description, line)
        })
        .collect();
    assert_eq!(
        arguments,
        [
            ("TAG", "1", "of the base", 3),
            ("BASE", "busybox:latest", "", 4),
            ("ELSE", "given", "", 9),
            ("LEVEL", "3", "", 15),
        ]
    );
    assert_eq!(outline.secrets.len(), 1);
    assert!(outline.secrets[0].is_required && outline.secrets[0].name == "token");
    assert!(!outline.agents[0].is_required && outline.agents[0].name == "default");
}

#[test]
fn targets_are_listed_as_written() {
    let text = "# base is first\nFROM --platform=$BUILDPLATFORM ${X} AS Base\nFROM base\n";
    let targets = frontend::targets(text.as_bytes(), &options()).unwrap();
    let [base, last] = &targets[..] else {
        panic!("{targets:?}")
    };
    assert_eq!(
        (
            &*base.name,
            &*base.description,
            &*base.base,
            &*base.platform,
            base.is_default
        ),
        ("base", "is first", "${X}", "$BUILDPLATFORM", false)
    );
    assert!(last.is_default && last.name.is_empty() && last.base == "base");
}
