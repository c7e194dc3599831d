//! An image's files of users and groups: whoever is asked for is found or not, twice the same. The bytes are the one file,
//! the other, and who is asked for, with zero bytes between them.

use std::cell::RefCell;
use std::fs;

use sandbox::users::{UserRef, owner, resolve};

use super::outside::Outside;

thread_local! {
    static OUTSIDE: RefCell<Option<Outside>> = const { RefCell::new(None) };
}

/// Asks by both doors.
pub fn run(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (passwd, group, asked) = (part(), part(), String::from_utf8_lossy(part()).into_owned());
    OUTSIDE.with_borrow_mut(|outside| {
        let outside = outside.get_or_insert_with(Outside::new);
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("etc")).expect("there is room");
        fs::write(root.join("etc/passwd"), passwd).expect("there is room");
        fs::write(root.join("etc/group"), group).expect("there is room");
        let words = |identity: Result<_, sandbox::Error>| identity.map_err(|error| error.to_string());
        let found = words(resolve(&root, &asked));
        assert_eq!(words(resolve(&root, &asked)), found);
        if let Ok(identity) = found {
            assert!(identity.groups.len() <= group.len(), "a group is a line");
            assert!(!identity.home.is_empty());
        }
        let name = UserRef::Name(asked);
        let owned = || owner(&root, &name, Some(&name)).map_err(|error| error.to_string());
        assert_eq!(owned(), owned());
        outside.check();
    });
}
