use super::super::{checksum, components};
use super::*;

const BASE: &[&str] = &[
    "file 644 a =A",
    "dir 755 d",
    "file 644 d/x =1",
    "link d/l > x",
    "file 644 other =O",
];

fn key(root: &Path, source: &str) -> [u8; 32] {
    let context = context(root, &[]);
    checksum(Tree::Context(&context), &copy(source, "/dest")).unwrap()
}

#[test]
fn what_changes_the_key() {
    let changes: &[(&str, &str, bool)] = &[
        ("a", "file 644 a =B", true),
        ("a", "file 600 a =A", true),
        ("a", "file 644 other =changed", false),
        ("d", "file 644 d/x =2", true),
        ("d", "file 644 d/new =1", true),
        ("d", "dir 755 d/new", true),
        ("d", "file 644 a =B", false),
        ("d/*", "file 644 d/y =1", true),
        ("[ab]", "file 644 b =A", true),
        ("*.txt", "file 644 b.txt =A", true),
        ("*.txt", "file 644 b.md =A", false),
        ("/", "file 644 b.md =A", true),
    ];
    for (source, change, changed) in changes {
        let root = tree(BASE);
        let before = key(root.path(), source);
        assert_eq!(before, key(root.path(), source), "{source}: nothing changed");
        grow(root.path(), &[change]);
        assert_eq!(before != key(root.path(), source), *changed, "{source} after {change}");
    }
}

#[test]
fn times_are_not_in_the_key() {
    let root = tree(BASE);
    let before = key(root.path(), "/");
    age(root.path(), 5000);
    assert_eq!(key(root.path(), "/"), before);
}

#[test]
fn where_files_come_from_is_not_in_the_key_but_their_names_are() {
    let root = tree(&[
        "file 644 p/x =1",
        "file 644 q/x =1",
        "file 644 q/z =1",
        "file 644 r/y =1",
    ]);
    assert_eq!(key(root.path(), "p/x"), key(root.path(), "q/x"));
    assert_ne!(key(root.path(), "q/x"), key(root.path(), "q/z"));
    assert_ne!(key(root.path(), "p/*"), key(root.path(), "r/*"));
    let twin = tree(&["file 644 s/x =1"]);
    assert_eq!(key(root.path(), "p"), key(twin.path(), "s"));
}

#[test]
fn the_owner_matters_in_stages_and_not_in_contexts() {
    if !is_root() {
        return;
    }
    let root = tree(&["file 644 a =A"]);
    let stage = |root: &Path| checksum(Tree::Directory(root), &copy("a", "/")).unwrap();
    let (in_context, in_stage) = (key(root.path(), "a"), stage(root.path()));
    assert_eq!(in_context, in_stage);
    std::os::unix::fs::chown(root.path().join("a"), Some(5), Some(5)).unwrap();
    assert_eq!(key(root.path(), "a"), in_context);
    assert_ne!(stage(root.path()), in_stage);
}

#[test]
fn a_key_is_the_same_on_every_machine() {
    let root = tree(&["dir 755 d", "file 644 d/x =1", "link d/l > x"]);
    let hex = blake3::Hash::from_bytes(key(root.path(), "d")).to_hex().to_string();
    assert_eq!(hex, "c5bbe89b430be400b028b849d3f8512e8a1270dbf52cdff1062ca0e10c06bb08");
}

#[test]
fn components_name_the_files() {
    let root = tree(BASE);
    let before = components(Tree::Directory(root.path()), &copy("d", "/")).unwrap();
    grow(root.path(), &["file 644 d/x =2"]);
    let after = components(Tree::Directory(root.path()), &copy("d", "/")).unwrap();
    let changed: Vec<&str> = before
        .iter()
        .zip(&after)
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.0.as_str())
        .collect();
    assert_eq!(
        before.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        ["d", "d/l", "d/x"]
    );
    assert_eq!(changed, ["d/x"]);
}

#[test]
fn what_is_left_out_does_not_change_the_key() {
    let filtered = |root: &Path, include: Option<&str>, exclude: &str| {
        let copy = Copy {
            include: include.map(str::to_owned),
            excludes: vec![exclude.to_owned()],
            ..copy("/", "/dest")
        };
        let context = context(root, &[]);
        let from_context = checksum(Tree::Context(&context), &copy).unwrap();
        assert_eq!(
            components(Tree::Context(&context), &copy).unwrap().is_empty(),
            include == Some("no*")
        );
        from_context
    };
    let changes: &[(Option<&str>, &str, &str, bool)] = &[
        (None, "d", "file 644 d/x =2", false),
        (None, "d", "file 644 a =B", true),
        (None, "d/x", "dir 700 d", true),
        (Some("d/x"), "none", "file 644 a =B", false),
        (Some("d/x"), "none", "file 644 d/y =B", false),
        (Some("d/x"), "none", "file 644 d/x =2", true),
        (Some("d/x"), "none", "dir 700 d", true),
        (Some("no*"), "none", "file 644 d/x =2", false),
    ];
    for (include, exclude, change, changed) in changes {
        let root = tree(BASE);
        let before = filtered(root.path(), *include, exclude);
        grow(root.path(), &[change]);
        let after = filtered(root.path(), *include, exclude);
        assert_eq!(
            before != after,
            *changed,
            "{include:?} without {exclude} after {change}"
        );
    }
}
