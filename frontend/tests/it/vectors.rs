//! The test vectors of BuildKit's frontend, where they are at hand.

use std::fs;
use std::path::PathBuf;

use frontend::Environment;

fn root() -> Option<PathBuf> {
    let root = std::env::var_os("RBUILD_VECTORS").map(PathBuf::from);
    if root.is_none() {
        eprintln!("skipped: needs the folder of vectors in RBUILD_VECTORS");
    }
    root
}

#[test]
fn syntax_trees_are_those_of_the_vectors() {
    let Some(root) = root() else { return };
    let mut count = 0;
    for entry in fs::read_dir(root.join("parser")).unwrap() {
        let folder = entry.unwrap().path();
        let text = fs::read(folder.join("Dockerfile")).unwrap();
        let expected = fs::read_to_string(folder.join("result")).unwrap();
        let dockerfile = frontend::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert_eq!(
            frontend::ast_dump(&dockerfile).trim(),
            expected.trim(),
            "{}",
            folder.display()
        );
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn what_the_vectors_refuse_is_refused() {
    let Some(root) = root() else { return };
    for entry in fs::read_dir(root.join("parser-negative")).unwrap() {
        let folder = entry.unwrap().path();
        let text = fs::read(folder.join("Dockerfile")).unwrap();
        assert!(frontend::parse(&text).is_err(), "{}", folder.display());
    }
}

#[test]
fn continued_instructions_have_the_lines_of_the_vectors() {
    let Some(root) = root() else { return };
    let text = fs::read(root.join("parser-line/Dockerfile")).unwrap();
    let lines: Vec<(usize, usize)> = frontend::parse(&text)
        .unwrap()
        .instructions
        .iter()
        .map(|instruction| (instruction.lines.0.start, instruction.lines.0.end - 1))
        .collect();
    for wanted in [(5, 5), (11, 12), (17, 31)] {
        assert!(lines.contains(&wanted), "{wanted:?} in {lines:?}");
    }
}

#[test]
fn words_are_expanded_as_in_the_vectors() {
    let Some(root) = root() else { return };
    let environment: Environment = [("PWD", "/home"), ("SHELL", "bash"), ("KOREAN", "한국어"), ("NULL", "")]
        .into_iter()
        .collect();
    let text = fs::read_to_string(root.join("words/envVarTest")).unwrap();
    let mut count = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
        let [platform, input, expected] = parts[..] else {
            continue;
        };
        if platform == "W" {
            continue;
        }
        match frontend::expand(input, &environment) {
            Ok(value) => assert_eq!(value, expected, "{line}"),
            Err(error) => assert_eq!("error", expected, "{line}: {error}"),
        }
        count += 1;
    }
    assert!(count > 100);
}

#[test]
fn words_are_split_as_in_the_vectors() {
    let Some(root) = root() else { return };
    let mut environment = Environment::new();
    let text = fs::read_to_string(root.join("words/wordsTest")).unwrap();
    let mut count = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(pair) = line.strip_prefix("ENV ") {
            let (name, value) = pair.split_once('=').unwrap();
            environment.set(name, value);
            continue;
        }
        let Some((input, expected)) = line.split_once('|') else {
            continue;
        };
        // Only one blank on each side belongs to the table.
        let expected = expected.strip_prefix(' ').unwrap_or(expected);
        match frontend::words(input.trim(), &environment) {
            Ok(words) => assert_eq!(words.join(","), expected, "{line}"),
            Err(error) => assert_eq!("error", expected.trim(), "{line}: {error}"),
        }
        count += 1;
    }
    assert!(count > 20);
}
