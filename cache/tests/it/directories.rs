//! Directories that stay: who gets which, and when they go.

use std::fs;
use std::path::Path;

use cache::{CacheDirectory, Company, Error, Found, Prune, Store, UsageKind};

use crate::{key, new_store};

fn make(store: &Store, company: Company) -> CacheDirectory {
    let fill = |root: &Path| {
        fs::write(root.join("seed"), "seed").unwrap();
        Ok::<(), Error>(())
    };
    store
        .make_directory(&key("go"), "cache mount go", (company, "a test"), fill)
        .unwrap()
}

fn find(store: &Store, company: Company) -> Found {
    store.find_directory(&key("go"), company, "a test").unwrap()
}

#[test]
fn what_is_kept_is_found_again() {
    let (_root, store) = new_store();
    assert!(matches!(find(&store, Company::Any), Found::Nothing));
    let first = make(&store, Company::Any);
    fs::write(first.root().join("file"), "kept").unwrap();
    drop(first);
    let Found::Free(again) = find(&store, Company::None) else {
        panic!("nobody has it");
    };
    assert_eq!(fs::read_to_string(again.root().join("file")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(again.root().join("seed")).unwrap(), "seed");
}

#[test]
fn who_may_be_with_whom() {
    for (holds, wants, may) in [
        (Company::Any, Company::Any, true),
        (Company::Any, Company::None, false),
        (Company::None, Company::Any, false),
        (Company::None, Company::None, false),
    ] {
        let (root, store) = new_store();
        let _held = make(&store, holds);
        // Another process is no different: the lock belongs to the open file.
        let other = Store::open(root.path()).unwrap();
        assert_eq!(
            matches!(find(&other, wants), Found::Free(_)),
            may,
            "{holds:?} {wants:?}"
        );
    }
}

#[test]
fn a_second_one_is_made_beside_one_that_is_taken() {
    let (_root, store) = new_store();
    let first = make(&store, Company::None);
    let Found::Taken(user) = find(&store, Company::None) else {
        panic!("it is taken");
    };
    assert_eq!((user.process, &*user.about), (std::process::id(), "a test"));
    let second = make(&store, Company::None);
    assert_ne!(first.root(), second.root());
    drop(second);
    assert!(matches!(find(&store, Company::None), Found::Free(_)));
}

#[test]
fn one_that_cannot_be_filled_leaves_nothing() {
    let (_root, store) = new_store();
    let fill = |_: &Path| {
        Err(Error::ForeignIndex {
            path: "nowhere".into(),
            reason: "for the test".to_owned(),
        })
    };
    let failed = store.make_directory(&key("go"), "", (Company::Any, ""), fill);
    assert!(failed.is_err());
    assert!(matches!(find(&store, Company::Any), Found::Nothing));
}

#[test]
fn they_are_shown_and_pruned() {
    let (_root, store) = new_store();
    drop(make(&store, Company::Any));
    let usage = store.usage().unwrap();
    assert_eq!(usage.len(), 1);
    assert_eq!(usage[0].kind, UsageKind::CacheDirectory);
    assert_eq!(usage[0].description, "cache mount go");
    assert!(usage[0].size > 0 && !usage[0].in_use);

    let old = Prune {
        older_than: Some(std::time::Duration::from_secs(3600)),
        ..Prune::default()
    };
    assert!(store.prune(&old).unwrap().removed.is_empty());
    assert_eq!(store.prune(&Prune::default()).unwrap().removed.len(), 1);
    assert!(matches!(find(&store, Company::Any), Found::Nothing));
}
