use std::time::Duration;

use super::super::checksum;
use super::*;

#[test]
fn ignored_files_are_not_there() {
    if !is_root() {
        return;
    }
    let root = tree(&[
        "file 644 a =A",
        "file 644 b.log =B",
        "file 644 out/x =x",
        "file 644 out/deep/keep =K",
    ]);
    let context = context(root.path(), &["*.log", "out", "!out/deep/keep"]);
    let to = tree(&[]);
    act(&FileAction::Copy(copy(".", "/")), Tree::Context(&context), to.path()).unwrap();
    assert_eq!(
        lines(to.path()),
        [
            "file 644 a =A",
            "dir 755 out",
            "dir 755 out/deep",
            "file 644 out/deep/keep =K"
        ]
    );
    for (source, reason) in [
        ("b.log", Some("*.log")),
        ("out/x", Some("out")),
        ("nope", None),
        ("nope.log", None),
    ] {
        let error = checksum(Tree::Context(&context), &copy(source, "/")).unwrap_err();
        assert!(
            matches!(&error, FilesError::NotFound { path, hidden_by, .. } if path[1..] == *source && hidden_by.as_deref() == reason),
            "{source}: {error:?}"
        );
    }
}

#[test]
fn a_name_that_is_nearly_right_is_named() {
    let root = tree(&[
        "file 644 source/main.c =A",
        "file 644 a =A",
        "link way > source",
        "file 644 x.log =L",
    ]);
    let context = context(root.path(), &["*.log"]);
    for (source, message) in [
        ("sorce", "\"/sorce\": not found (did you mean /source?)"),
        (
            "SOURCE/main.c",
            "\"/SOURCE/main.c\": not found (did you mean /source/main.c?)",
        ),
        (
            "source/main.d",
            "\"/source/main.d\": not found (did you mean /source/main.c?)",
        ),
        ("sorce/none.c", "\"/sorce/none.c\": not found"),
        ("b", "\"/b\": not found"),
        ("A", "\"/A\": not found (did you mean /a?)"),
        ("way/nain.c", "\"/way/nain.c\": not found"),
        (
            "x.log",
            "\"/x.log\": not found (left out by `*.log` of the ignore file)",
        ),
    ] {
        for tree in [Tree::Context(&context), Tree::Directory(root.path())] {
            let Err(error) = checksum(tree, &copy(source, "/")) else {
                continue;
            };
            assert_eq!(error.to_string(), message);
        }
    }
}

#[test]
fn ignored_folders_are_not_looked_into() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs to be another than root, to whom nothing is closed");
        return;
    }
    let root = tree(&["file 644 a =A", "dir 755 closed"]);
    let set = |mode| fs::set_permissions(root.path().join("closed"), fs::Permissions::from_mode(mode)).unwrap();
    set(0o000);
    assert_eq!(context(root.path(), &["closed"]).len(), 1);
    let open = context(root.path(), &[]);
    checksum(Tree::Context(&open), &copy("a", "/")).unwrap();
    let error = checksum(Tree::Context(&open), &copy(".", "/")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /closed");
    set(0o755);
}

#[test]
fn a_malformed_ignore_pattern_is_an_error() {
    let root = tree(&[]);
    let error = Context::open(root.path(), &["[".to_owned()], known(&root.path().join("stats"))).unwrap_err();
    assert!(matches!(error, FilesError::Excludes(_)));
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let root = tree(&["file 644 d/a =A"]);
    // Files that changed within the last second are not trusted.
    std::thread::sleep(Duration::from_millis(1100));
    let stats = tree(&[]);
    let stats = stats.path().join("below/stats");
    let key = || {
        let context = Context::open(root.path(), &[], known(&stats)).unwrap();
        checksum(Tree::Context(&context), &copy("d", "/")).unwrap()
    };
    let accessed = || fs::metadata(root.path().join("d/a")).unwrap().atime_nsec();
    let first = key();
    let written = fs::metadata(&stats).unwrap().modified().unwrap();
    let after_first = accessed();
    assert_eq!(key(), first);
    assert_eq!(accessed(), after_first);
    assert_eq!(fs::metadata(&stats).unwrap().modified().unwrap(), written);

    // Same size, same modification time, other content: the change time tells.
    fs::write(root.path().join("d/a"), "B").unwrap();
    set_time(&root.path().join("d/a"), 100);
    assert_ne!(key(), first);
}

#[test]
fn a_broken_stat_cache_counts_as_empty() {
    let root = tree(&["file 644 a =A"]);
    let stats = tree(&[]);
    let file = stats.path().join("stats");
    for broken in [&b""[..], b"rbuild-stats-v1\n", &[7; 200]] {
        fs::write(&file, broken).unwrap();
        let context = Context::open(root.path(), &[], known(&file)).unwrap();
        checksum(Tree::Context(&context), &copy("a", "/")).unwrap();
    }
}

#[test]
fn a_file_that_changes_between_hashing_and_copying_is_an_error() {
    if !is_root() {
        return;
    }
    let root = tree(&["file 644 a =A"]);
    let context = context(root.path(), &[]);
    checksum(Tree::Context(&context), &copy("a", "/")).unwrap();
    fs::write(root.path().join("a"), "BB").unwrap();
    let to = tree(&[]);
    let error = act(&FileAction::Copy(copy("a", "/")), Tree::Context(&context), to.path()).unwrap_err();
    assert_eq!(error.to_string(), "/a changed while it was being copied");
}

#[test]
fn a_large_context_is_walked_and_copied_whole() {
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for folder in 0..100 {
        let path = root.path().join(format!("d{folder:03}/sub"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..20 {
            fs::write(path.join(format!("f{file}")), format!("{folder} {file}")).unwrap();
        }
    }
    age(root.path(), 100);
    let context = context(root.path(), &["**/f19"]);
    assert_eq!(context.len(), 100 * 21);
    let to = tree(&[]);
    act(&FileAction::Copy(copy("/", "/")), Tree::Context(&context), to.path()).unwrap();
    let (before, after) = (lines(root.path()), lines(to.path()));
    let expected: Vec<&String> = before.iter().filter(|line| !line.contains("/f19 ")).collect();
    assert_eq!(after.iter().collect::<Vec<_>>(), expected);
}
