use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const PASSWD_TEXT: &str = "root:x:0:0:root:/root:/bin/sh\n\
    # a comment\n\
    broken line\n\
    daemon:x:1:2:daemon:/var/empty:/bin/false\n\
    ann:x:1000:1001:Ann:/home/ann:/bin/sh\n\
    homeless:x:7:7:::\n\
    short:x:8\n";
const GROUP_TEXT: &str = "root:x:0:\nwheel:x:10:root,ann\nstaff:x:50:ann,bob\nmail:x:12:bob\n";

fn root_with(passwd: &str, group: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/passwd"), passwd).unwrap();
    fs::write(root.path().join("etc/group"), group).unwrap();
    root
}

#[test]
fn names_and_numbers_are_looked_up_as_docker_does() {
    let root = root_with(PASSWD_TEXT, GROUP_TEXT);
    let cases: &[(&str, u32, u32, &[u32], &str)] = &[
        ("", 0, 0, &[10], "/root"),
        ("root", 0, 0, &[10], "/root"),
        ("ann", 1000, 1001, &[10, 50], "/home/ann"),
        ("1000", 1000, 1001, &[10, 50], "/home/ann"),
        ("ann:staff", 1000, 50, &[], "/home/ann"),
        ("ann:99", 1000, 99, &[], "/home/ann"),
        ("1000:5", 1000, 5, &[], "/home/ann"),
        ("4242", 4242, 0, &[], "/"),
        ("4242:4343", 4242, 4343, &[], "/"),
        ("homeless", 7, 7, &[], "/"),
        ("short", 8, 0, &[], "/"),
        ("broken line", 0, 0, &[], "/root"),
    ];
    for (user, uid, gid, groups, home) in cases {
        let identity = resolve(root.path(), user).unwrap();
        let expected = Identity {
            uid: *uid,
            gid: *gid,
            groups: groups.to_vec(),
            home: (*home).to_owned(),
        };
        assert_eq!(identity, expected, "{user}");
    }
}

#[test]
fn a_number_that_is_none_makes_nobody_root() {
    let passwd = "large:x:99999999999:1::/:\nwords:x:abc:1::/:\nlast:x:4294967295:1::/:\nminus:x:-1:1::/:\n\
        group:x:5:many::/:\nfine:x:6:7::/:\n";
    let root = root_with(passwd, "bad:x:x:fine\nother:x:y:ann\n");
    for (user, path, number) in [
        ("large", PASSWD, "99999999999"),
        ("large:5", PASSWD, "99999999999"),
        ("words", PASSWD, "abc"),
        ("last", PASSWD, "4294967295"),
        ("minus", PASSWD, "-1"),
        ("group", PASSWD, "many"),
        ("fine", GROUP, "x"),
        ("6:other", GROUP, "y"),
    ] {
        let error = resolve(root.path(), user).unwrap_err();
        let Error::UserFile { path: named, source } = error else {
            panic!("{user}: {error}")
        };
        let said = source.to_string();
        assert!(
            named == path && said.contains(&format!("the number {number:?}")),
            "{user}: {named} {said}"
        );
    }
    // Who does not ask for them is not kept from working.
    assert_eq!(resolve(root.path(), "6:7").unwrap().gid, 7);
    assert_eq!(resolve(root.path(), "group:7").unwrap().uid, 5);
    let name = UserRef::Name("words".to_owned());
    assert!(owner(root.path(), &name, None).is_err());
    assert!(owner(root.path(), &UserRef::Id(1), Some(&UserRef::Name("other".to_owned()))).is_err());
}

#[test]
fn unknown_names_are_named_in_the_error() {
    let root = root_with(PASSWD_TEXT, GROUP_TEXT);
    let cases = [
        ("carol", "unable to find user carol: no matching entries in passwd file"),
        (
            "ann:carol",
            "unable to find group carol: no matching entries in group file",
        ),
        (
            "4294967295",
            "invalid id `4294967295`: user and group numbers go from 0 to 2147483647",
        ),
    ];
    for (user, message) in cases {
        assert_eq!(resolve(root.path(), user).unwrap_err().to_string(), message);
    }
}

#[test]
fn an_empty_root_knows_numbers_but_no_names() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(resolve(root.path(), "").unwrap().home, "/root");
    for (user, ids) in [
        ("5", (5, 0)),
        ("5:6", (5, 6)),
        ("root:root", (0, 0)),
        ("root:6", (0, 6)),
        ("5:root", (5, 0)),
    ] {
        let identity = resolve(root.path(), user).unwrap();
        assert_eq!((identity.uid, identity.gid), ids, "{user}");
    }
    for (user, message) in [
        ("root", "unable to find user root: no matching entries in passwd file"),
        (
            "root:staff",
            "unable to find user root: no matching entries in passwd file",
        ),
        (
            "5:staff",
            "unable to find group staff: no matching entries in group file",
        ),
    ] {
        assert_eq!(resolve(root.path(), user).unwrap_err().to_string(), message);
    }
}

#[test]
fn links_do_not_lead_out_of_the_root() {
    let outside = root_with("mallory:x:666:666::/:\n", "");
    let root = tempfile::tempdir().unwrap();
    symlink(outside.path().join("etc"), root.path().join("etc")).unwrap();
    assert!(matches!(
        resolve(root.path(), "mallory"),
        Err(Error::UnknownUser { .. })
    ));
}

#[test]
fn a_huge_passwd_is_refused() {
    let root = root_with("", "");
    File::create(root.path().join("etc/passwd"))
        .unwrap()
        .set_len(LARGEST_FILE + 1)
        .unwrap();
    assert!(matches!(
        resolve(root.path(), "x"),
        Err(Error::UserFileTooLarge { path: "/etc/passwd" })
    ));
}

#[test]
fn a_passwd_that_is_a_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/passwd")).unwrap();
    assert!(matches!(
        resolve(root.path(), "x"),
        Err(Error::UserFile {
            path: "/etc/passwd",
            ..
        })
    ));
}

#[test]
fn owners_of_files_fall_back_to_root() {
    let root = root_with(PASSWD_TEXT, GROUP_TEXT);
    let id = UserRef::Id;
    let name = |name: &str| UserRef::Name(name.to_owned());
    let cases = [
        (id(5), None, (5, 5)),
        (id(1000), None, (1000, 1000)),
        (name("ann"), None, (1000, 1001)),
        (name("ann"), Some(name("staff")), (1000, 50)),
        (id(3), Some(id(4)), (3, 4)),
        (name("nobody-here"), None, (0, 0)),
        (id(3), Some(name("nobody-here")), (3, 3)),
        (name("ann"), Some(name("nobody-here")), (1000, 1001)),
    ];
    for (user, group, expected) in cases {
        assert_eq!(
            owner(root.path(), &user, group.as_ref()).unwrap(),
            expected,
            "{user:?} {group:?}"
        );
    }
}
