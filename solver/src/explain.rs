//! Why a step runs again: the difference between the named inputs of its last record and of this one. Pure.

use std::collections::BTreeMap;

/// The name of the component that stands for the tree a step runs on.
pub(crate) const TREE_BELOW: &str = "the step before";

/// One sentence, or nothing where no input differs (the record itself is gone, or was not wanted).
pub(crate) fn difference(before: &[(String, String)], now: &[(String, String)]) -> Option<String> {
    // Results fetched from elsewhere come without their inputs.
    if before.is_empty() {
        return None;
    }
    let old: BTreeMap<&str, &str> = before
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let new: BTreeMap<&str, &str> = now
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut changes: Vec<String> = Vec::new();
    for (name, value) in &new {
        match old.get(name) {
            None => changes.push(format!("{name} is new")),
            Some(previous) if previous != value => changes.push(format!("{name} changed")),
            Some(_) => {}
        }
    }
    changes.extend(
        old.keys()
            .filter(|name| !new.contains_key(*name))
            .map(|name| format!("{name} is gone")),
    );
    // What the user wrote or edited says more than that the tree below differs because of it.
    changes.sort_by_key(|change| change.starts_with(TREE_BELOW));
    let (first, rest) = changes.split_first()?;
    Some(match rest.len() {
        0 => first.clone(),
        more => format!("{first} ({} of {} inputs differ)", more + 1, new.len().max(old.len())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(text: &str) -> Vec<(String, String)> {
        text.split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(k, v)| (k.into(), v.into()))
            .collect()
    }

    #[test]
    fn the_input_that_differs_is_named() {
        for (before, now, said) in [
            ("a=1 b=2", "a=1 b=3", Some("b changed")),
            ("a=1", "a=1 b=3", Some("b is new")),
            ("a=1 b=2", "a=1", Some("b is gone")),
            ("a=1 b=2 c=3", "a=2 b=3 c=3", Some("a changed (2 of 3 inputs differ)")),
            ("a=1", "a=1", None),
        ] {
            assert_eq!(difference(&inputs(before), &inputs(now)).as_deref(), said);
        }
    }
}
