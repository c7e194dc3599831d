//! Paths in an image, as text: Go's `path.Clean` and the rules of COPY and WORKDIR. Nothing is looked up.

/// The shortest path that means the same. An absolute path cannot leave the root.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

/// `path` from the root, cleaned: how COPY reads its sources.
pub(crate) fn from_root(path: &str) -> String {
    clean(&format!("/{path}"))
}

/// The new working directory: as written if absolute, else `path` from `current`.
pub(crate) fn working_directory(current: &str, path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        clean(&format!("/{current}/{path}"))
    }
}

/// The destination of a COPY, absolute and clean; it keeps its trailing slash, for that makes it a directory.
pub(crate) fn destination(directory: &str, path: &str) -> String {
    let absolute = clean(&working_directory(directory, path));
    let is_directory = matches!(path, "" | ".") || path.ends_with('/') || path.ends_with("/.");
    if is_directory && absolute != "/" {
        absolute + "/"
    } else {
        absolute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, cleaned) in [
            ("", "."),
            ("a/../..", ".."),
            ("../a", "../a"),
            ("/../a/./b//c/", "/a/b/c"),
            ("a/..", "."),
            ("/", "/"),
        ] {
            assert_eq!(clean(path), cleaned);
        }
        assert_eq!(from_root("../a/"), "/a");
    }

    #[test]
    fn a_destination_keeps_its_slash() {
        for (directory, path, full) in [
            ("/w", ".", "/w/"),
            ("/", ".", "/"),
            ("/w", "d/", "/w/d/"),
            ("/w", "d/.", "/w/d/"),
            ("/w", "../d", "/d"),
            ("/w", "/x/", "/x/"),
            ("", "x", "/x"),
        ] {
            assert_eq!(destination(directory, path), full, "{directory} {path}");
        }
    }

    #[test]
    fn an_absolute_working_directory_stays_as_written() {
        assert_eq!(working_directory("/a", "/a/./b//c/"), "/a/./b//c/");
        assert_eq!(working_directory("/a/b", "../c"), "/a/c");
        assert_eq!(working_directory("", "c"), "/c");
    }
}
