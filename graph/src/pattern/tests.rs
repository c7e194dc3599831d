use super::*;

fn list(lines: &str) -> PatternList {
    let lines: Vec<String> = lines.split(' ').map(str::to_owned).collect();
    PatternList::new(&lines).unwrap()
}

#[test]
fn wildcards_of_a_copy_source() {
    for (pattern, name, expected) in [
        ("*", "abc", true),
        ("*.c", "a.c", true),
        ("*.c", "a.cc", false),
        ("a*", "a/b", false),
        ("a?c", "abc", true),
        ("a?c", "a/c", false),
        ("a?c", "aäc", true),
        ("f[1-2]", "f2", true),
        ("f[1-2]", "f3", false),
        ("f[^1-2]", "f3", true),
        ("arr[[]0]", "arr[0]", true),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxbyy", false),
        (".*", ".git", true),
        ("[a\\-z]", "-", true),
        ("[z-a]", "m", false),
        ("{a,b}", "a", false),
    ] {
        assert_eq!(
            Pattern::new(pattern).unwrap().matches(name.as_bytes()),
            expected,
            "{pattern} on {name}"
        );
    }
}

#[test]
fn malformed_patterns_are_errors() {
    for pattern in ["[", "[a", "[]a]", "[-x]", "[x-]", "a\\", "[^]", "[a-", "[\\"] {
        assert_eq!(Pattern::new(pattern).unwrap_err(), PatternError::Syntax(pattern.into()));
        assert!(PatternList::new(&[pattern.to_owned()]).is_err(), "{pattern}");
    }
    assert_eq!(
        PatternList::new(&["!".to_owned()]).unwrap_err(),
        PatternError::BareNegation
    );
}

#[test]
fn a_line_matches_from_the_root_and_everything_below() {
    for (lines, path, expected) in [
        ("foo", "foo", true),
        ("foo", "a/foo", false),
        ("foo", "foo/a/b", true),
        ("*.md", "README.md", true),
        ("*.md", "docs/README.md", false),
        (".git", ".git/config", true),
        (".git", "sub/.git", false),
        ("foo/", "foo", true),
        ("./foo", "foo", true),
        ("a/../b", "b", true),
        ("a//b", "a/b", true),
        ("/foo", "foo", false),
        ("{a,b}", "a", false),
        ("{a,b}", "{a,b}", true),
        ("*", "a/b", true),
        (".", "a", false),
        ("a?c", "abc/x", true),
        ("a+b", "a+b", true),
        ("a.c", "abc", false),
        ("a(b)$", "a(b)$", true),
        ("*/b", "a/b", true),
        ("*/b", "a/x/b", false),
        ("\\!a", "!a", true),
        ("\\*", "x", false),
    ] {
        assert_eq!(list(lines).matches(path.as_bytes()), expected, "{lines} on {path}");
    }
}

#[test]
fn two_stars_cross_folders() {
    for (line, path, expected) in [
        ("**", "a/b", true),
        ("**/x", "x", true),
        ("**/x", "a/b/x", true),
        ("**/x", "a/bx", false),
        ("**x", "a/bx", true),
        ("**x/y", "a/bx/y", true),
        ("**/*.go", "a.go", true),
        ("**/*.go", "a/b/c.go", true),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("a**", "ab/c", true),
        ("a/**/z", "a/z", true),
        ("a/**/z", "a/b/c/z", true),
        ("a/**/z", "ab/z", false),
        ("**/a/**/b", "x/a/y/b", true),
        ("**/**", "a", true),
        ("***", "ab", true),
    ] {
        assert_eq!(list(line).matches(path.as_bytes()), expected, "{line} on {path}");
    }
}

#[test]
fn the_last_line_that_matches_decides() {
    for (lines, path, expected) in [
        ("* !a", "a", false),
        ("* !a", "b", true),
        ("dir !dir/keep", "dir/keep", false),
        ("dir !dir/keep", "dir/keep/below", false),
        ("dir !dir/keep", "dir/other", true),
        ("dir !dir/keep dir", "dir/keep", false),
        ("dir !dir/keep dir", "dir/other", true),
        ("dir !dir/keep dir/*", "dir/keep", true),
        ("* !dir/keep *", "dir/keep", false),
        ("dir/** !dir/keep dir/**", "dir/keep", true),
        ("dir/out !dir", "dir/out", true),
        ("dir !dir dir/out", "dir/out", true),
        ("dir !dir dir/out", "dir/in", false),
        ("!a a", "a", true),
        ("**/*.md !README.md", "README.md", false),
        ("**/*.md !README.md", "docs/README.md", true),
        ("* !src/** src/*.o", "src/a.c", false),
        ("* !src/** src/*.o", "src/a.o", true),
    ] {
        assert_eq!(list(lines).matches(path.as_bytes()), expected, "{lines} on {path}");
    }
}

#[test]
fn the_deciding_line_has_a_name() {
    let lines = list("*.log !keep.log ./build/");
    assert_eq!(lines.decider(b"a.log"), Some("*.log"));
    assert_eq!(lines.decider(b"keep.log"), None);
    assert_eq!(lines.decider(b"build/x"), Some("./build/"));
    assert_eq!(lines.decider(b"src"), None);
}

#[test]
fn a_folder_is_left_out_unless_a_later_line_could_take_back_something_below() {
    for (lines, folder, expected) in [
        ("dir", "dir", false),
        ("dir !dir/keep", "dir", true),
        ("dir !dir/a/keep", "dir/a", true),
        ("dir !dir/a/keep", "dir/b", false),
        ("!dir/keep dir", "dir", false),
        ("* !**/*.md", "any/where", true),
        ("* !src", "docs", false),
        ("* !s*/x", "src", true),
        ("* !s*/x", "docs", false),
        ("* !dir", "dir2", false),
    ] {
        let lines = list(lines);
        let mut carried = Carried::default();
        for end in folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]) {
            carried = lines.enter(&carried, &folder.as_bytes()[..end]).1;
        }
        assert_eq!(
            lines.may_take_back_below(&carried, folder.as_bytes()),
            expected,
            "{lines:?} below {folder}"
        );
    }
}

#[test]
fn names_need_not_be_utf8() {
    assert!(Pattern::new("a*c").unwrap().matches(b"a\xff\xfec"));
    assert!(Pattern::new("a?c").unwrap().matches(b"a\xffc"));
    assert!(!Pattern::new("a[b-d]c").unwrap().matches(b"a\xffc"));
    assert!(list("**/\u{fffd}x a*").matches(b"a\xff/x"));
}

#[test]
fn no_pattern_is_slow() {
    let stars = "*a".repeat(60);
    assert!(
        !Pattern::new(&stars)
            .unwrap()
            .matches("a".repeat(3000).replace('a', "ab").as_bytes())
    );
}

#[test]
fn wildcards_are_seen_unless_escaped() {
    for (text, expected) in [
        ("a", false),
        ("a*", true),
        ("a\\*", false),
        ("[", true),
        ("a?", true),
        ("a\\\\*", true),
    ] {
        assert_eq!(has_wildcards(text), expected, "{text}");
    }
}
