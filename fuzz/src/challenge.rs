//! What a registry answers to strangers: challenges, which are written and read again as the same, and complaints, of
//! which one line without control characters is shown.

use registry::testing::{SeenChallenge, challenges, said};

/// Reads a header, and a body.
pub fn run(bytes: &[u8]) {
    let complaint = said(bytes);
    assert!(
        complaint.chars().count() <= 302 && !complaint.contains(char::is_control),
        "{complaint:?}"
    );
    let header = String::from_utf8_lossy(bytes);
    let read = challenges(&header);
    let letters: usize = read.iter().map(|challenge| written(challenge).0).sum();
    assert!(letters <= header.len(), "{read:?} is more than {header:?}");
    let text: Vec<String> = read.iter().map(|challenge| written(challenge).1).collect();
    let again = challenges(&text.join(", "));
    assert_eq!(again, read, "{text:?}");
}

/// How many letters it has, and how it is written.
fn written(challenge: &SeenChallenge) -> (usize, String) {
    let SeenChallenge {
        scheme,
        realm,
        service,
        scope,
    } = challenge;
    let parameters = [("realm", realm), ("service", service), ("scope", scope)];
    let given: Vec<(&str, &String)> = parameters
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?)))
        .collect();
    let letters = given
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>()
        + scheme.len();
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let given: Vec<String> = given
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    (letters, format!("{scheme} {}", given.join(",")))
}
