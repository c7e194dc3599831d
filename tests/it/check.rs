//! Questions about a Dockerfile: the answer is on standard output and in the exit code, and nothing is built.

use crate::support::{Workshop, ends_with, run};

const DOCKERFILE: &str = "# TAG is unused\nARG TAG=1\nFROM scratch AS Base\nENV a b\n# app is it\nFROM Base AS app\n";

#[test]
fn a_check_says_what_it_found_and_ends_with_one() {
    let workshop = Workshop::own();
    let context = workshop.context("check", &[("Dockerfile", "FROM scratch AS Base\nENV a b\n")]);
    let mut command = workshop.rbuild();
    let output = command.arg("--check").arg(&context).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let path = context.join("Dockerfile");
    let expected = format!(
        "Check complete, 2 warnings have been found!\n\n\
         WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n\
         Stage name 'Base' should be lowercase\n{}:1\n--------------------\n   1 | >>> FROM scratch AS Base\n",
        path.display()
    );
    assert!(stdout.starts_with(&expected), "{stdout}");
    let calm = [
        "--call=check,ignorestatus=true",
        "--call=check,format=json,ignorestatus=1",
    ];
    for call in calm {
        let told = run(workshop.rbuild().arg(call).arg(&context));
        assert!(told.contains("LegacyKeyValueFormat"), "{told}");
    }
    let clean = workshop.context("clean", &[("Dockerfile", "FROM scratch\nENV a=b\n")]);
    let told = run(workshop.rbuild().arg("--check").arg(&clean));
    assert_eq!(told, "Check complete, no warnings found.\n");
}

#[test]
fn an_error_is_part_of_the_answer() {
    let workshop = Workshop::own();
    let context = workshop.context("broken", &[("Dockerfile", "FROM scratch AS Base\nCPOY a b\n")]);
    let mut command = workshop.rbuild();
    let output = command.arg("--call=check,format=json").arg(&context).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["warnings"][0]["ruleName"], "StageNameCasing");
    assert_eq!(
        answer["buildError"]["message"],
        "dockerfile parse error on line 2: unknown instruction: CPOY (did you mean COPY?)"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn targets_and_outline_are_tables() {
    let workshop = Workshop::own();
    let context = workshop.context(
        "tables",
        &[("Dockerfile", &DOCKERFILE.replace("FROM Base", "FROM base"))],
    );
    let told = run(workshop.rbuild().arg("--call=targets").arg(&context));
    assert_eq!(told, "TARGET        DESCRIPTION\nbase          \napp (default) is it\n");
    let told = run(workshop.rbuild().arg("--call=outline").arg(&context));
    assert_eq!(told, "TARGET:      app\nDESCRIPTION: is it\n\n");
    let stderr = ends_with(workshop.rbuild().arg("--call=weather").arg(&context), 2);
    assert!(stderr.contains("unsupported request frontend.weather"), "{stderr}");
}

#[test]
fn a_build_lists_its_warnings_and_goes_on() {
    let workshop = Workshop::own();
    let context = workshop.context("warned", &[("Dockerfile", "FROM scratch\nENV a b\n")]);
    let archive = format!("type=oci,dest={}", workshop.path("image.tar").display());
    let mut command = workshop.rbuild();
    let output = command
        .args(["--progress=plain", "-o", &archive])
        .arg(&context)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let warning =
        "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)";
    assert!(stderr.contains(&format!("WARN: {warning}\n")), "{stderr}");
    assert!(
        stderr.contains(&format!("1 warning found (use --check to expand):\n - {warning}\n")),
        "{stderr}"
    );
    let strict = workshop.context(
        "strict",
        &[("Dockerfile", "# check=error=true\nFROM scratch\nENV a b\n")],
    );
    let stderr = ends_with(workshop.rbuild().args(["-o", &archive]).arg(&strict), 2);
    assert!(
        stderr.contains("lint violation found for rules: LegacyKeyValueFormat"),
        "{stderr}"
    );
}
