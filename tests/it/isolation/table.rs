//! The table of `docs/isolation.md`, read as the list of what is expected.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Who is attacked: a column of the table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Builder {
    Root = 2,
    Rootless = 3,
    /// As root, in a container that lends no namespaces.
    Plain = 4,
    BuildKit = 5,
}

/// Name, what it tries, and one for each builder.
const COLUMNS: usize = 6;

/// What came of an attack, and by which words the attack told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) word: String,
    pub(super) how: String,
}

/// The text of the document.
pub(super) fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/isolation.md")).unwrap()
}

/// What the document expects of each attack: `stopped` or `allowed`, without by what.
pub(super) fn expected(document: &str, builder: Builder) -> BTreeMap<String, String> {
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<&str>>());
    rows.filter(|cells| cells.len() == COLUMNS)
        .map(|cells| {
            let name = cells[0].trim_matches('`').to_owned();
            let word = cells[builder as usize].split(" (").next();
            (name, word.unwrap_or_default().to_owned())
        })
        .collect()
}

/// What the attacks told, one a line: name, verdict, how.
pub(super) fn verdicts(text: &str) -> BTreeMap<String, Verdict> {
    text.lines()
        .map(|line| {
            let mut fields = line.splitn(3, '\t').map(str::to_owned);
            let mut field = || fields.next().unwrap_or_default();
            (
                field(),
                Verdict {
                    word: field(),
                    how: field(),
                },
            )
        })
        .collect()
}

/// One line for each attack that ended otherwise than expected.
pub(super) fn differences(expected: &BTreeMap<String, String>, found: &BTreeMap<String, Verdict>) -> Vec<String> {
    let mut differences: Vec<String> = Vec::new();
    for (name, Verdict { word, how }) in found {
        let fits = match (expected.get(name).map(String::as_str), word.as_str()) {
            // What the machine lacks cannot be tried on it.
            (Some(_), "absent") => true,
            (Some("stopped"), "stopped") | (Some("allowed"), "reached") => true,
            _ => false,
        };
        if !fits {
            let expected = expected.get(name).map_or("no row", String::as_str);
            differences.push(format!("{name}: expected {expected}, found {word}: {how}"));
        }
    }
    let missing = expected.keys().filter(|name| !found.contains_key(*name));
    differences.extend(missing.map(|name| format!("{name}: was not tried")));
    differences
}
