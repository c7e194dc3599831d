//! A copy that is done again takes the files that are as they were from the earlier tree.

use std::path::PathBuf;

use super::super::{Reuse, Shown, checksum};
use super::*;

/// Folders for trees and the lists of their files.
struct Trees {
    folder: TempDir,
    made: usize,
}

impl Trees {
    fn new() -> Trees {
        let (folder, made) = (tempfile::tempdir().unwrap(), 0);
        Trees { folder, made }
    }

    fn list(&self, tree: &Path) -> PathBuf {
        tree.with_extension("files")
    }

    /// Copies all of a directory, as a context, to `/app` of a new tree.
    fn copy(&mut self, from: &Path, before: Option<&Path>, change: impl FnOnce(&mut Copy)) -> PathBuf {
        self.made += 1;
        let to = self.folder.path().join(self.made.to_string());
        fs::create_dir(&to).unwrap();
        let lists = before.map(|before| (before, self.list(before)));
        let mut reuse = Reuse::new(
            lists.as_ref().map(|(tree, list)| (*tree, list.as_path())),
            &self.list(&to),
        );
        let mut all = copy("/", "/app");
        change(&mut all);
        let context = context(from, &[]);
        checksum(Tree::Context(&context), &all).unwrap();
        let target = Target {
            root: &to,
            upper: None,
            owners: &Owners::default(),
            reuse: Some(&mut reuse),
        };
        let shown = apply(
            &FileAction::Copy(all),
            &|_| Tree::Context(&context),
            target,
            &|_| Ok((7, 8)),
            &|| false,
        );
        assert_eq!(shown.unwrap(), Shown::Whole);
        reuse.keep().unwrap();
        to
    }
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

/// Many files, so that it is worth it, and some that a test says more about.
fn many(more: &[&str]) -> TempDir {
    let all: Vec<String> = (0..200).map(|n| format!("file 644 d{}/f{n} ={n}", n % 7)).collect();
    let root = tree(&all.iter().map(String::as_str).collect::<Vec<_>>());
    grow(root.path(), more);
    root
}

#[test]
fn what_changed_in_any_way_is_copied_and_the_rest_is_linked() {
    if !is_root() {
        return;
    }
    let whole = |file: &str| format!("file 644 {file} =same");
    let changes: &[(&str, &[&str], bool)] = &[
        ("x", &[], true),
        ("x", &["remove x", "file 644 x =same"], true),
        ("x", &["file 644 x =else"], false),
        ("x", &["file 600 x =same"], false),
        ("x", &["file 644 x =longer"], false),
        ("x", &["touch x"], false),
        ("x", &["remove x", "link x > d1/f1"], false),
        ("x", &["remove x", "dir 755 x"], false),
        ("x", &["remove x", "fifo 644 x"], false),
        ("x", &["file 644 z/x =same"], true),
        ("x", &["hard y > x"], false),
    ];
    for (file, change, linked) in changes {
        let root = many(&[&whole(file)]);
        let mut trees = Trees::new();
        let first = trees.copy(root.path(), None, |_| {});
        for line in *change {
            match line.split_once(' ').unwrap() {
                ("remove", path) => fs::remove_file(root.path().join(path)).unwrap(),
                ("touch", path) => set_time(&root.path().join(path), 101),
                _ => grow(root.path(), &[line]),
            }
        }
        if !change.iter().any(|line| line.starts_with("touch")) {
            age(root.path(), 100);
        }
        let again = trees.copy(root.path(), Some(&first), |_| {});
        let afresh = trees.copy(root.path(), None, |_| {});
        assert_eq!(lines(&again), lines(&afresh), "after {change:?}");
        let same = |path: &str| inode(&again.join("app").join(path)) == inode(&first.join("app").join(path));
        assert!(same("d3/f3"), "after {change:?}");
        assert_eq!(same(file), *linked, "after {change:?}");
    }
}

#[test]
fn another_owner_or_mode_is_another_file() {
    if !is_root() {
        return;
    }
    let root = many(&[]);
    let mut trees = Trees::new();
    let first = trees.copy(root.path(), None, |_| {});
    let file = |tree: &Path| tree.join("app/d3/f3");
    let owned = |copy: &mut Copy| copy.owner = owner(7, 8);
    let second = trees.copy(root.path(), Some(&first), owned);
    assert_ne!(inode(&file(&first)), inode(&file(&second)));
    assert_eq!(fs::metadata(file(&second)).unwrap().uid(), 7);
    assert_eq!(fs::metadata(file(&first)).unwrap().uid(), 0);
    let third = trees.copy(root.path(), Some(&second), owned);
    assert_eq!(inode(&file(&second)), inode(&file(&third)));
}

#[test]
fn an_earlier_tree_that_is_not_what_its_list_says_does_no_harm() {
    if !is_root() {
        return;
    }
    let root = many(&[]);
    let mut trees = Trees::new();
    let first = trees.copy(root.path(), None, |_| {});
    let wanted = lines(&first);
    let list = trees.list(&first);
    let whole = fs::read(&list).unwrap();
    let mut torn: Vec<Vec<u8>> = [0, 10, 16, 17, 40, whole.len() - 1]
        .map(|length| whole[..length].to_vec())
        .into();
    torn.push([&whole[..30], &[255; 500]].concat());
    for bytes in torn {
        fs::write(&list, bytes).unwrap();
        assert_eq!(lines(&trees.copy(root.path(), Some(&first), |_| {})), wanted);
    }
    fs::write(&list, whole).unwrap();
    fs::remove_dir_all(first.join("app/d3")).unwrap();
    assert_eq!(lines(&trees.copy(root.path(), Some(&first), |_| {})), wanted);
}
