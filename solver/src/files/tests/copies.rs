use super::*;

#[test]
fn where_files_go() {
    if !is_root() {
        return;
    }
    let from: &[&str] = &[
        "file 640 a =A",
        "file 644 b =B",
        "dir 700 d",
        "file 644 d/x =1",
        "dir 711 d/s",
        "file 600 d/s/y =2",
    ];
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        ("a", "/b", &[], &["file 640 b =A"]),
        ("a", "/d/", &[], &["dir 755 d @0", "file 640 d/a =A"]),
        ("a", "/d/.", &[], &["dir 755 d @0", "file 640 d/a =A"]),
        (
            "a",
            "/p/q/r",
            &[],
            &["dir 755 p @0", "dir 755 p/q @0", "file 640 p/q/r =A"],
        ),
        ("/a", "/", &[], &["file 640 a =A"]),
        ("../../a", "/x/../b", &[], &["file 640 b =A"]),
        ("a", "/e", &["dir 700 e"], &["dir 700 e", "file 640 e/a =A"]),
        ("a", "/e", &["file 600 e =old"], &["file 640 e =A"]),
        (
            "d",
            "/e",
            &[],
            &["dir 755 e", "dir 711 e/s", "file 600 e/s/y =2", "file 644 e/x =1"],
        ),
        (
            "d/",
            "/e/",
            &[],
            &["dir 755 e", "dir 711 e/s", "file 600 e/s/y =2", "file 644 e/x =1"],
        ),
        (
            "d",
            "/e",
            &["dir 750 e", "dir 700 e/s", "file 644 e/k =k", "file 644 e/s/k =k"],
            &[
                "dir 750 e",
                "file 644 e/k =k",
                "dir 711 e/s",
                "file 644 e/s/k =k",
                "file 600 e/s/y =2",
                "file 644 e/x =1",
            ],
        ),
        (
            "[ab]",
            "/o/",
            &[],
            &["dir 755 o @0", "file 640 o/a =A", "file 644 o/b =B"],
        ),
        ("[ab]", "/o", &[], &["file 644 o =B"]),
        ("*/x", "/o/", &[], &["dir 755 o @0", "file 644 o/x =1"]),
        (
            "d*/",
            "/o/",
            &[],
            &["dir 755 o", "dir 711 o/s", "file 600 o/s/y =2", "file 644 o/x =1"],
        ),
        ("*.zip", "/o/", &[], &[]),
    ];
    for (source, destination, before, after) in cases {
        let (from, to) = (tree(from), tree(before));
        run(copy(source, destination), from.path(), to.path()).unwrap();
        assert_eq!(&lines(to.path()), after, "{source} to {destination} over {before:?}");
        assert_eq!(
            fs::metadata(to.path()).unwrap().mtime(),
            100,
            "{source} to {destination}: time of the root"
        );
    }
}

#[test]
fn what_is_in_the_way_is_an_error() {
    if !is_root() {
        return;
    }
    let from: &[&str] = &[
        "file 644 a =A",
        "dir 755 d",
        "dir 755 d/x",
        "dir 755 f",
        "file 644 f/y =1",
    ];
    let cases: &[(&str, &str, &[&str], &str)] = &[
        ("d", "/e", &["file 644 e =x"], "cannot copy to non-directory: /e"),
        ("d", "/e", &["file 644 e/x =x"], "cannot copy to non-directory: /e/x"),
        (
            "d",
            "/e",
            &["dir 755 e", "link e/x > /"],
            "cannot copy to non-directory: /e/x",
        ),
        (
            "f",
            "/e",
            &["dir 755 e/y"],
            "cannot replace to directory /e/y with file",
        ),
        ("a", "/e/", &["file 644 e =x"], "mkdir /e: not a directory"),
        ("a", "/e/b/c", &["file 644 e =x"], "mkdir /e: not a directory"),
        ("nope", "/", &[], "\"/nope\": not found"),
        ("d/nope/x", "/", &[], "\"/d/nope/x\": not found"),
        ("nope/*", "/", &[], "\"/nope\": not found"),
        ("[", "/", &[], "syntax error in pattern `[`"),
        ("l", "/", &[], "too many links in path /l"),
    ];
    for (source, destination, before, message) in cases {
        let (from, to) = (tree(from), tree(before));
        grow(from.path(), &["link l > l"]);
        let error = run(copy(source, destination), from.path(), to.path()).unwrap_err();
        assert_eq!(&error.to_string(), message, "{source} to {destination}");
    }
}

#[test]
fn links_of_the_destination_path_are_followed_inside_the_root() {
    if !is_root() {
        return;
    }
    let from = tree(&["file 644 a =A"]);
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "/l/",
            &["dir 755 real", "link l > /real"],
            &["link l > /real", "dir 755 real", "file 644 real/a =A"],
        ),
        (
            "/l",
            &["dir 755 real", "link l > ../../real"],
            &["link l > ../../real", "dir 755 real", "file 644 real/a =A"],
        ),
        (
            "/l",
            &["file 644 f =old", "link l > f"],
            &["file 644 f =A", "link l > f"],
        ),
        (
            "/l",
            &["link l > /not/yet"],
            &["link l > /not/yet", "dir 755 not @0", "file 644 not/yet =A"],
        ),
        (
            "/d/",
            &["dir 755 d", "link d/a > /other"],
            &["dir 755 d", "file 644 d/a =A"],
        ),
        (
            "/l/x",
            &["dir 755 d", "link l > m", "link m > d"],
            &["dir 755 d", "file 644 d/x =A", "link l > m", "link m > d"],
        ),
    ];
    for (destination, before, after) in cases {
        let to = tree(before);
        run(copy("a", destination), from.path(), to.path()).unwrap();
        assert_eq!(&lines(to.path()), after, "to {destination}");
    }
}

#[test]
fn links_of_the_source_path_are_followed_those_below_are_copied() {
    if !is_root() {
        return;
    }
    let from: &[&str] = &[
        "file 644 a =A",
        "link l > /a",
        "dir 755 d",
        "link d/l > ../a",
        "link d/gone > /no/where",
        "link m > d",
    ];
    let cases: &[(&str, &str, &[&str])] = &[
        ("l", "/x", &["file 644 x =A"]),
        ("l", "/o/", &["dir 755 o @0", "file 644 o/l =A"]),
        ("m", "/o", &["dir 755 o", "link o/gone > /no/where", "link o/l > ../a"]),
        ("m/l", "/x", &["file 644 x =A"]),
        ("l*", "/o/", &["dir 755 o @0", "file 644 o/l =A"]),
    ];
    for (source, destination, after) in cases {
        let (from, to) = (tree(from), tree(&[]));
        run(copy(source, destination), from.path(), to.path()).unwrap();
        assert_eq!(&lines(to.path()), after, "{source} to {destination}");
        let context = context(from.path(), &[]);
        let to = tree(&[]);
        act(
            &FileAction::Copy(copy(source, destination)),
            Tree::Context(&context),
            to.path(),
        )
        .unwrap();
        assert_eq!(&lines(to.path()), after, "{source} of a context to {destination}");
    }
}

#[test]
fn nothing_escapes() {
    if !is_root() {
        return;
    }
    let outside = tree(&["file 644 secret =S", "dir 755 d"]);
    let up = "../".repeat(20);
    let secret = format!("{}{}/secret", up, outside.path().display());
    let folder = format!("{}{}/d", up, outside.path().display());
    let from = tree(&["file 644 a =A"]);
    grow(
        from.path(),
        &[
            &format!("link l > {secret}"),
            &format!("link k > {}/secret", outside.path().display()),
        ],
    );
    let to = tree(&[&format!("link e > {folder}")]);
    for source in ["l", "k", &secret, "l*"] {
        let error = run(copy(source, "/x"), from.path(), to.path()).unwrap_err();
        assert!(error.to_string().ends_with("not found"), "{source}: {error}");
        let context = context(from.path(), &[]);
        let copied = act(
            &FileAction::Copy(copy(source, "/x")),
            Tree::Context(&context),
            to.path(),
        );
        assert!(copied.is_err(), "{source}");
    }
    run(copy("a", "/e/"), from.path(), to.path()).unwrap();
    assert_eq!(lines(outside.path()), ["dir 755 d", "file 644 secret =S"]);
    let inside = outside.path().strip_prefix("/").unwrap().join("d/a");
    assert_eq!(fs::read(to.path().join(inside)).unwrap(), b"A");
}

#[test]
fn owners_and_modes() {
    if !is_root() {
        return;
    }
    let from = tree(&[
        "file 4755 a =A",
        "dir 700 d",
        "file 600 d/x =1",
        "link d/l > x",
        "dir 711 d/s",
    ]);
    for path in ["a", "d", "d/x", "d/l", "d/s"] {
        std::os::unix::fs::lchown(from.path().join(path), Some(21), Some(22)).unwrap();
    }
    grow(from.path(), &["file 4755 a =A"]);
    let chown = |source: &str, destination: &str| Copy {
        owner: owner(7, 8),
        ..copy(source, destination)
    };
    let chmod = |source: &str, destination: &str| Copy {
        mode: Some(graph::FileMode::Octal(0o4640)),
        ..copy(source, destination)
    };
    let cases: &[(Copy, &[&str])] = &[
        (copy("a", "/p/a"), &["dir 755 p @0", "file 4755 p/a =A 21:22"]),
        (
            copy("d", "/d"),
            &[
                "dir 755 d",
                "link d/l > x 21:22",
                "dir 711 d/s 21:22",
                "file 600 d/x =1 21:22",
            ],
        ),
        (chown("a", "/p/a"), &["dir 755 p 7:8 @0", "file 4755 p/a =A 7:8"]),
        (
            chown("d", "/d"),
            &[
                "dir 755 d 7:8",
                "link d/l > x 7:8",
                "dir 711 d/s 7:8",
                "file 600 d/x =1 7:8",
            ],
        ),
        (chmod("a", "/p/a"), &["dir 640 p @0", "file 4640 p/a =A 21:22"]),
        (
            chmod("d", "/d"),
            &[
                "dir 640 d",
                "link d/l > x 21:22",
                "dir 4640 d/s 21:22",
                "file 4640 d/x =1 21:22",
            ],
        ),
    ];
    for (copy, after) in cases {
        let to = tree(&[]);
        run(copy.clone(), from.path(), to.path()).unwrap();
        assert_eq!(&lines(to.path()), after, "{copy:?}");
    }
    let context = context(from.path(), &[]);
    let to = tree(&[]);
    act(&FileAction::Copy(copy("d", "/d")), Tree::Context(&context), to.path()).unwrap();
    assert_eq!(
        lines(to.path()),
        ["dir 755 d", "link d/l > x", "dir 711 d/s", "file 600 d/x =1"]
    );
}

#[test]
fn an_owner_that_nobody_knows_is_an_error() {
    if !is_root() {
        return;
    }
    let from = tree(&["file 644 a =A"]);
    let named = Copy {
        owner: Some(Owner {
            user: UserName::Name("nosuch".into()),
            group: None,
        }),
        ..copy("a", "/")
    };
    let error = run(named, from.path(), tree(&[]).path()).unwrap_err();
    assert!(matches!(error, FilesError::Owner(_)));
}

#[test]
fn a_copy_done_twice_gives_the_same_tree() {
    if !is_root() {
        return;
    }
    let from = tree(&[
        "file 644 a =A",
        "hard b > a",
        "dir 711 d",
        "file 600 d/x =1",
        "link d/l > x",
        "fifo 640 d/p",
    ]);
    let to = tree(&["dir 755 o", "file 644 o/k =k"]);
    run(copy("/", "/o/n"), from.path(), to.path()).unwrap();
    let once = lines(to.path());
    run(copy("/", "/o/n"), from.path(), to.path()).unwrap();
    assert_eq!(lines(to.path()), once);
    assert_eq!(once[0], "dir 755 o");
    assert_eq!(once[2], "dir 755 o/n @0");
}

#[test]
fn cancelling_stops() {
    if !is_root() {
        return;
    }
    let from = tree(&["file 644 a =A"]);
    let to = tree(&[]);
    let cancelled = apply(
        &FileAction::Copy(copy("a", "/")),
        &|_| Tree::Directory(from.path()),
        Target {
            root: to.path(),
            upper: None,
            owners: &Owners::default(),
            reuse: None,
        },
        &|_| Err("no owner was asked for".into()),
        &|| true,
    );
    assert!(matches!(cancelled, Err(FilesError::Cancelled)));
    assert!(lines(to.path()).is_empty());
}

#[test]
fn what_is_excluded_and_which_parents_are_kept() {
    if !is_root() {
        return;
    }
    let from: &[&str] = &[
        "dir 711 a",
        "dir 700 a/b",
        "file 640 a/b/x.md =X",
        "file 644 a/b/y =Y",
        "file 644 a/z.md =Z",
        "dir 755 a/empty",
        "link l > a",
    ];
    let without = |source: &str, excludes: &[&str]| Copy {
        excludes: excludes.iter().map(|line| (*line).to_owned()).collect(),
        ..copy(source, "/")
    };
    let only = |source: &str, include: &str| Copy {
        include: Some(include.into()),
        ..copy(source, "/")
    };
    let with_b: &[&str] = &["dir 711 a", "dir 700 a/b", "file 644 a/b/y =Y"];
    let all_of_b: &[&str] = &["dir 711 a", "dir 700 a/b", "file 640 a/b/x.md =X", "file 644 a/b/y =Y"];
    let cases: &[(Copy, &[&str])] = &[
        (
            without("a", &["*.md", "empty"]),
            &["dir 700 b", "file 640 b/x.md =X", "file 644 b/y =Y"],
        ),
        (
            without("a", &["**/*.md"]),
            &["dir 700 b", "file 644 b/y =Y", "dir 755 empty"],
        ),
        (without("a", &["*", "!b/y"]), &["dir 700 b", "file 644 b/y =Y"]),
        (without("a", &["*", "!nothing/here"]), &[]),
        // What was named itself is not left out.
        (without("a/z.md", &["*.md"]), &["file 644 z.md =Z"]),
        (without("a/z*", &["*.md"]), &["file 644 z.md =Z"]),
        (only("/", "a/b/y"), with_b),
        (only("/", "a/b"), all_of_b),
        (only("/", "**/y"), with_b),
        (only("/", "a/*/y"), with_b),
        (only("/a", "b/y"), &["dir 700 b", "file 644 b/y =Y"]),
        (only("/*", "b/y"), &["dir 700 b", "file 644 b/y =Y"]),
        (only("/", "no*/x"), &[]),
        // A link on the way is not a folder to be kept.
        (only("/", "l/b"), &[]),
        (
            Copy {
                excludes: vec!["a/b/x.md".into()],
                ..only("/", "a/b")
            },
            with_b,
        ),
    ];
    let root = tree(from);
    for (copy, expected) in cases {
        let to = tree(&[]);
        run(copy.clone(), root.path(), to.path()).unwrap();
        assert_eq!(lines(to.path()), *expected, "{copy:?} from a stage");
        let to = tree(&[]);
        let context = context(root.path(), &[]);
        act(&FileAction::Copy(copy.clone()), Tree::Context(&context), to.path()).unwrap();
        assert_eq!(lines(to.path()), *expected, "{copy:?} from a context");
    }
    for missing in [only("/", "a/nope"), only("/nope", "x"), only("/nope", "*")] {
        let error = run(missing.clone(), root.path(), tree(&[]).path()).unwrap_err();
        assert!(error.to_string().ends_with(": not found"), "{missing:?}: {error}");
    }
}

#[test]
fn parents_that_are_there_get_the_mode_only() {
    if !is_root() {
        return;
    }
    let from = tree(&["dir 711 a", "dir 700 a/b", "file 644 a/b/y =Y"]);
    let to = tree(&["dir 755 a"]);
    let parents = Copy {
        include: Some("a/b/y".into()),
        owner: owner(5, 6),
        mode: Some(graph::FileMode::Octal(0o750)),
        ..copy("/", "/")
    };
    run(parents, from.path(), to.path()).unwrap();
    let expected = ["dir 711 a", "dir 750 a/b 5:6", "file 750 a/b/y =Y 5:6"];
    assert_eq!(lines(to.path()), expected);
}

#[test]
fn symbolic_modes_are_worked_out_for_each() {
    if !is_root() {
        return;
    }
    let from = tree(&[
        "dir 700 d",
        "file 600 d/data =1",
        "file 700 d/tool =2",
        "dir 700 d/s",
        "link d/l > x",
    ]);
    let to = tree(&[]);
    let symbolic = Copy {
        mode: Some("u=rwX,go=rX".parse().unwrap()),
        ..copy("/", "/p/")
    };
    run(symbolic, from.path(), to.path()).unwrap();
    let expected = [
        "dir 755 p @0",
        "dir 755 p/d",
        "file 644 p/d/data =1",
        "link p/d/l > x",
        "dir 755 p/d/s",
        "file 755 p/d/tool =2",
    ];
    assert_eq!(lines(to.path()), expected);
}
