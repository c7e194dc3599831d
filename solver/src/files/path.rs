//! Paths inside a tree: bytes, names with `/` between them, none in front or at the end; the root is empty.

use std::cmp::Ordering;

/// The names of a path as people write it, `.` and `..` worked out; nothing leads above the root.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    names.join(&b'/')
}

/// The names of a clean path.
pub(super) fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// The folder and the name of a clean path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// The path of `name` in `folder`.
pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match (folder, name) {
        (b"", name) => name.to_vec(),
        (folder, b"") => folder.to_vec(),
        (folder, name) => [folder, name].join(&b'/'),
    }
}

/// Whether `path` is below `folder`.
pub(super) fn is_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty() && !path.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
}

/// What is left of `path`, which is `top` or below it, behind `top`.
pub(super) fn relative<'p>(path: &'p [u8], top: &[u8]) -> &'p [u8] {
    let skipped = match top.len() {
        0 => 0,
        length => length + 1,
    };
    path.get(skipped..).unwrap_or_default()
}

/// The order of a walk: a folder before its entries, those by name, and all below one before the next.
pub(super) fn walk_order(a: &[u8], b: &[u8]) -> Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

/// For calls that take no empty path.
pub(super) fn or_dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}
