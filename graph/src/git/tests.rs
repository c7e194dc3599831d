use super::*;

fn parse(text: &str) -> GitAddress {
    GitAddress::parse(text).unwrap().unwrap()
}

#[test]
fn what_is_an_address_and_what_is_not() {
    for (text, remote) in [
        ("https://example.com/foo.git", Some("https://example.com/foo.git")),
        ("https://example.com/foo", None),
        ("https://example.com/foo.git/bar", None),
        ("https://example.com/foo?x=.git", None),
        ("HTTP://example.com/foo.git#x", Some("http://example.com/foo.git")),
        ("git://example.com/foo", Some("git://example.com/foo")),
        ("ssh://git@example.com:22/foo", Some("ssh://git@example.com:22/foo")),
        ("git@example.com:foo/bar.git?ref=x", Some("git@example.com:foo/bar.git")),
        ("github.com/moby/buildkit", Some("github.com/moby/buildkit")),
        ("custom.xyz/moby/buildkit.git", None),
        ("./foo.git", None),
        ("../foo.git", None),
        ("foo.git", None),
        ("a b@example.com:foo", None),
        ("ftp://example.com/foo.git", None),
        (".git", None),
    ] {
        let found = GitAddress::parse(text).unwrap().map(|address| address.remote);
        assert_eq!(found.as_deref(), remote, "{text}");
    }
}

#[test]
fn fragment_and_query_say_what_of_it() {
    let (both, plain) = (
        |reference: &str, subdirectory: &str| (Some(reference.to_owned()), subdirectory.to_owned()),
        "https://h/r.git",
    );
    for (rest, wanted) in [
        ("", (None, String::new())),
        ("#", (None, String::new())),
        ("#main", both("main", "")),
        ("#a/b:c/d", both("a/b", "c/d")),
        ("#:/../x/./y/", (None, "x/y".to_owned())),
        ("#v1:/", both("v1", "")),
        ("?ref=main&subdir=x", both("main", "x")),
        ("?tag=v1", both("refs/tags/v1", "")),
        ("?tag=refs/tags/v1", both("refs/tags/v1", "")),
        ("?branch=a%2Fb", both("refs/heads/a/b", "")),
        ("?ref=main#main", both("main", "")),
    ] {
        let address = parse(&format!("{plain}{rest}"));
        assert_eq!((address.reference, address.subdirectory), wanted, "{rest}");
    }
    let address = parse("https://h/r.git?keep-git-dir&submodules=false&commit=abc&mtime=checkout&fetch-by-commit=1");
    assert_eq!((address.keep_git_dir, address.submodules), (Some(true), Some(false)));
    assert_eq!(address.checksum.as_deref(), Some("abc"));
    assert!(address.checkout_times && address.fetch_by_commit);
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (rest, message) in [
        ("?ref=a#b", "ref conflicts: \"b\" vs \"a\""),
        ("?subdir=a#:b", "subdir conflicts: \"b\" vs \"a\""),
        ("?tag=a&branch=b", "branch conflicts with tag"),
        ("?tag=a#b", "ref conflicts: \"b\" vs \"refs/tags/a\""),
        ("?ref=a&ref=b", "query \"ref\" has multiple values"),
        ("?ref=", "query \"ref\" has no value"),
        ("?bogus=1", "unexpected query \"bogus\""),
        ("?keep-git-dir=maybe", "invalid keep-git-dir value: \"maybe\""),
        (
            "?mtime=now",
            "invalid mtime value: \"now\" (must be \"checkout\" or \"commit\")",
        ),
        ("#--upload-pack=x", "invalid git ref \"--upload-pack=x\""),
    ] {
        let error = GitAddress::parse(&format!("https://h/r.git{rest}")).unwrap_err();
        assert_eq!(error.to_string(), message, "{rest}");
    }
}
